"""SIIM-ACR Pneumothorax Segmentation."""

from __future__ import annotations

from collections.abc import Container
from dataclasses import replace
from pathlib import Path

from medseg.config import TrainingData
from medseg.data.layouts.tables import images_below, read_rows
from medseg.data.left_out import left_out
from medseg.data.listing import MASK_WORDS, files_in, is_image, names_below, stem_of, suffix_of, walk, words
from medseg.data.manifest import DataSet, Sample
from medseg.data.parts import Runs
from medseg.data.patients import of_one_patient
from medseg.errors import InputError

_SIZE = (1024, 1024)
"""(height, width) that the run lengths are for."""

_SOURCE = TrainingData(
    "SIIM-ACR Pneumothorax Segmentation 2019",
    "rules of the competition, no redistribution",
    "https://www.kaggle.com/c/siim-acr-pneumothorax-segmentation",
    "Zawacki et al. 2019, SIIM-ACR Pneumothorax Segmentation, Kaggle",
)


def is_siim(root: Path) -> bool:
    """A folder with a csv of run lengths by ImageId."""
    return _siim_table(root) is not None


def read_siim(root: Path) -> DataSet:
    """SIIM-ACR Pneumothorax Segmentation 2019: chest films as DICOM, pneumothoraces as run lengths.

    Home page: https://www.kaggle.com/c/siim-acr-pneumothorax-segmentation
    Layout: a csv (train-rle.csv, stage_2_train.csv) with the columns ImageId and EncodedPixels, the second with a
        leading space in the first release; relative, column-major run lengths, several rows for several pneumothoraces,
        -1 for none. Images ImageId.dcm, 1024 × 1024, anywhere below (dicom-images-train/STUDY/SERIES/), or ImageId.png
        or .jpg, as people convert them, which must have kept that size. The table names no patients: every image is a
        case, but for those that share a Patient ID.
    Licence: the competition's rules, no redistribution; images of NIH ChestX-ray14.
    Citation: Zawacki et al. 2019, SIIM-ACR Pneumothorax Segmentation, Kaggle; Filice et al. 2020, Crowdsourcing
        pneumothorax annotations using machine learning annotations on the NIH chest X-ray dataset, J Digit Imaging 33.
    """
    table = _siim_table(root)
    if table is None:
        raise InputError(f"{root.name} holds no csv with the columns ImageId and EncodedPixels.")
    rows = read_siim_table(table)
    images = {name.removesuffix(".dcm"): path for name, path in images_below(root, "*.dcm").items()}
    converted, copies = _converted(root, rows, images)
    images |= converted
    rows |= {name: tuple(replace(runs, size=_SIZE) for runs in rows[name]) for name in converted}
    entries = left_out("images of the table that are not here", rows.keys() - images.keys())
    entries += left_out("copies of films in another format", copies)
    others = [stem_of(path) for path in walk(root) if is_image(path)]
    entries += left_out("images without a row in the table", [name for name in others if name not in rows])
    samples = [Sample(images[name], rows[name], name, "") for name in sorted(rows.keys() & images.keys())]
    samples = of_one_patient(samples)
    kinds = sorted({f"*{suffix_of(sample.image)}" for sample in samples})
    taken = f"run lengths of {table.name}, images {', '.join(kinds)}"
    return DataSet("siim-acr", ("pneumothorax",), samples, entries, taken, _SOURCE)


def _converted(root: Path, rows: Container[str], films: Container[str]) -> tuple[dict[str, Path], list[str]]:
    """The PNG and JPEG files of the table's images outside folders of masks, by ImageId: those of which there is no
    DICOM file, and the names of the others. Raises InputError for two of one ImageId."""
    files: dict[str, Path] = {}
    copies = []
    for path in walk(root):
        folders = {word for part in path.relative_to(root).parts[:-1] for word in words(part)}
        if suffix_of(path) not in (".png", ".jpg", ".jpeg") or stem_of(path) not in rows or folders & MASK_WORDS:
            continue
        if stem_of(path) in films:
            copies.append(path.name)
        elif files.setdefault(stem_of(path), path) != path:
            names = " and ".join(names_below(root, (files[stem_of(path)], path)))
            raise InputError(f"{names} are one image of the table: keep one.")
    return files, copies


def read_siim_table(path: Path) -> dict[str, tuple[Runs, ...]]:
    """ImageId → its run lengths, () for a film without pneumothorax.

    Raises InputError for another table, and for a film with both run lengths and the -1 that says there are none.
    """
    rows: dict[str, list[Runs]] = {}
    empty: set[str] = set()
    for row in read_rows(path):
        try:
            name, text = row["ImageId"].strip(), row["EncodedPixels"].strip()
        except (KeyError, AttributeError):
            raise InputError(f"{path.name} is not a table of ImageId and EncodedPixels.") from None
        runs = rows.setdefault(name, [])
        if text in ("", "-1"):
            empty.add(name)
        else:
            runs.append(Runs("pneumothorax", text))
    both = sorted(name for name in empty if rows[name])
    if both:
        raise InputError(
            f"{path.name}: {both[0]} has run lengths and -1, which says that there are none. Mend the rows."
        )
    return {name: tuple(runs) for name, runs in rows.items()}


def _siim_table(root: Path) -> Path | None:
    for path in files_in(root, "*.csv", "*.csv.gz"):
        if {"ImageId", "EncodedPixels"} <= next(read_rows(path), {}).keys():
            return path
    return None
