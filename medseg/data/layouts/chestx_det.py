"""ChestX-Det."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from medseg.config import TrainingData
from medseg.data.layouts.tables import images_below, read_rows
from medseg.data.left_out import left_out
from medseg.data.manifest import DataSet, Sample, read_json
from medseg.data.parts import Box, Part, Polygon, to_points
from medseg.errors import InputError

CHESTX_DET_LABELS = (
    "Atelectasis", "Calcification", "Cardiomegaly", "Consolidation", "Diffuse Nodule", "Effusion", "Emphysema",
    "Fibrosis", "Fracture", "Mass", "Nodule", "Pleural Thickening", "Pneumothorax",
)  # fmt: skip
"""The 13 findings, as the annotations name them."""

_SOURCE = TrainingData(
    "ChestX-Det",
    "annotations Apache-2.0, images of NIH ChestX-ray14",
    "https://github.com/Deepwise-AILab/ChestX-Det-Dataset",
    "Lian et al. 2021, IEEE TMI 40(8), doi:10.1109/TMI.2021.3070847; Wang et al. 2017, ChestX-ray8, CVPR",
)


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
        entry in the three lists for each finding; images 1024 × 1024 anywhere below the folder (train_data/, images/,
        …). `place` is the folder or one of its JSON files. Images of the test file are "test". With
        chestxdet_to_nih_names.csv (file_name, nih_name) the case is the NIH patient, otherwise the image.
    Licence: annotations Apache-2.0; images free to use with acknowledgement of the NIH Clinical Center.
    Citation: Lian et al. 2021, A Structure-Aware Relation Network for Thoracic Diseases Detection and Segmentation,
        IEEE TMI 40(8), doi:10.1109/TMI.2021.3070847; Wang et al. 2017, ChestX-ray8, CVPR, arXiv:1705.02315.
    Raises InputError for a finding that is none of the 13, and for an image with two entries that differ.
    """
    root = place if place.is_dir() else place.parent
    tables = sorted(root.glob("ChestX_Det*.json")) if place.is_dir() else [place]
    images = images_below(root, "*.png")
    patients = _nih_patients(root / "chestxdet_to_nih_names.csv")
    samples: dict[str, Sample] = {}
    absent: set[str] = set()
    for table in tables:
        for entry in _entries(table):
            try:
                name, parts, boxes = str(entry["file_name"]), _polygons(entry), _boxes(entry)
            except (ValueError, KeyError, TypeError) as error:
                raise InputError(f"{table.name} is no ChestX-Det annotation file ({error!r}).") from None
            if name not in images:
                absent.add(name)
                continue
            split = "test" if "test" in table.stem.lower() else ""
            sample = Sample(images[name], parts, patients.get(name, Path(name).stem), split, boxes=boxes)
            if samples.setdefault(name, sample) != sample:
                raise InputError(f"{table.name}: {name} stands twice, with other findings or in another split.")
    entries = left_out("annotated images that are not here", absent)
    if place.is_dir():
        entries += left_out("images without an entry in the annotation files", images.keys() - samples.keys())
    taken = f"images below {root.name}, masks from the polygons of {', '.join(table.name for table in tables)}"
    return DataSet("chestx-det", CHESTX_DET_LABELS, [samples[n] for n in sorted(samples)], entries, taken, _SOURCE)


def _entries(table: Path) -> list[dict[str, Any]]:
    try:
        content = read_json(table)
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
    return tuple(
        Polygon(str(label), to_points([value for point in line for value in point]), outlined=True)
        for label, line in pairs
    )


def _boxes(entry: dict[str, Any]) -> tuple[Box, ...]:
    pairs = zip(entry["syms"], entry["boxes"], strict=True)
    return tuple(Box(str(label), *map(float, box)) for label, box in pairs)


def _nih_patients(path: Path) -> dict[str, str]:
    """File name → patient: NIH names are PATIENT_VISIT.png."""
    if not path.is_file():
        return {}
    return {row["file_name"]: row["nih_name"].partition("_")[0] for row in read_rows(path)}
