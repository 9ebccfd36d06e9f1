"""LGG brain MRI."""

from __future__ import annotations

from pathlib import Path

from medseg.config import TrainingData
from medseg.data.layouts.pairs import refuse_single
from medseg.data.listing import by_stem, folders
from medseg.data.manifest import DataSet, Sample

_SOURCE = TrainingData(
    "LGG MRI segmentation (TCGA)",
    "masks CC BY-NC-SA 4.0, images CC BY 3.0",
    "https://www.kaggle.com/datasets/mateuszbuda/lgg-mri-segmentation",
    "Buda et al. 2019, Comput. Biol. Med. 109, doi:10.1016/j.compbiomed.2019.05.002",
)


def is_lgg(root: Path) -> bool:
    """A folder, or one whose kaggle_3m/ has, patients' folders TCGA_… with *_mask.tif."""
    return any(True for _ in _home(root).glob("TCGA_*/*_mask.tif"))


def read_lgg(root: Path) -> DataSet:
    """LGG: FLAIR abnormality in brain MRI of lower-grade glioma, TCGA.

    Home page: https://www.kaggle.com/datasets/mateuszbuda/lgg-mri-segmentation
    Layout: kaggle_3m/PATIENT/PATIENT_5.tif (RGB = pre-contrast, FLAIR, post-contrast) and PATIENT_5_mask.tif; case =
        patient, whose slices are alike: never divide them. The zip holds a second copy, which is left alone.
    Licence: masks CC BY-NC-SA 4.0; images of The Cancer Imaging Archive, CC BY 3.0.
    Citation: Buda et al. 2019, Association of genomic subtypes of lower-grade gliomas with shape features automatically
        extracted by a deep learning algorithm, Comput. Biol. Med. 109, doi:10.1016/j.compbiomed.2019.05.002.
    Raises InputError for a slice without mask or a mask without slice.
    """
    samples, single = [], set[str]()
    for patient in folders(_home(root)):
        files = by_stem(patient)
        masks = {stem.removesuffix("_mask"): path for stem, path in files.items() if stem.endswith("_mask")}
        images = {stem: path for stem, path in files.items() if not stem.endswith("_mask")}
        single |= images.keys() ^ masks.keys()
        shared = sorted(images.keys() & masks.keys(), key=_slice_number)
        samples += [Sample(images[stem], masks[stem], patient.name, "") for stem in shared]
    refuse_single(sorted(single))
    return DataSet(
        "lgg", ("tumour",), samples, taken="PATIENT_n.tif with PATIENT_n_mask.tif, by patient", source=_SOURCE
    )


def _home(root: Path) -> Path:
    return root / "kaggle_3m" if (root / "kaggle_3m").is_dir() else root


def _slice_number(stem: str) -> tuple[int, str]:
    number = stem.rpartition("_")[2]
    return int(number) if number.isdigit() else 0, stem
