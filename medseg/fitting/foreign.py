"""Weights and threshold for models that medseg cannot run: what others' probabilities are worth together.

blend/blend.json            weights, threshold, how they were fitted, what they are worth
blend/masks/…, probabilities/…   of every image that all models have a prediction for
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from medseg.arrays import Probabilities, Stack, Threshold
from medseg.config import Task
from medseg.data.listing import stem_of
from medseg.data.manifest import Sample
from medseg.data.predictions import Predictions
from medseg.errors import InputError, ReadError
from medseg.export.npz import write_probabilities
from medseg.export.png import write_mask
from medseg.fitting.fit import Choice
from medseg.fitting.observations import Observation, observation
from medseg.image import Image
from medseg.inference.blend import weighted_mean
from medseg.postprocess import to_masks
from medseg.scores import Fitted

Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class Blend:
    """blend.json: the models by name with the form of their files, normalised weights, threshold, and the fit."""

    name: str
    task: Task
    labels: tuple[str, ...]
    models: tuple[str, ...]
    forms: tuple[str, ...]
    weights: tuple[float | tuple[float, ...], ...]
    threshold: Threshold
    fitted: Fitted


def task_of(labels: Sequence[str]) -> Task:
    """Labels of others may overlap: each is decided alone."""
    return "binary" if len(labels) == 1 else "multilabel"


def observe_predictions(
    predictions: Sequence[Predictions],
    samples: Sequence[Sample],
    labels: Sequence[str],
    refused: dict[int, str],
    *,
    progress: Progress = lambda done, total: None,
) -> Iterator[Observation]:
    """As `observations.observe`, of `predictions` in place of members, all of which have one for each sample. A sample
    with one that cannot be read is passed over: `refused` gets the sentence, by the sample's index. Raises InputError
    where none is left."""
    for index, sample in enumerate(samples):
        image, truth = sample.read(labels)
        try:
            stack = _stack(predictions, index, image)
        except ReadError as error:
            refused[index] = str(error)
        else:
            yield observation(sample, task_of(labels), stack, truth)
        progress(index + 1, len(samples))
    if len(refused) == len(samples):
        raise InputError(f"No image of the val split has a readable prediction of every model. {refused[0]}")


def has_all(predictions: Sequence[Predictions], index: int) -> bool:
    """Whether every model has a prediction for sample number `index`."""
    return all(index in model.readers for model in predictions)


def write_blends(
    predictions: Sequence[Predictions],
    samples: Sequence[Sample],
    labels: Sequence[str],
    choice: Choice,
    output: Path,
    *,
    progress: Progress = lambda done, total: None,
) -> tuple[int, list[str]]:
    """Masks and probabilities of the blend for all samples that every model has, in folders like those of the images;
    of several labels a folder of masks each. Returns how many, and a sentence for each that could not be read."""
    root = Path(os.path.commonpath([sample.image.parent for sample in samples]))
    written, refused = 0, []
    for index, sample in enumerate(samples):
        try:
            if has_all(predictions, index):
                image = sample.read_image()
                blended = weighted_mean(_stack(predictions, index, image), choice.weights)
                _write(blended, choice.threshold, labels, image, _places(sample, image, root, labels, output))
                written += 1
        except ReadError as error:
            refused.append(str(error))
        progress(index + 1, len(samples))
    return written, refused


def _places(sample: Sample, image: Image, root: Path, labels: Sequence[str], output: Path) -> list[Path]:
    """Of each label's mask, and of the probabilities."""
    stem = stem_of(sample.image) + (f"-frame{sample.frame:03d}" if image.frames > 1 else "")
    name = sample.image.parent.relative_to(root) / stem
    masks = [output / "masks" / (label if len(labels) > 1 else "") / f"{name}.png" for label in labels]
    return [*masks, output / "probabilities" / f"{name}.npz"]


def _write(
    probabilities: Probabilities, threshold: Threshold, labels: Sequence[str], image: Image, places: Sequence[Path]
) -> None:
    for place in places:
        place.parent.mkdir(parents=True, exist_ok=True)
    for mask, place in zip(to_masks(probabilities, threshold, task_of(labels)), places[:-1], strict=True):
        write_mask(mask[np.newaxis], image, place)
    write_probabilities(probabilities, tuple(labels), image, places[-1])


def _stack(predictions: Sequence[Predictions], index: int, image: Image) -> Stack:
    return np.stack([model.read(index, image).probabilities for model in predictions]).astype(np.float16)


def refuse_odd_labels(labels: Sequence[str]) -> None:
    """Raises InputError for labels that cannot name folders."""
    if odd := [label for label in labels if len(labels) > 1 and (Path(label).name != label or label.startswith("."))]:
        raise InputError(f"The label {odd[0]!r} cannot name a folder of masks: give it another name with --labels.")
