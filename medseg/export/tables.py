"""Masks in the tables of others: run lengths as SIIM-ACR's csv has them, instances as COCO's JSON.

Both are on the pixel grid of the file that was read, and name the images as they are told: medseg keeps no file names.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from medseg.data.coco import measures, to_runs
from medseg.data.rle import encode_rle
from medseg.image import to_stored
from medseg.inference.prediction import Prediction
from medseg.inference.record import notice
from medseg.report.csv import write_csv

_HEAD = ["ImageId", "EncodedPixels", "Label", "Height", "Width", "Notice"]


def write_rle(prediction: Prediction, name: str, path: Path) -> None:
    """A csv with a row for each label: ImageId and EncodedPixels as SIIM-ACR 2019 has them (relative, column-major run
    lengths, -1 for none), then Label, Height and Width of the grid, and the notice."""
    write_entries([Entry.of(prediction, name)], rle=path)


def write_instances(prediction: Prediction, name: str, path: Path) -> None:
    """COCO instance JSON of one image, the file `name`: an annotation in compressed run lengths for each label that
    was found. `medseg.data.coco.read_coco` reads it."""
    write_entries([Entry.of(prediction, name)], coco=path)


@dataclass(frozen=True)
class Entry:
    """One image in both tables: what is kept of each of many, as run lengths are small."""

    name: str
    size: tuple[int, int]
    labels: tuple[str, ...]
    runs: tuple[str, ...]
    instances: tuple[dict[str, Any], ...]
    about: str
    notice: str

    @classmethod
    def of(cls, prediction: Prediction, name: str) -> Entry:
        masks = to_stored(prediction.masks, prediction.image.orientation)
        instances = (
            {"category_id": number, "iscrowd": 0, **measures(mask), "segmentation": to_runs(mask)}
            for number, mask in enumerate(masks, start=1)
            if mask.any()
        )
        runs = tuple(encode_rle(mask) for mask in masks)
        said = prediction.describe(), notice(prediction.image)
        return cls(name, masks.shape[1:], prediction.labels, runs, tuple(instances), *said)


def write_entries(entries: Sequence[Entry], *, rle: Path | None = None, coco: Path | None = None) -> None:
    """The tables of several images of one ensemble, as `write_rle` and `write_instances` write those of one."""
    if rle is not None:
        lines = (
            (entry.name, -1 if run == "-1" else run, label, *entry.size, entry.notice)
            for entry in entries
            for label, run in zip(entry.labels, entry.runs, strict=True)
        )
        write_csv(rle, _HEAD, lines)
    if coco is not None:
        coco.write_text(json.dumps(_coco(entries), ensure_ascii=False, allow_nan=False) + "\n", encoding="utf-8")


def _coco(entries: Sequence[Entry]) -> dict[str, Any]:
    images = [
        {"id": number, "file_name": entry.name, "height": entry.size[0], "width": entry.size[1]}
        for number, entry in enumerate(entries, start=1)
    ]
    instances = [
        {"image_id": number, **each} for number, entry in enumerate(entries, start=1) for each in entry.instances
    ]
    return {
        "info": {"description": entries[0].notice, "contributor": entries[0].about},
        "images": images,
        "annotations": [{"id": number, **each} for number, each in enumerate(instances, start=1)],
        "categories": [{"id": number, "name": label} for number, label in enumerate(entries[0].labels, start=1)],
    }
