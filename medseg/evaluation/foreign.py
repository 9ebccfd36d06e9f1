"""Samples × predictions that medseg did not make → the report that an ensemble gets."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from medseg.data.left_out import left_out
from medseg.data.manifest import Sample
from medseg.data.prediction_files import Read
from medseg.data.predictions import Predictions
from medseg.errors import InputError, ReadError
from medseg.evaluation.rows import EMPTY, PRIOR
from medseg.evaluation.scoring import Result, Scoring
from medseg.image import Image

PROTOCOL = (
    "each image's own grid; both masks empty: overlap 1, distance 0; 95 % bootstrap by case; masks as they are, "
    "probabilities at threshold 0.5; only images for which every model has a prediction"
)


def evaluate_predictions(
    predictions: Sequence[Predictions],
    samples: Sequence[Sample],
    training: Sequence[Sample],
    labels: Sequence[str],
    *,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> tuple[Result, list[Sample]]:
    """Score the `predictions`, a row each, on the `samples`; `training` gives the location prior. The samples that were
    scored come back beside the result.

    All rows are of the same images: one that a model lacks, or whose prediction cannot be read, is left out for all of
    them and said in the report's `doubts`. Its `predictions` name each model's files and how many of the images it has.
    Raises InputError for names that do not tell the rows apart, and where no image is left.
    """
    names = [foreign.name for foreign in predictions]
    if len({*names, EMPTY, PRIOR}) < len(names) + 2 or not all(names):
        raise InputError(f"Predictions need names of their own, none of them {EMPTY} or {PRIOR}.")
    scoring = Scoring(labels, training, names)
    scored: dict[int, Sample] = {}
    refused: list[str] = []
    for index, sample in enumerate(samples):
        if all(index in foreign.readers for foreign in predictions):
            image, truth = sample.read(labels)
            read = _read(predictions, index, image, refused)
            if read:
                scoring.add(
                    sample,
                    image,
                    truth,
                    ((n, foreign.probabilities, foreign.masks) for n, foreign in zip(names, read, strict=True)),
                )
                scored[index] = sample
        progress(index + 1, len(samples))
    if not scored:
        raise InputError(f"No image has a readable prediction of every model. {' '.join(refused[:3])}")
    report: dict[str, Any] = {
        "predictions": [
            {"name": foreign.name, "form": foreign.form, "images": len(foreign.readers)} for foreign in predictions
        ],
        "protocol": PROTOCOL,
        "differences": {},
        "contributions": {},
        "doubts": [note for foreign in predictions for note in foreign.notes],
    }
    absent = [sample.image.name for index, sample in enumerate(samples) if index not in scored]
    report["doubts"] += map(str, left_out("images that not every model has a readable prediction for", absent))
    report["doubts"] += refused
    return scoring.result(report, names if len(names) > 1 else []), [*scored.values()]


def _read(predictions: Sequence[Predictions], index: int, image: Image, refused: list[str]) -> list[Read]:
    """Every model's prediction, () where one cannot be read."""
    try:
        return [foreign.read(index, image) for foreign in predictions]
    except ReadError as error:
        refused.append(str(error))
        return []
