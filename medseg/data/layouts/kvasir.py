"""Kvasir-SEG."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

from medseg.config import TrainingData
from medseg.data.layouts.pairs import is_pairs, read_pairs
from medseg.data.listing import stem_of
from medseg.data.manifest import DataSet, read_json
from medseg.data.parts import Box
from medseg.errors import InputError

_BOX_FILES = ("bounding-boxes.json", "kavsir_bboxes.json")  # HyperKvasir's and, so spelt, Kvasir-SEG's
_HYPER = TrainingData(
    "HyperKvasir, segmented images (Kvasir-SEG)",
    "CC BY 4.0",
    "https://datasets.simula.no/hyper-kvasir/",
    "Borgli et al. 2020, HyperKvasir, Scientific Data 7:283",
)
_SEG = TrainingData(
    "Kvasir-SEG",
    "research and educational purposes only",
    "https://datasets.simula.no/kvasir-seg/",
    "Jha et al. 2020, Kvasir-SEG: A Segmented Polyp Dataset, MMM",
)


def is_kvasir(root: Path) -> bool:
    """Pairs with a file of bounding boxes."""
    return any((root / name).is_file() for name in _BOX_FILES) and is_pairs(root)


def read_kvasir(root: Path) -> DataSet:
    """Kvasir-SEG, and the segmented images of HyperKvasir, which are the same 1,000 polyps.

    Home page: https://datasets.simula.no/kvasir-seg/ and https://datasets.simula.no/hyper-kvasir/
    Layout: images/ID.jpg, masks/ID.jpg (JPEG: marked is above 127), bounding-boxes.json or kavsir_bboxes.json
        {ID: {"height", "width", "bbox": [{"label", "xmin", "ymin", "xmax", "ymax"}]}}; as a folder or the official zip.
        The set names no patients: every image is a case.
    Licence: CC BY 4.0 (HyperKvasir); research and education (Kvasir-SEG).
    Citation: Jha et al. 2020, Kvasir-SEG: A Segmented Polyp Dataset, MMM, doi:10.1007/978-3-030-37734-2_37; Borgli et
        al. 2020, HyperKvasir, Scientific Data 7:283, doi:10.1038/s41597-020-00622-y.
    """
    path = next(root / name for name in _BOX_FILES if (root / name).is_file())
    try:
        content = read_json(path)
        boxes = {stem: tuple(_kvasir_box(box) for box in entry["bbox"]) for stem, entry in content.items()}
        sizes = {stem: (int(entry["height"]), int(entry["width"])) for stem, entry in content.items()}
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise InputError(f"{path.name} does not hold Kvasir's bounding boxes ({error!r}).") from None
    pairs = read_pairs(root)
    stated = [(sample, stem_of(sample.image)) for sample in pairs.samples]
    samples = [replace(sample, boxes=boxes.get(stem, ()), size=sizes.get(stem)) for sample, stem in stated]
    source = _HYPER if path.name == _BOX_FILES[0] else _SEG
    return replace(pairs, layout="kvasir", labels=("polyp",), samples=samples, source=source)


def _kvasir_box(entry: dict[str, Any]) -> Box:
    left, top, right, bottom = (float(entry[side]) for side in ("xmin", "ymin", "xmax", "ymax"))
    return Box("polyp", left, top, right, bottom)
