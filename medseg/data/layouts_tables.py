"""Adapters of data sets whose masks stand in one table for all pictures: ChestX-Det and SIIM-ACR.

Only pictures that lie there and are labelled become samples; what is left out is counted in a MedsegWarning, since both
sets are often held in part.
"""

from __future__ import annotations

import csv
import gzip
import json
import warnings
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from medseg.data.manifest import DataSet, Sample
from medseg.data.parts import Box, Part, Polygon, Runs, to_points
from medseg.errors import InputError, MedsegWarning

CHESTX_DET_LABELS = (
    "Atelectasis", "Calcification", "Cardiomegaly", "Consolidation", "Diffuse Nodule", "Effusion", "Emphysema",
    "Fibrosis", "Fracture", "Mass", "Nodule", "Pleural Thickening", "Pneumothorax",
)  # fmt: skip
"""The 13 findings, as the annotations name them."""


def is_chestx_det(root: Path) -> bool:
    """A folder with ChestX_Det*.json."""
    return any(True for _ in root.glob("ChestX_Det*.json"))


def is_chestx_det_json(content: Any) -> bool:
    """Whether parsed JSON is such an annotation file."""
    return isinstance(content, list) and bool(content) and isinstance(content[0], dict) and "syms" in content[0]


def read_chestx_det(place: Path) -> DataSet:
    """ChestX-Det: 13 findings outlined by radiologists in 3,578 films of NIH ChestX-ray14; findings overlap.

    Home page: https://github.com/Deepwise-AILab/ChestX-Det-Dataset
    Layout: ChestX_Det_train.json and ChestX_Det_test.json, lists of {"file_name", "syms", "boxes", "polygons"} with one
        entry in the three lists for each finding; pictures 1024 × 1024 anywhere below the folder (train_data/, images/,
        …). `place` is the folder or one of its JSON files. Pictures of the test file are "test". With
        chestxdet_to_nih_names.csv (file_name, nih_name) the case is the NIH patient, otherwise the picture.
    Licence: annotations Apache-2.0; images free to use with acknowledgement of the NIH Clinical Center.
    Citation: Lian et al. 2021, A Structure-Aware Relation Network for Thoracic Diseases Detection and Segmentation,
        IEEE TMI 40(8), doi:10.1109/TMI.2021.3070847; Wang et al. 2017, ChestX-ray8, CVPR, arXiv:1705.02315.
    Raises InputError for a finding that is none of the 13, and for a picture with two entries that differ.
    """
    root = place if place.is_dir() else place.parent
    tables = sorted(root.glob("ChestX_Det*.json")) if place.is_dir() else [place]
    pictures = _pictures(root, "*.png")
    patients = _nih_patients(root / "chestxdet_to_nih_names.csv")
    samples: dict[str, Sample] = {}
    absent: set[str] = set()
    for table in tables:
        for entry in _entries(table):
            try:
                name, parts, boxes = str(entry["file_name"]), _polygons(entry), _boxes(entry)
            except (ValueError, KeyError, TypeError) as error:
                raise InputError(f"{table.name} is no ChestX-Det annotation file ({error!r}).") from None
            if name not in pictures:
                absent.add(name)
                continue
            split = "test" if "test" in table.stem.lower() else ""
            sample = Sample(pictures[name], parts, patients.get(name, Path(name).stem), split, boxes=boxes)
            if samples.setdefault(name, sample) != sample:
                raise InputError(f"{table.name}: {name} stands twice, with other findings or in another split.")
    _warn(absent, "annotated pictures are not here and")
    return DataSet("chestx-det", CHESTX_DET_LABELS, [samples[name] for name in sorted(samples)])


def is_siim(root: Path) -> bool:
    """A folder with a csv of run lengths by ImageId."""
    return _siim_table(root) is not None


