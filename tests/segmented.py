"""Predictions with masks that are known, of the drawn DICOM files: three labels apart from each other."""

from __future__ import annotations

import functools
from pathlib import Path

import numpy as np

from medseg.config import EnsembleConfig, MemberReference, Task
from medseg.image import Image
from medseg.inference.ensemble import Ensemble
from medseg.inference.prediction import Prediction
from medseg.reading.readers import count_frames, read_image
from tests.conftest import fake_member

LABELS = ("polyp", "lung", "instrument")


@functools.cache
def drawing_ensemble(labels: tuple[str, ...] = LABELS, empty: bool = False) -> Ensemble:
    """Two members that answer three rectangles (a ramp, 1 and 0.9), whatever the image; nothing where `empty`."""
    task: Task = "binary" if len(labels) == 1 else "multilabel"

    def answer(image: Image) -> np.ndarray:
        values = np.zeros((3, *image.size))
        values[0, 8:24, 8:72] = np.linspace(0.3, 1, 64)
        values[1, 40:90, 10:50] = 1
        values[2, 60:80, 70:120] = 0.9
        return values[: len(labels)] * (not empty)

    members = [fake_member(name, answer, labels=labels, task=task) for name in ("first", "second")]
    references = tuple(MemberReference(one.config.name, one.sha256, 1.0) for one in members)
    return Ensemble(EnsembleConfig("drawing", task, labels, references), members)


def segment_files(paths: list[Path], ensemble: Ensemble) -> tuple[list[Prediction], list[Path]]:
    """Every frame's prediction with the file that it comes from."""
    places = [(path, frame) for path in paths for frame in range(count_frames(path))]
    predictions = [ensemble.predict(read_image(path, frame=frame)) for path, frame in places]
    return predictions, [path for path, _ in places]
