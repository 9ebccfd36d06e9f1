"""The two sets of chest films with tuberculosis of the NLM: Montgomery and Shenzhen."""

from __future__ import annotations

from pathlib import Path

from medseg.config import UNKNOWN, TrainingData
from medseg.data.layouts.pairs import refuse_single
from medseg.data.left_out import left_out
from medseg.data.listing import by_stem
from medseg.data.manifest import DataSet, Sample
from medseg.data.parts import MaskFile

_HOME = "https://lhncbc.nlm.nih.gov/LHC-downloads/downloads.html#tuberculosis-image-data-sets"
_CITATION = "Jaeger et al. 2014, Two public chest X-ray datasets, Quant Imaging Med Surg 4(6):475"


def is_montgomery(root: Path) -> bool:
    """CXR_png/ beside ManualMask/leftMask/ and rightMask/."""
    return (root / "CXR_png").is_dir() and all(
        (root / "ManualMask" / f"{side}Mask").is_dir() for side in ("left", "right")
    )


def read_montgomery(root: Path) -> DataSet:
    """Montgomery: left and right lung in 138 chest films.

    Home page: https://lhncbc.nlm.nih.gov/LHC-downloads/downloads.html#tuberculosis-image-data-sets
    Layout: CXR_png/MCUCXR_0001_0.png with ManualMask/leftMask/ and ManualMask/rightMask/ of the same name; left is the
        patient's. --labels lung=* unites them. Every film is a case.
    Licence: not stated with the data.
    Citation: Jaeger et al. 2014, Two public chest X-ray datasets, Quant Imaging Med Surg 4(6):475; Candemir et al.
        2014, Lung segmentation in chest radiographs, IEEE TMI 33(2).
    Raises InputError for a mask without a film, or a film with one lung.
    """
    images = by_stem(root / "CXR_png")
    left, right = (by_stem(root / "ManualMask" / f"{side}Mask") for side in ("left", "right"))
    refuse_single(sorted((left.keys() ^ right.keys()) | (left.keys() - images.keys())))
    samples = [
        Sample(images[stem], (MaskFile("left lung", left[stem]), MaskFile("right lung", right[stem])), stem, "")
        for stem in sorted(left)
    ]
    entries = left_out("films without masks", images.keys() - left.keys())
    source = TrainingData("Montgomery County chest X-ray set", UNKNOWN.licence, _HOME, _CITATION)
    taken = "images CXR_png/, left and right lung ManualMask/leftMask/ and rightMask/"
    return DataSet("montgomery", ("left lung", "right lung"), samples, entries, taken, source)


def is_shenzhen(root: Path) -> bool:
    """CXR_png/ beside mask/ with CHNCXR_*_mask.png."""
    return (root / "CXR_png").is_dir() and any(True for _ in (root / "mask").glob("CHNCXR_*_mask.png"))


def read_shenzhen(root: Path) -> DataSet:
    """Shenzhen: lungs in 566 of 662 chest films.

    Home page: https://lhncbc.nlm.nih.gov/LHC-downloads/downloads.html#tuberculosis-image-data-sets; masks
        https://www.kaggle.com/datasets/yoctoman/shcxr-lung-mask
    Layout: CXR_png/CHNCXR_0001_0.png with mask/CHNCXR_0001_0_mask.png. Every film is a case.
    Licence: not stated with the data.
    Citation: Jaeger et al. 2014, Two public chest X-ray datasets, Quant Imaging Med Surg 4(6):475; Stirenko et al.
        2018, arXiv:1803.01199.
    Raises InputError for a mask without a film.
    """
    images = by_stem(root / "CXR_png")
    masks = {stem.removesuffix("_mask"): path for stem, path in by_stem(root / "mask").items()}
    refuse_single(sorted(masks.keys() - images.keys()))
    samples = [Sample(images[stem], masks[stem], stem, "") for stem in sorted(masks)]
    entries = left_out("films without a mask", images.keys() - masks.keys())
    source = TrainingData("Shenzhen chest X-ray set", UNKNOWN.licence, _HOME, _CITATION)
    return DataSet("shenzhen", ("lung",), samples, entries, "images CXR_png/, masks mask/*_mask.png", source)
