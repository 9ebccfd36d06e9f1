"""What fitting keeps of the images, and what choices mark on them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Bool, Int64

from medseg.arrays import Weight
from medseg.config import Task
from medseg.fitting.baseline import baseline_score, constant_counts
from medseg.fitting.histogram import Histogram, add
from medseg.fitting.measure import Measure
from medseg.fitting.search import Objective
from medseg.inference.blend import normalise_weights


@dataclass(frozen=True)
class Observations:
    """All that fitting keeps of images: of each its histograms, its masks on a small square, its case; the split."""

    histograms: tuple[tuple[Histogram, ...], ...]
    small: Bool[np.ndarray, "n K side side"]
    cases: tuple[str, ...]
    split: str
    task: Task

    @property
    def members(self) -> int:
        """How many members answered."""
        return len(self.histograms[0][0].probabilities)

    def label(self, index: int) -> Observations:
        """One label of several that may overlap, by itself."""
        histograms = tuple((image[index],) for image in self.histograms)
        return replace(self, histograms=histograms, small=self.small[:, index : index + 1])

    def counts(self, images: Sequence[int], chosen: tuple[Sequence[Weight], int]) -> Int64[np.ndarray, "n K 3"]:
        """What the chosen weights, for each label by itself where they are given so, and threshold mark on these."""
        weights, threshold = chosen
        groups = len(self.histograms[0])
        normalised = np.array(normalise_weights(weights, self.members, groups)).reshape(self.members, -1)
        each = np.broadcast_to(normalised, (self.members, groups)).T
        parts = (
            [t.counts(own[None], self.task)[0, :, threshold] for t, own in zip(self.histograms[i], each, strict=True)]
            for i in images
        )
        return np.array([np.concatenate(part) for part in parts])

    def baseline(self, images: Sequence[int], measure: Measure) -> float:
        """What the best blind answer scores on these images."""
        chosen = [self.histograms[i] for i in images]
        constant = [np.concatenate([constant_counts(t.total, t.true) for t in image]) for image in chosen]
        return baseline_score(self.small[images], np.array(constant), measure)

    def objective(self, fold_of: Sequence[int], measure: Measure) -> Objective:
        """The scores of weights on these images; for a pooled measure on folds, of one histogram each."""
        if measure.average == "per image":
            return Objective(self.histograms, fold_of, self.task, measure)
        folds = range(max(fold_of) + 1)
        images = [
            [histograms for histograms, of in zip(self.histograms, fold_of, strict=True) if of == fold]
            for fold in folds
        ]
        units = [[add(parts) for parts in zip(*fold, strict=True)] for fold in images]
        return Objective(units, folds, self.task, measure)
