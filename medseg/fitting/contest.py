"""Best single member, equal weights, searched weights and those per label: chosen on all cases, or on some and scored
on the others."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Int64

from medseg.arrays import Weight
from medseg.config import FitMethod, Nested, Score
from medseg.fitting.labels import PerLabel, are_apart, choose_per_label
from medseg.fitting.measure import Measure
from medseg.fitting.observed import Observed
from medseg.fitting.search import Chosen, choose, equal, scores_alone, search, sound_members
from medseg.metrics import Estimate


@dataclass(frozen=True)
class Contenders:
    """What was chosen on some of the images, the floor there, and the members that do not exceed it alone."""

    singles: list[Chosen]
    best_single: Chosen
    equal: Chosen
    fitted: Chosen
    per_label: PerLabel | None
    floor: float
    broken: tuple[int, ...]


class Contest:
    """Chooses the contenders; what weights score on an image is computed once for all folds."""

    def __init__(self, observed: Observed, fold_of: Sequence[int], measure: Measure, method: FitMethod) -> None:
        self._observed = observed
        self._fold_of = fold_of
        self._measure = measure
        self._method = method
        self._objective = observed.objective(fold_of, measure)
        apart = are_apart(observed.task, len(observed.tallies[0]))
        self._per_label = choose_per_label(observed, fold_of, measure) if apart else {}

    def choose(self, left_out: int | None = None) -> Contenders:
        """The contenders on all images, or on all but those of the fold `left_out`."""
        scores = self._objective.without(left_out)
        members = self._observed.members
        singles = [choose(scores, [equal([i], members)]) for i in range(members)]
        alone = scores_alone(scores, members)
        images = [i for i, fold in enumerate(self._fold_of) if fold != left_out]
        floor = self._observed.floor(images, self._measure)
        sound = sound_members(alone, floor)
        return Contenders(
            singles,
            singles[int(alone.argmax())],
            choose(scores, [equal(range(members), members)]),
            search(self._method, scores, sound, members),
            self._per_label.get(left_out),
            floor,
            tuple(i for i in range(members) if i not in sound),
        )

    def nested(self) -> Nested:
        """Each contender chosen without a fold and scored on it, over all folds."""
        found = [self.choose(fold) for fold in range(max(self._fold_of) + 1)]
        how = f"nested cross-validation by case, {len(found)} folds"
        single = self._held_out([each.best_single for each in found])
        same = self._held_out([each.equal for each in found])
        fitted = self._held_out([each.fitted for each in found])
        nested = Nested(
            self._mean(single, how),
            self._mean(same, how),
            self._mean(fitted, how),
            self._ahead(fitted, single, how),
            self._ahead(fitted, same, how),
            single_over_equal=self._ahead(single, same, how),
        )
        if not self._per_label:
            return nested
        apart = self._held_out([self._per_label[fold] for fold in range(len(found))])
        shared = {"best single": single, "equal": same, "fitted": fitted}[nested.shared]
        return replace(nested, per_label=self._mean(apart, how), over_shared=self._ahead(apart, shared, how))

    def _held_out(self, chosen: Sequence[tuple[Sequence[Weight], int]]) -> Int64[np.ndarray, "n K 3"]:
        """What is marked on each image by what was chosen without its fold."""
        return np.concatenate([self._observed.counts([i], chosen[fold]) for i, fold in enumerate(self._fold_of)])

    def _mean(self, counts: Int64[np.ndarray, "n K 3"], how: str) -> Score:
        estimate = self._measure.estimate(counts, self._observed.cases)
        return score(self._measure, estimate, self._observed.split, how)

    def _ahead(self, counts: Int64[np.ndarray, "n K 3"], others: Int64[np.ndarray, "n K 3"], how: str) -> Score:
        estimate = self._measure.difference(counts, others, self._observed.cases)
        return score(self._measure, estimate, self._observed.split, f"paired difference, {how}")


def score(measure: Measure, estimate: Estimate, split: str, words: str) -> Score:
    """An estimate as the JSON files keep it, its protocol ending in `words`."""
    protocol = f"{measure}, every n-th pixel of the working grid, {words}"
    return Score(measure.metric, estimate.mean, estimate.low, estimate.high, estimate.n, split, protocol)
