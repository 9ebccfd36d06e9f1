"""Every frame of one file segmented alike: the areas frame by frame, and the masks in one archive."""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
from jaxtyping import UInt8

from medseg.errors import ReadError
from medseg.export.nifti import mask_volume
from medseg.export.png import write_mask
from medseg.image import Image
from medseg.inference.prediction import Prediction
from medseg.inference.record import NOTICE
from medseg.postprocess import to_label_map
from medseg.reading.readers import read_file
from medseg.reading.series import Series
from medseg.report.csv import csv_text

Areas: TypeAlias = dict[str, dict[str, float]]
"""Of each label, as `export.areas` gives them."""


def segment_frames(
    source: Path | Series,
    segment: Callable[[Image], Prediction],
    target: Path,
    *,
    window: tuple[float, float] | None = None,
    progress: Callable[[int, int], None] = lambda done, total: None,
    cancelled: Callable[[], bool] = lambda: False,
) -> list[Areas]:
    """The areas in each frame of the file or series `source`, and the zip `target` with every frame's mask.

    One image at a time is held. `window` is what `read_image` takes; `progress` is told how many of how many frames
    are done. `target` holds frame-001.png and so on (`export.write_mask`), areas.csv, and report.json with each frame's
    report; for a NIfTI volume that says how it lies also mask.nii, the label maps on its grid. Where `cancelled` says
    so between two frames, nothing is written and the list is empty. Raises ReadError where a frame cannot be read, with
    its number.
    """
    areas: list[Areas] = []
    label_maps: list[UInt8[np.ndarray, "H W"]] = []
    reports: list[dict[str, Any]] = []
    begun, frames = target.with_suffix(".part"), 1
    try:
        with zipfile.ZipFile(begun, "w", zipfile.ZIP_DEFLATED) as archive:
            while len(areas) < frames:
                if cancelled():
                    return []
                image = _read(source, len(areas), window)
                prediction, frames = segment(image), image.frames
                reports.append(prediction.report())
                areas.append(reports[-1]["areas"])
                archive.writestr(f"frame-{len(areas):03}.png", _png(prediction))
                if image.affine is not None:
                    label_maps.append(to_label_map(prediction.masks))
                progress(len(areas), frames)
            if label_maps:
                archive.writestr("mask.nii", mask_volume(label_maps, image, prediction.labels))
            archive.writestr("areas.csv", _table(areas))
            archive.writestr("report.json", json.dumps({"notice": NOTICE, "frames": reports}, indent=2))
        begun.replace(target)
    finally:
        begun.unlink(missing_ok=True)
    return areas


def _read(source: Path | Series, frame: int, window: tuple[float, float] | None) -> Image:
    try:
        return read_file(source, frame=frame, window=window)
    except ReadError as error:
        raise ReadError(f"Frame {frame + 1}: {error}") from error


def _png(prediction: Prediction) -> bytes:
    stream = io.BytesIO()
    write_mask(prediction.masks, prediction.image, stream)
    return stream.getvalue()


def _table(areas: list[Areas]) -> str:
    """A row for each frame (counted from 1) and label; mm2 is empty where the spacing is not known."""
    lines = (
        (number, label, round(area["px"]), area.get("mm2"))
        for number, frame in enumerate(areas, start=1)
        for label, area in frame.items()
    )
    return csv_text(["frame", "label", "px", "mm2"], lines)
