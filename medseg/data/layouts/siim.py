"""SIIM-ACR Pneumothorax Segmentation."""

from __future__ import annotations

from pathlib import Path

from medseg.config import TrainingData
from medseg.data.layouts.tables import images_below, read_rows
from medseg.data.left_out import left_out
from medseg.data.listing import files_in, is_image, stem_of, walk
from medseg.data.manifest import DataSet, Sample
from medseg.data.parts import Runs
from medseg.data.patients import of_one_patient
from medseg.errors import InputError

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
        -1 for none. Images ImageId.dcm, 1024 × 1024, anywhere below (dicom-images-train/STUDY/SERIES/). The table
        names no patients: every image is a case, but for those that share a Patient ID.
    Licence: the competition's rules, no redistribution; images of NIH ChestX-ray14.
    Citation: Zawacki et al. 2019, SIIM-ACR Pneumothorax Segmentation, Kaggle; Filice et al. 2020, Crowdsourcing
        pneumothorax annotations using machine learning annotations on the NIH chest X-ray dataset, J Digit Imaging 33.
    """
    table = _siim_table(root)
    if table is None:
        raise InputError(f"{root.name} holds no csv with the columns ImageId and EncodedPixels.")
    rows = read_siim_table(table)
    images = {name.removesuffix(".dcm"): path for name, path in images_below(root, "*.dcm").items()}
    entries = left_out("images of the table that are not here", rows.keys() - images.keys())
    others = [stem_of(path) for path in walk(root) if is_image(path)]
    entries += left_out("images without a row in the table", [name for name in others if name not in rows])
    samples = [Sample(images[name], rows[name], name, "") for name in sorted(rows.keys() & images.keys())]
    samples = of_one_patient(samples)
    return DataSet(
        "siim-acr", ("pneumothorax",), samples, entries, f"run lengths of {table.name}, images *.dcm", _SOURCE
    )


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
