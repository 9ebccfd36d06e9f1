"""The ISIC challenges' skin lesions."""

from __future__ import annotations

import re
from pathlib import Path

from medseg.config import UNKNOWN, TrainingData
from medseg.data.layouts.pairs import refuse_single
from medseg.data.left_out import left_out
from medseg.data.listing import by_stem, folders, images_in, split_of
from medseg.data.manifest import DataSet, Sample
from medseg.errors import InputError

_IMAGES = re.compile(r"ISIC.*_(Data|Input)", re.IGNORECASE)
_TRUTH = re.compile(r"ISIC.*_GroundTruth", re.IGNORECASE)
_LICENCES = {"2016": "CC0 1.0", "2018": "CC BY-NC 4.0"}


def is_isic(root: Path) -> bool:
    """Folders ISIC…_Data or ISIC…_Input beside ISIC…_GroundTruth of segmentations."""
    names = [folder.name for folder in folders(root)]
    return any(map(_IMAGES.fullmatch, names)) and any(map(_TRUTH.fullmatch, names))


def read_isic(root: Path) -> DataSet:
    """ISIC 2016, 2017 and 2018: skin lesions in dermoscopic images.

    Home page: https://challenge.isic-archive.com/data/
    Layout: ISIC2018_Task1-2_Training_Input/ISIC_0000000.jpg with
        ISIC2018_Task1_Training_GroundTruth/ISIC_0000000_segmentation.png; _Validation_ and _Test_ are splits. 2016 and
        2017 alike, as ISIC-2017_Training_Data and ISIC-2017_Training_Part1_GroundTruth. The *_superpixels.png beside
        the images are none of them. The sets name no patients: every image is a case.
    Licence: CC0 (2016), CC BY-NC 4.0 (2018), as catalogues of data sets state; unknown for 2017.
    Citation: Codella et al. 2019, Skin Lesion Analysis Toward Melanoma Detection 2018, arXiv:1902.03368; Tschandl et
        al. 2018, The HAM10000 dataset, Scientific Data 5:180161.
    Raises InputError for a mask without an image, or images of one split in two folders.
    """
    images, masks = _files(root, _IMAGES), _files(root, _TRUTH)
    masks = {
        (split, stem.removesuffix("_segmentation").removesuffix("_Segmentation")): p
        for (split, stem), p in masks.items()
    }
    refuse_single([path.name for key, path in masks.items() if key not in images])
    samples = [Sample(path, masks[key], key[1], key[0]) for key, path in sorted(images.items()) if key in masks]
    entries = left_out("images without a mask", [path.name for key, path in images.items() if key not in masks])
    others = [path.name for folder in folders(root) for path in images_in(folder) if _is_other(path.stem)]
    entries += left_out("superpixels and attributes, which are no masks of lesions", others)
    year = next((match[0] for folder in folders(root) if (match := re.search(r"201[678]", folder.name))), "")
    source = TrainingData(
        f"ISIC {year}".strip(),
        _LICENCES.get(year, UNKNOWN.licence),
        "https://challenge.isic-archive.com/data/",
        "Codella et al. 2019, arXiv:1902.03368",
    )
    taken = "images ISIC…_Input or _Data, masks ISIC…_GroundTruth/*_segmentation.png"
    return DataSet("isic", ("lesion",), samples, entries, taken, source)


def _files(root: Path, pattern: re.Pattern[str]) -> dict[tuple[str, str], Path]:
    """(split, stem) → file, of all folders that `pattern` names."""
    files: dict[tuple[str, str], Path] = {}
    for folder in folders(root):
        if not pattern.fullmatch(folder.name):
            continue
        for stem, path in by_stem(folder).items():
            if _is_other(stem):
                continue
            if files.setdefault((split_of(folder.name), stem), path) != path:
                raise InputError(
                    f"{folder.name}/ and {files[split_of(folder.name), stem].parent.name}/ both hold {stem}."
                )
    return files


def _is_other(stem: str) -> bool:
    return stem.endswith("_superpixels") or "attribute" in stem
