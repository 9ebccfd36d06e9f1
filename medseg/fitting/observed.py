"""What fitting keeps of the images, and what choices mark on them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Bool, Int64

from medseg.arrays import Weight
from medseg.config import Task
from medseg.fitting.floor import blind_score, constant_counts
from medseg.fitting.measure import Measure
from medseg.fitting.search import Objective
from medseg.fitting.tally import Tally, add
from medseg.inference.blend import normalise_weights


@dataclass(frozen=True)
class Observed:
    """All that is kept of the images: the tallies of each, its masks on a small square, its case; and their split."""

    tallies: tuple[tuple[Tally, ...], ...]
    small: Bool[np.ndarray, "n K side side"]
    cases: tuple[str, ...]
    split: str
    task: Task

    @property
    def members(self) -> int:
        """How many members answered."""
        return len(self.tallies[0][0].answers)

    def label(self, index: int) -> Observed:
        """One label of several that may overlap, by itself."""
        tallies = tuple((image[index],) for image in self.tallies)
        return replace(self, tallies=tallies, small=self.small[:, index : index + 1])

    def counts(self, images: Sequence[int], chosen: tuple[Sequence[Weight], int]) -> Int64[np.ndarray, "n K 3"]:
        """What the chosen weights, for each label by itself where they are given so, and threshold mark on these."""
        weights, threshold = chosen
        groups = len(self.tallies[0])
        normalised = np.array(normalise_weights(weights, self.members, groups)).reshape(self.members, -1)
        each = np.broadcast_to(normalised, (self.members, groups)).T
        parts = (
            [t.counts(own[None], self.task)[0, :, threshold] for t, own in zip(self.tallies[i], each, strict=True)]
            for i in images
        )
        return np.array([np.concatenate(part) for part in parts])

    def floor(self, images: Sequence[int], measure: Measure) -> float:
        """What the best blind answer scores on these images."""
        chosen = [self.tallies[i] for i in images]
        constant = [np.concatenate([constant_counts(t.total, t.true) for t in image]) for image in chosen]
        return blind_score(self.small[images], np.array(constant), measure)

    def objective(self, fold_of: Sequence[int], measure: Measure) -> Objective:
        """What weights score on these images, or for a pooled measure on folds, each of one tally of all its images."""
        if measure.average == "per image":
            return Objective(self.tallies, fold_of, self.task, measure)
        folds = range(max(fold_of) + 1)
        images = [[tallies for tallies, of in zip(self.tallies, fold_of, strict=True) if of == fold] for fold in folds]
        units = [[add(parts) for parts in zip(*fold, strict=True)] for fold in images]
        return Objective(units, folds, self.task, measure)
