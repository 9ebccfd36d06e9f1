"""What fitting maximises: Dice or IoU, the mean per image or pooled, and how sure a value or a difference is."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float64, Int64

from medseg.fitting.thresholds import Counts
from medseg.intervals import ALPHA, Estimate, ratio_difference, ratio_interval
from medseg.scores import Average, FitMetric


@dataclass(frozen=True)
class Measure:
    """A metric and its average. Several labels count alike: theirs is the mean over labels."""

    metric: FitMetric = "dice"
    average: Average = "per image"

    def __str__(self) -> str:
        return "per-image mean over labels" if self.average == "per image" else "pooled pixels, mean over labels"

    def ratio(self, counts: Counts) -> Float64[np.ndarray, "*axes"]:
        """The metric of each entry; 1 where both masks are empty."""
        both, predicted, true = np.moveaxis(counts, -1, 0)
        part, whole = (2 * both, predicted + true) if self.metric == "dice" else (both, predicted + true - both)
        return np.where(whole > 0, part / np.maximum(whole, 1), 1.0)

    def mean(self, counts: Int64[np.ndarray, "n K *axes 3"]) -> Float64[np.ndarray, "*axes"]:
        """One value over n images, for every further axis."""
        if self.average == "pooled":
            return np.asarray(self.ratio(counts.sum(axis=0)).mean(axis=0))
        return np.asarray(self.ratio(counts).mean(axis=(0, 1)))

    def by_label(self, counts: Int64[np.ndarray, "n K 3"]) -> Float64[np.ndarray, "K"]:
        """Each label's value over the images that show it; nan for a label that none shows."""
        shows = counts[..., 2] > 0
        if self.average == "pooled":
            values = self.ratio((counts * shows[..., np.newaxis]).sum(axis=0))
        else:
            values = (self.ratio(counts) * shows).sum(axis=0) / np.maximum(shows.sum(axis=0), 1)
        return np.asarray(np.where(shows.any(axis=0), values, np.nan))

    def estimate(self, counts: Int64[np.ndarray, "n K 3"], cases: Sequence[str], alpha: float = ALPHA) -> Estimate:
        """`mean` with its 95 % interval by case."""
        return ratio_interval(self._terms(counts), cases, alpha=alpha)

    def difference(
        self,
        counts: Int64[np.ndarray, "n K 3"],
        others: Int64[np.ndarray, "n K 3"],
        cases: Sequence[str],
        alpha: float = ALPHA,
    ) -> Estimate:
        """`mean` minus that of `others`, which saw the same images: each resample weighs the same cases for both."""
        return ratio_difference(self._terms(counts), self._terms(others), cases, alpha)

    def _terms(self, counts: Int64[np.ndarray, "n K 3"]) -> Float64[np.ndarray, "n L 2"]:
        """Numerator and denominator of each image: for each label where pixels are pooled, else of the labels' mean."""
        if self.average == "per image":
            values = self.ratio(counts).mean(axis=1)
            return np.stack([values, np.ones_like(values)], axis=-1)[:, np.newaxis]
        both, predicted, true = np.moveaxis(counts.astype(np.float64), -1, 0)
        if self.metric == "dice":
            return np.stack([2 * both, predicted + true], axis=-1)
        return np.stack([both, predicted + true - both], axis=-1)
