"""One image's masks in the tables of others: run lengths as SIIM-ACR's csv has them, instances as COCO's JSON.

Both are on the pixel grid of the file that was read, and name the image as they are told: medseg keeps no file names.
"""

from __future__ import annotations

import json
from pathlib import Path

from medseg.data.coco import measures, to_runs
from medseg.data.rle import encode_rle
from medseg.image import to_stored
from medseg.inference.prediction import Prediction
from medseg.inference.record import NOTICE
from medseg.report.csv import write_csv


def write_rle(prediction: Prediction, name: str, path: Path) -> None:
    """A csv with a row for each label: ImageId and EncodedPixels as SIIM-ACR 2019 has them (relative, column-major run
    lengths, -1 for none), then Label, Height and Width of the grid, and the notice."""
    masks = to_stored(prediction.masks, prediction.image.orientation)
    runs = [encode_rle(mask) for mask in masks]
    lines = [
        (name, -1 if run == "-1" else run, label, *masks.shape[1:], NOTICE)
        for label, run in zip(prediction.labels, runs, strict=True)
    ]
    write_csv(path, ["ImageId", "EncodedPixels", "Label", "Height", "Width", "Notice"], lines)


def write_instances(prediction: Prediction, name: str, path: Path) -> None:
    """COCO instance JSON of one image, the file `name`: an annotation in compressed run lengths for each label that
    was found. `medseg.data.coco.read_coco` reads it."""
    masks = to_stored(prediction.masks, prediction.image.orientation)
    height, width = masks.shape[1:]
    annotations = [
        {
            "id": number,
            "image_id": 1,
            "category_id": number,
            "iscrowd": 0,
            **measures(mask),
            "segmentation": to_runs(mask),
        }
        for number, mask in enumerate(masks, start=1)
        if mask.any()
    ]
    content = {
        "info": {"description": NOTICE, "contributor": prediction.describe()},
        "images": [{"id": 1, "file_name": name, "height": height, "width": width}],
        "annotations": annotations,
        "categories": [{"id": number, "name": label} for number, label in enumerate(prediction.labels, start=1)],
    }
    path.write_text(json.dumps(content, ensure_ascii=False, allow_nan=False) + "\n", encoding="utf-8")
