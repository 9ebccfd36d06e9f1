"""Is this image like those the ensemble was trained on? A hint from modality and looks, not a guarantee.

Where domain.json lies beside ensemble.json, the hint is how far the image's features lie from those of the training
images (Mahalanobis), in units of the distance that 95 % of such images keep. Else it is three means: brightness and
colours, within the ranges that member.json has.

Source: Lee et al., A simple unified framework for detecting out-of-distribution samples, NeurIPS 2018.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, TypeAlias
from weakref import WeakKeyDictionary

import numpy as np
from jaxtyping import Float64

from medseg import schema
from medseg.config import Appearance, TrainingData
from medseg.errors import InputError
from medseg.hub.folders import DOMAIN
from medseg.image import Image
from medseg.inference.image_features import NUMBER, features
from medseg.report.words import of_today
from medseg.schema import require

FORMAT_VERSION = 1
FALSE_DOUBTS = 0.05
"""Of images like the training images, those that are doubted."""

FAR = 1.5
"""Times the distance from which on images are doubted: from there on an image is none of these. Of the embedded
ensembles' own test images none is so far, of natural images and other modalities 19 in 20 are."""

FEWEST_CASES = 20
"""Fewer cannot say what 5 % of them exceed."""

_FOLDS = 10
_SHRINKAGE = 0.2
"""Of the covariance to a multiple of the identity: 0.05 to 0.5 tell images apart equally well."""

_LEAST_SCALE = 0.02  # of a feature, which may be constant in the training images
_MARGIN = 0.02  # of the value range: JPEG and scanner rounding move a mean by less

Word: TypeAlias = Literal["suits", "doubtful", "none of these"]
WORDS: tuple[Word, ...] = ("suits", "doubtful", "none of these")


@dataclass(frozen=True)
class Domain:
    """domain.json: what the training images look like, as mean, scale and shape of their features, and no image.

    `shape` is the lower triangle, row by row, of the Cholesky factor of the scaled features' inverse covariance;
    `limit` the distance that 95 % of images like them keep, by case. `n` images of `cases` cases, whose division hashes
    to `split_sha256`, went into it.
    """

    data: str
    n: int
    cases: int
    split_sha256: str
    mean: tuple[float, ...]
    scale: tuple[float, ...]
    shape: tuple[float, ...]
    limit: float
    format_version: int = FORMAT_VERSION

    def __post_init__(self) -> None:
        require(self.format_version == FORMAT_VERSION, f"format_version {self.format_version} is not known here")
        require(len(self.mean) == len(self.scale) == NUMBER, f"mean and scale: wanted {NUMBER} numbers")
        require(len(self.shape) == NUMBER * (NUMBER + 1) // 2, "shape: wanted the lower triangle")
        require(self.limit > 0 and min(self.scale) > 0, "limit and scale must be above 0")

    def distance(self, values: Float64[np.ndarray, "*n D"]) -> Float64[np.ndarray, "*n"]:
        """How far images with these features are from the training images; 1 is the limit."""
        factor = np.zeros((NUMBER, NUMBER))
        factor[np.tril_indices(NUMBER)] = self.shape
        return np.asarray(np.linalg.norm((values - self.mean) / self.scale @ factor, axis=-1) / self.limit)


@dataclass(frozen=True)
class Verdict:
    """Whether an image is like the training images, and what speaks against it, a clause each."""

    word: Word
    reasons: tuple[str, ...] = ()
    distance: float | None = None


def fit_domain(values: Float64[np.ndarray, "n D"], cases: Sequence[str], data: str, split_sha256: str) -> Domain:
    """The domain of images with these `features`, one row each, of the training and validation splits.

    The limit is found on images held out in ten folds by case, each case counting once. Raises InputError for fewer
    than FEWEST_CASES cases.
    """
    names, case_of, images = np.unique(np.asarray(cases, str), return_inverse=True, return_counts=True)
    if len(names) < FEWEST_CASES:
        raise InputError(f"The domain check needs images of {FEWEST_CASES} cases or more, got {len(names)}.")
    fold_of = np.random.default_rng(0).permutation(len(names))[case_of] % _FOLDS
    distances = np.empty(len(values))
    for fold in range(_FOLDS):
        mean, scale, factor = _gaussian(values[fold_of != fold])
        distances[fold_of == fold] = np.linalg.norm((values[fold_of == fold] - mean) / scale @ factor, axis=1)
    order = distances.argsort()
    reached = np.cumsum(1 / images[case_of][order])
    limit = distances[order][np.searchsorted(reached, (1 - FALSE_DOUBTS) * len(names) - 1e-9)]
    mean, scale, factor = _gaussian(values)
    shape = factor[np.tril_indices(NUMBER)]
    limit = round(float(limit), 4)
    return Domain(data, len(values), len(names), split_sha256, _five(mean), _five(scale), _five(shape), limit)


def _five(numbers: np.ndarray) -> tuple[float, ...]:
    """In five digits."""
    return tuple(float(f"{number:.5g}") for number in numbers)


def _gaussian(
    values: Float64[np.ndarray, "n D"],
) -> tuple[Float64[np.ndarray, "D"], Float64[np.ndarray, "D"], Float64[np.ndarray, "D D"]]:
    """Mean, scale and the Cholesky factor of the scaled features' inverse covariance."""
    mean, scale = values.mean(axis=0), values.std(axis=0) + _LEAST_SCALE
    scaled = (values - mean) / scale
    covariance = scaled.T @ scaled / len(scaled)
    even = np.trace(covariance) / NUMBER * np.eye(NUMBER)
    return mean, scale, np.linalg.cholesky(np.linalg.inv((1 - _SHRINKAGE) * covariance + _SHRINKAGE * even))


def load_domain(folder: Path) -> Domain | None:
    """The domain.json of an ensemble folder, None where there is none. Raises ConfigError where it is damaged."""
    return schema.load(Domain, folder / DOMAIN) if (folder / DOMAIN).is_file() else None


def judge(image: Image, training: TrainingData, domain: Domain | None) -> Verdict:
    """Whether `image` is like the images of `training`, by its modality and by `domain` or, without one, by the ranges
    of member.json. Another modality, or anything outside a range, is doubtful at least."""
    clauses = []
    if image.modality and training.modalities and image.modality not in training.modalities:
        clauses.append(f"its DICOM modality is {image.modality}, not {' or '.join(training.modalities)}")
    if domain is None:
        clauses += _unlike(look(image), training.appearance) if training.appearance else []
        return Verdict(WORDS[min(len(clauses), 1)], tuple(clauses))
    distance = float(domain.distance(features(image)))
    if distance > 1:
        clauses.append(f"in brightness, colours and layout it is {distance:.1f} times as far from them as 95 % are")
    word = WORDS[2 if distance > FAR else min(len(clauses), 1)]
    return Verdict(word, tuple(clauses), distance)


def sentences(verdict: Verdict, training: TrainingData) -> list[str]:
    """The verdict as what a user reads; [] where nothing speaks against the image."""
    if not verdict.reasons:
        return []
    images = of_today(training.pictures or training.name)
    how = "very unlike" if verdict.word == "none of these" else "unlike"
    return [f"This image is {how} what the ensemble was trained on ({images}): {', and '.join(verdict.reasons)}."]


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
