"""BUSI, the breast ultrasound images."""

from __future__ import annotations

from pathlib import Path

from medseg.config import UNKNOWN, TrainingData
from medseg.data.layouts.pairs import refuse_single
from medseg.data.listing import by_stem, folders, mask_base
from medseg.data.manifest import DataSet, Sample
from medseg.data.parts import MaskFile

_KINDS = ("benign", "malignant", "normal")
_SOURCE = TrainingData(
    "BUSI, Breast Ultrasound Images",
    UNKNOWN.licence,
    "https://scholar.cu.edu.eg/?q=afahmy/pages/dataset",
    "Al-Dhabyani et al. 2020, Dataset of breast ultrasound images, Data in Brief 28:104863",
)


def is_busi(root: Path) -> bool:
    """Folders benign/, malignant/ or normal/, two of them at least, with *_mask.png."""
    kinds = [folder for folder in folders(root) if folder.name.lower() in _KINDS]
    return len(kinds) > 1 and any(True for folder in kinds for _ in folder.glob("*_mask*.png"))


def read_busi(root: Path) -> DataSet:
    """BUSI: breast lesions in 780 ultrasound images; the lesions of one image are united.

    Home page: https://scholar.cu.edu.eg/?q=afahmy/pages/dataset
    Layout: benign/"benign (1).png" with "benign (1)_mask.png", "benign (1)_mask_1.png", …; malignant/ alike; normal/
        with empty masks. The set names no patients, and holds images of one patient more than once: every image is a
        case.
    Licence: not stated with the data; mirrors name different ones.
    Citation: Al-Dhabyani et al. 2020, Dataset of breast ultrasound images, Data in Brief 28:104863,
        doi:10.1016/j.dib.2019.104863.
    Raises InputError for an image without a mask or a mask without an image.
    """
    samples, single = [], []
    for folder in folders(root):
        files = by_stem(folder)
        bases = {stem: named[0] for stem in files if (named := mask_base(stem))}
        masks: dict[str, list[Path]] = {stem: [] for stem in files if stem not in bases}
        for stem, base in bases.items():
            masks[base].append(files[stem]) if base in masks else single.append(stem)
        single += [stem for stem, paths in masks.items() if not paths]
        samples += [
            Sample(files[stem], tuple(MaskFile("lesion", path) for path in paths), stem, "")
            for stem, paths in masks.items()
        ]
    refuse_single(single)
    taken = "NAME.png with NAME_mask.png, NAME_mask_1.png, … united"
    return DataSet("busi", ("lesion",), samples, taken=taken, source=_SOURCE)
