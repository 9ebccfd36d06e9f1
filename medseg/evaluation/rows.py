"""The scores of rows (models, blends, baselines) on the same images, and the baselines that never look at an image."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float32

from medseg.arrays import Masks, Probabilities
from medseg.data.manifest import Sample
from medseg.errors import InputError
from medseg.evaluation.detection import Lesions, match
from medseg.evaluation.detection import summarise as summarise_lesions
from medseg.fitting.baseline import mean_mask
from medseg.fitting.thresholds import THRESHOLDS
from medseg.image import Image
from medseg.intervals import Estimate, difference_interval
from medseg.metrics import Confusion, confusion, score, summarise, surface_dice
from medseg.preprocess import to_image_grid

EMPTY, PRIOR = "empty mask", "location prior"

TOLERANCE_MM = 2.0
"""Of the surface Dice: between readers of one organ Nikolov et al. measured about 1 to 3 mm. Pixels have no such
figure, so without spacing there is no surface Dice."""


@dataclass(frozen=True)
class LocationPrior:
    """The baseline: where the training masks lie on average, the same masks for every image."""

    mean: Float32[np.ndarray, "K side side"]
    threshold: float

    def probabilities(self, size: tuple[int, int]) -> Probabilities:
        """The mean on a grid of `size` (H, W)."""
        return to_image_grid(self.mean, size)

    def masks(self, size: tuple[int, int]) -> Masks:
        """The constant masks on a grid of `size` (H, W)."""
        return self.probabilities(size) >= self.threshold


def location_prior(samples: Sequence[Sample], labels: Sequence[str]) -> LocationPrior:
    """The `prior_of` the samples' masks."""
    return prior_of([sample.read(labels)[1] for sample in samples])


def prior_of(truths: Sequence[Masks]) -> LocationPrior:
    """The mean of the training masks `truths` on a square grid; the threshold is the one with the best mean Dice on
    them."""
    mean, dice = mean_mask(truths)
    return LocationPrior(mean, float(THRESHOLDS[int(dice.argmax())]))


class Evaluation:
    """Collects, for each row of the report, one score per image and label."""

    def __init__(self, labels: Sequence[str]) -> None:
        self.labels = tuple(labels)
        self.cases: list[str] = []
        self.scores: dict[str, dict[str, list[dict[str, float]]]] = {}
        self.confusions: dict[str, dict[str, list[Confusion]]] = {}
        self.lesions: dict[str, dict[str, list[Lesions]]] = {}

    def add(self, row: str, masks: Masks, truth: Masks, image: Image) -> None:
        """Score `masks` of one image under the name `row`."""
        for label, mask, true in zip(self.labels, masks, truth, strict=True):
            scores = score(mask, true, image.spacing_mm)
            if image.spacing_mm is not None:
                scores[f"surface_dice_{TOLERANCE_MM:g}mm"] = surface_dice(mask, true, TOLERANCE_MM, image.spacing_mm)
            self.scores.setdefault(row, {}).setdefault(label, []).append(scores)
            self.confusions.setdefault(row, {}).setdefault(label, []).append(confusion(mask, true))
            self.lesions.setdefault(row, {}).setdefault(label, []).append(match(mask, true, image))

    def extend(self, other: Evaluation) -> None:
        """Take in what `other` scored, on other images, under the same rows."""
        if self.cases and self.scores.keys() != other.scores.keys():
            raise InputError(f"Wanted scores of {', '.join(self.scores)}; got {', '.join(other.scores)}.")
        self.cases += other.cases
        for row, labels in other.scores.items():
            for label, scores in labels.items():
                self.scores.setdefault(row, {}).setdefault(label, []).extend(scores)
                self.confusions.setdefault(row, {}).setdefault(label, []).extend(other.confusions[row][label])
                self.lesions.setdefault(row, {}).setdefault(label, []).extend(other.lesions[row][label])

    def taken(self, sources: Mapping[str, str]) -> Evaluation:
        """The scores under other names of rows: {name: row here}."""
        chosen = Evaluation(self.labels)
        chosen.cases = self.cases
        for name in ("scores", "confusions", "lesions"):
            setattr(chosen, name, {row: getattr(self, name)[source] for row, source in sources.items()})
        return chosen

    def summary(self) -> dict[str, Any]:
        """{row: {label: {protocol: {metric: estimate}}}} as plain values."""
        return {
            row: {
                label: plain(summarise(scores, self.confusions[row][label], self.cases))
                for label, scores in labels.items()
            }
            for row, labels in self.scores.items()
        }

    def per_lesion(self) -> dict[str, Any]:
        """{label: what `detection.summarise` says of it} as plain values."""
        return {
            label: plain(summarise_lesions({row: labels[label] for row, labels in self.lesions.items()}, self.cases))
            for label in self.labels
        }

    def difference(self, row: str, other: str, label: str, metric: str = "dice") -> Estimate:
        """Per-image mean of `row` minus `other`, paired: both saw the same images."""
        ours, theirs = ([scores[metric] for scores in self.scores[name][label]] for name in (row, other))
        return difference_interval(ours, theirs, self.cases)

    def mean(self, row: str, label: str) -> float:
        """Per-image mean Dice of `row`."""
        return float(np.mean([scores["dice"] for scores in self.scores[row][label]]))

    def best(self, rows: Sequence[str], label: str) -> str:
        """The one of `rows` with the highest `mean`, the first of equals."""
        return max(rows, key=lambda row: self.mean(row, label))


def plain(summary: Any) -> Any:
    """Mappings of mappings of estimates, however deep, as plain values; anything else as it is."""
    if isinstance(summary, Estimate):
        return plain_estimate(summary)
    return {name: plain(value) for name, value in summary.items()} if isinstance(summary, Mapping) else summary


def plain_estimate(value: Estimate, **others: float) -> dict[str, float | None]:
    """An estimate as JSON has words for it, and `others` in place of its fields or beside them: what is not finite is
    None."""
    fields = {**dataclasses.asdict(value), **others}
    return {name: v if math.isfinite(v) else None for name, v in fields.items()}
