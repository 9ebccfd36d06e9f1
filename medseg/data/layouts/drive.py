"""DRIVE, the retinal vessels."""

from __future__ import annotations

import re
from pathlib import Path

from medseg.config import TrainingData
from medseg.data.left_out import left_out
from medseg.data.listing import images_in
from medseg.data.manifest import DataSet, Sample
from medseg.errors import InputError

_SOURCE = TrainingData(
    "DRIVE, Digital Retinal Images for Vessel Extraction",
    "research and education only, no redistribution (https://www.isi.uu.nl/Research/Databases/DRIVE/)",
    "https://drive.grand-challenge.org/",
    "Staal et al. 2004, Ridge-based vessel segmentation in color images of the retina, IEEE TMI 23(4)",
)
_SPLITS = {"training": "train", "test": "test"}


def is_drive(root: Path) -> bool:
    """training/ or test/ with images/ and 1st_manual/."""
    return any((root / part / "images").is_dir() and (root / part / "1st_manual").is_dir() for part in _SPLITS)


def read_drive(root: Path) -> DataSet:
    """DRIVE: vessels in 40 fundus photographs, of 20 each for training and test.

    Home page: https://drive.grand-challenge.org/
    Layout: training/images/21_training.tif with training/1st_manual/21_manual1.gif, test/ alike. The fields of view
        mask/21_training_mask.gif and the second reader's 2nd_manual/ are not used. Case = the number.
    Licence: free for research and education; no copying, no redistribution, no unauthorised commercial use
        (https://www.isi.uu.nl/Research/Databases/DRIVE/).
    Citation: Staal et al. 2004, Ridge-based vessel segmentation in color images of the retina, IEEE TMI 23(4).
    Raises InputError for a manual segmentation without an image.
    """
    samples, unmarked = [], []
    for part, split in _SPLITS.items():
        home = root / part
        images = _by_number(home / "images")
        masks = _by_number(home / "1st_manual")
        if masks.keys() - images.keys():
            raise InputError(f"{part}/1st_manual/ holds {min(masks.keys() - images.keys())} without an image of it.")
        samples += [
            Sample(images[number], masks[number], number, split) for number in sorted(images.keys() & masks.keys())
        ]
        unmarked += [images[number].name for number in images.keys() - masks.keys()]
    entries = left_out("images without a segmentation in 1st_manual/", unmarked)
    taken = "images images/, masks 1st_manual/, of the same number"
    return DataSet("drive", ("vessel",), samples, entries, taken, _SOURCE)


def _by_number(folder: Path) -> dict[str, Path]:
    files = images_in(folder) if folder.is_dir() else []
    return {match[0]: path for path in files if (match := re.match(r"\d+", path.name))}