def read_siim(root: Path) -> DataSet:
    """SIIM-ACR Pneumothorax Segmentation 2019: chest films as DICOM, pneumothoraces as run lengths.

    Home page: https://www.kaggle.com/c/siim-acr-pneumothorax-segmentation
    Layout: a csv (train-rle.csv, stage_2_train.csv) with the columns ImageId and EncodedPixels, the second with a
        leading space in the first release; relative, column-major run lengths, several rows for several pneumothoraces,
        -1 for none. Pictures ImageId.dcm, 1024 × 1024, anywhere below (dicom-images-train/STUDY/SERIES/). The table
        names no patients: every picture is a case.
    Licence: the competition's rules, no redistribution; images of NIH ChestX-ray14.
    Citation: Zawacki et al. 2019, SIIM-ACR Pneumothorax Segmentation, Kaggle; Filice et al. 2020, Crowdsourcing
        pneumothorax annotations using machine learning annotations on the NIH chest X-ray dataset, J Digit Imaging 33.
    """
    table = _siim_table(root)
    if table is None:
        raise InputError(f"{root.name} holds no csv with the columns ImageId and EncodedPixels.")
    rows = read_siim_table(table)
    pictures = {name.removesuffix(".dcm"): path for name, path in _pictures(root, "*.dcm").items()}
    _warn(rows.keys() - pictures.keys(), "pictures of the table are not here and")
    _warn(pictures.keys() - rows.keys(), "pictures have no row in the table and")
    shared = sorted(rows.keys() & pictures.keys())
    return DataSet("siim-acr", ("pneumothorax",), [Sample(pictures[name], rows[name], name, "") for name in shared])


def read_siim_table(path: Path) -> dict[str, tuple[Runs, ...]]:
    """ImageId → its run lengths, () for a film without pneumothorax.

    Raises InputError for another table, and for a film with both run lengths and the -1 that says there are none.
    """
    rows: dict[str, list[Runs]] = {}
    empty: set[str] = set()
    for row in _rows(path):
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
    for path in sorted([*root.glob("*.csv"), *root.glob("*.csv.gz")]):
        if {"ImageId", "EncodedPixels"} <= next(_rows(path), {}).keys():
            return path
    return None


def _rows(path: Path) -> Iterator[dict[str, str]]:
    """The rows of a csv file, column names without the spaces around them."""
    opener = gzip.open if path.suffix == ".gz" else open
    with opener(path, "rt", encoding="utf-8-sig", errors="replace", newline="") as file:
        for row in csv.DictReader(file):
            yield {(name or "").strip(): value for name, value in row.items()}


def _entries(table: Path) -> list[dict[str, Any]]:
    try:
        content = json.loads(table.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise InputError(f"{table.name} is no JSON file ({error}).") from None
    if not is_chestx_det_json(content):
        raise InputError(f"{table.name} is no list of ChestX-Det's entries.")
    return list(content)


def _polygons(entry: dict[str, Any]) -> tuple[Part, ...]:
    unknown = sorted({*entry["syms"]} - {*CHESTX_DET_LABELS})
    if unknown:
        raise ValueError(f"{entry['file_name']} has the finding {unknown[0]!r}, which is none of the 13")
    pairs = zip(entry["syms"], entry["polygons"], strict=True)
    return tuple(Polygon(str(label), to_points([value for point in line for value in point])) for label, line in pairs)


def _boxes(entry: dict[str, Any]) -> tuple[Box, ...]:
    pairs = zip(entry["syms"], entry["boxes"], strict=True)
    return tuple(Box(str(label), *map(float, box)) for label, box in pairs)


def _nih_patients(path: Path) -> dict[str, str]:
    """File name → patient: NIH names are PATIENT_VISIT.png."""
    if not path.is_file():
        return {}
    return {row["file_name"]: row["nih_name"].partition("_")[0] for row in _rows(path)}


def _pictures(root: Path, pattern: str) -> dict[str, Path]:
    found: dict[str, Path] = {}
    for path in sorted(root.rglob(pattern)):
        if path.name in found:
            raise InputError(f"Two pictures are named {path.name}: {found[path.name].parent} and {path.parent}.")
        found[path.name] = path
    return found


def _warn(names: Iterable[str], what: str) -> None:
    left_out = sorted(names)
    if left_out:
        sentence = f"{len(left_out)} {what} are left out, the first: {', '.join(left_out[:3])}."
        warnings.warn(sentence, MedsegWarning, stacklevel=4)
