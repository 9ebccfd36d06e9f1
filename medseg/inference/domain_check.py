"""Is this image like those the ensemble was trained on? A hint from modality and colour, not a guarantee."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from weakref import WeakKeyDictionary

import numpy as np

from medseg.config import Appearance, TrainingData
from medseg.image import Image

_MARGIN = 0.02  # of the value range: JPEG and scanner rounding move a mean by less


_looks: WeakKeyDictionary[Image, dict[str, float]] = WeakKeyDictionary()
"""The statistics of the images that are still open: `look` reads the pixels of an image once."""


def look(image: Image) -> dict[str, float]:
    """Three means over the image: brightness, and the opponent colours red − green and yellow − blue.

    The colours are 0 for grey and for images whose channels are no colours, being other than three.

    Source of the opponent axes: Hasler and Süsstrunk, Measuring colourfulness in natural images, SPIE 2003.
    """
    if image in _looks:
        return _looks[image]
    means = image.pixels.mean(axis=(0, 1), dtype=np.float64).tolist()
    red, green, blue = means if len(means) == 3 else [sum(means) / len(means)] * 3
    _looks[image] = {
        "brightness": (red + green + blue) / 3,
        "red_green": red - green,
        "yellow_blue": (red + green) / 2 - blue,
    }
    return _looks[image]


def appearance_of(looks: Sequence[dict[str, float]]) -> Appearance:
    """The range of each statistic over a training set, from the 0.5th to the 99.5th percentile."""
    ranges = {key: np.percentile([entry[key] for entry in looks], [0.5, 99.5]).round(4).tolist() for key in looks[0]}
    return Appearance(**{key: (low, high) for key, (low, high) in ranges.items()})


def warnings_of(image: Image, training: TrainingData) -> list[str]:
    """Sentences that say how `image` differs from the training images; empty where nothing speaks against it."""
    sentences = reasons(image, training)
    if not sentences:
        return []
    images = training.pictures or training.name
    return [f"This image is unlike what the ensemble was trained on ({images}): {', and '.join(sentences)}."]


def reasons(image: Image, training: TrainingData) -> list[str]:
    """What speaks against `image` being like the training images, a clause each: the fewer, the better it suits."""
    sentences = []
    if image.modality and training.modalities and image.modality not in training.modalities:
        sentences.append(f"its DICOM modality is {image.modality}, not {' or '.join(training.modalities)}")
    if training.appearance is not None:
        sentences += _unlike(look(image), training.appearance)
    return sentences


def _unlike(measured: dict[str, float], known: Appearance) -> list[str]:
    if measured["red_green"] == measured["yellow_blue"] == 0 and max(known.red_green[0], known.yellow_blue[0]) > 0:
        return ["it has no colour"]
    words = {
        "brightness": "brightness",
        "red_green": "balance of red and green",
        "yellow_blue": "balance of yellow and blue",
    }
    return [
        f"its {words[key]} ({measured[key]:.2f}) lies outside {low:.2f} to {high:.2f}"
        for key, (low, high) in dataclasses.asdict(known).items()
        if not low - _MARGIN <= measured[key] <= high + _MARGIN
    ]
