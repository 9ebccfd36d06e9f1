"""The DICOM results of a file or series by their names, as the command line offers them."""

from __future__ import annotations

import dataclasses
import functools
import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from medseg.errors import InputError, MedsegError
from medseg.export.derived import Source
from medseg.export.dicom_seg import write_dicom_seg
from medseg.export.parametric_map import one_label, write_parametric_map
from medseg.export.secondary_capture import write_secondary_capture
from medseg.inference.prediction import Prediction
from medseg.reading.readers import read_source

KINDS = ("seg", "label-map", "probabilities", "capture", "map")
"""SEG as BINARY, LABELMAP and FRACTIONAL; Secondary Captures, one a frame; Parametric Maps, one a label."""

GONE = "The image's file has been deleted here after a while: open it again for a DICOM result."

_SEG = {"seg": "BINARY", "label-map": "LABELMAP", "probabilities": "FRACTIONAL"}


def write_results(
    predictions: Sequence[Prediction], sources: Sequence[Source], stem: Path, kinds: Sequence[str]
) -> list[Path]:
    """Write each of the `kinds` beside `stem`: STEM-seg.dcm and so on; returns the files. Raises as the writers do, and
    InputError for a kind that there is not."""
    if unknown := [kind for kind in kinds if kind not in KINDS]:
        raise InputError(f"There is no DICOM result {unknown[0]!r}: there are {', '.join(KINDS)}.")
    written = []
    for kind in kinds:
        if kind in _SEG:
            path = stem.with_name(f"{stem.name}-{kind}.dcm")
            write_dicom_seg(predictions, sources, path, kind=_SEG[kind])  # type: ignore[arg-type]
            written.append(path)
        elif kind == "map":
            for number, label in enumerate(predictions[0].labels, start=1):
                written.append(stem.with_name(f"{stem.name}-map{number}.dcm"))
                write_parametric_map(predictions, sources, written[-1], label=label)
        else:
            before = None
            for number, (prediction, source) in enumerate(zip(predictions, sources, strict=True), start=1):
                written.append(stem.with_name(f"{stem.name}-capture{number:03}.dcm"))
                write_secondary_capture(prediction, source, written[-1], after=before)
                before = written[-1]
    return written


def without_image(prediction: Prediction) -> Prediction:
    """`prediction` with masks and probabilities (in half precision) alone: what all but captures are written from, so
    that a series of hundreds fits into memory."""
    pixels = np.broadcast_to(np.float32(0), prediction.image.pixels.shape)
    slim = dataclasses.replace(
        prediction,
        image=dataclasses.replace(prediction.image, pixels=pixels),
        members=prediction.members[..., :0, :0],
        stacked=None,
    )
    vars(slim).update(masks=prediction.masks, probabilities=prediction.probabilities.astype(np.float16))
    return slim


def why_not(kind: str, labels: tuple[str, ...], source: str | os.PathLike[str], frame: int = 0) -> str | None:
    """Why the image in the file `source` cannot have the DICOM result `kind` (of `KINDS`), None where it can.

    What depends on the masks, as labels that overlap in a label map, is said when it is written.
    """
    if kind == "map" and len(labels) != 1:
        return one_label(labels)
    path = Path(source)
    return _no_source(path, frame, path.stat().st_mtime_ns) if path.exists() else GONE


@functools.lru_cache(maxsize=32)
def _no_source(path: Path, frame: int, changed_ns: int) -> str | None:
    try:
        read_source(path, [frame])
    except MedsegError as error:
        return str(error)
    return None
