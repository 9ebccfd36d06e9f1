"""MedSegBench: a data set in one NumPy archive."""

from __future__ import annotations

import re
import tempfile
import zipfile
from pathlib import Path

import numpy as np
import PIL.Image

from medseg.data.left_out import left_out
from medseg.data.listing import files_in
from medseg.data.manifest import DataSet, Sample
from medseg.errors import InputError
from medseg.reading.archive import cache_folder

_ARRAY = re.compile(r"(train|val|test)_(images?|labels?|masks?)")


def is_medsegbench(root: Path) -> bool:
    """A folder whose one .npz file holds train_images and train_label."""
    archives = files_in(root, "*.npz")
    return len(archives) == 1 and "train_images" in _arrays(archives[0])


def read_medsegbench(place: Path) -> DataSet:
    """A MedSegBench archive, whose images and label maps are written once as PNG files into the cache.

    Home page: https://github.com/zekikus/MedSegBench
    Layout: NAME_256.npz with train_images (N, H, W) or (N, H, W, 3) of 8 bits and train_label (N, H, W), val_ and test_
        alike: the splits. Label maps of the integers 0 to K; --labels names them. Every image is a case.
    Licence: CC BY 4.0 for most of its 35 sets; that of the original set counts.
    Citation: Kuş and Aydin 2024, MedSegBench, Scientific Data 11:1283, doi:10.1038/s41597-024-04159-2.
    Raises InputError for an archive of other arrays.
    """
    path = place if place.is_file() else files_in(place, "*.npz")[0]
    folder = cache_folder(path, "medsegbench")
    if not folder.is_dir():
        folder.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=folder.parent, prefix="writing-") as writing:
            _write(path, Path(writing) / "content")
            (Path(writing) / "content").rename(folder)
    samples = [
        Sample(image, image.parent.parent / "masks" / image.name, f"{split}-{image.stem}", split)
        for split in ("train", "val", "test")
        for image in sorted((folder / split / "images").glob("*.png"))
    ]
    others = [name for name in _arrays(path) if not _ARRAY.fullmatch(name)]
    entries = left_out("arrays that are no images or label maps of a split", others)
    return DataSet("medsegbench", (), samples, entries, f"images and label maps of {path.name}, in its splits")


def _arrays(path: Path) -> list[str]:
    try:
        with zipfile.ZipFile(path) as archive:
            return [name.removesuffix(".npy") for name in archive.namelist()]
    except (OSError, zipfile.BadZipFile):
        return []


def _write(path: Path, folder: Path) -> None:
    """Every image and label map as PNG: folder/SPLIT/images/00000.png with masks/00000.png."""
    matches = [match for name in _arrays(path) if (match := _ARRAY.fullmatch(name))]
    names = {f"{match[1]}_{'images' if match[2].startswith('image') else 'label'}": match[0] for match in matches}
    try:
        with np.load(path, allow_pickle=False) as content:
            for split in ("train", "val", "test"):
                if f"{split}_images" in names:
                    images, masks = content[names[f"{split}_images"]], content[names[f"{split}_label"]]
                    _write_split(images, masks, folder / split)
    except (OSError, ValueError, KeyError, zipfile.BadZipFile) as error:
        raise InputError(f"{path.name} is no archive of MedSegBench ({error}). Download it again.") from None


def _write_split(images: np.ndarray, masks: np.ndarray, folder: Path) -> None:
    masks = masks[..., 0] if masks.ndim == 4 else masks
    images = images[..., 0] if images.ndim == 4 and images.shape[3] == 1 else images
    if (
        images.dtype != np.uint8
        or masks.shape != images.shape[:3]
        or masks.min(initial=0) < 0
        or masks.max(initial=0) > 255
    ):
        raise ValueError(f"images {images.shape} {images.dtype} with labels {masks.shape} {masks.dtype}")
    for name, arrays in (("images", images), ("masks", masks.astype(np.uint8))):
        (folder / name).mkdir(parents=True)
        for number, array in enumerate(arrays):
            PIL.Image.fromarray(array).save(folder / name / f"{number:05}.png")
