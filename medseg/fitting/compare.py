"""Best single member, equal weights, searched weights and those per label: chosen on all cases, or on some and scored
on the others."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import TypeVar

import numpy as np
from jaxtyping import Int64

from medseg.fitting.labels import PerLabel, are_apart, choose_per_label
from medseg.fitting.measure import Measure
from medseg.fitting.observations import Observations
from medseg.fitting.search import Chosen, Scores, at_half, choose, equal, scores_alone, search, sound_members
from medseg.metrics import Estimate
from medseg.scores import FitMethod, Nested, Score

AnyChoice = TypeVar("AnyChoice", Chosen, PerLabel)


@dataclass(frozen=True)
class Contenders:
    """What was chosen on some of the images, the baseline there, and the members that do not exceed it alone."""

    singles: list[Chosen]
    best_single: Chosen
    equal: Chosen
    fitted: Chosen
    per_label: PerLabel | None
    baseline: float
    broken: tuple[int, ...]


class Comparison:
    """Chooses the contenders; what weights score on an image is computed once for all folds.

    Each contender has a threshold of its own: 0.5, unless another is ahead of it by more than chance, with an interval
    by case that is clear of 0. The best of many thresholds flatters, as the best of many weights does.
    """

    def __init__(self, observations: Observations, fold_of: Sequence[int], measure: Measure, method: FitMethod) -> None:
        self._observations = observations
        self._fold_of = fold_of
        self._measure = measure
        self._method = method
        self._objective = observations.objective(fold_of, measure)
        apart = are_apart(observations.task, len(observations.histograms[0]))
        self._per_label = choose_per_label(observations, fold_of, measure) if apart else {}
        self._counted: dict[Chosen | PerLabel, Int64[np.ndarray, "n K 3"]] = {}

    def choose(self, left_out: int | None = None) -> Contenders:
        """The contenders on all images, or on all but those of the fold `left_out`."""
        scores = self._objective.without(left_out)
        members = self._observations.members
        images = [i for i, fold in enumerate(self._fold_of) if fold != left_out]
        baseline = self._observations.baseline(images, self._measure)
        sound = sound_members(scores_alone(scores, members), baseline)

        def settled(find: Callable[[Scores], Chosen]) -> Chosen:
            return self._settle(find(scores), find(at_half(scores)), images)

        singles = [settled(partial(choose, vectors=[equal([i], members)])) for i in range(members)]
        alone = [float(scores([weights])[0, threshold].round(6)) for weights, threshold in singles]
        per_label = self._per_label.get(left_out)
        return Contenders(
            singles,
            singles[int(np.argmax(alone))],
            settled(partial(choose, vectors=[equal(range(members), members)])),
            settled(partial(search, self._method, sound=sound, members=members)),
            self._settle(*per_label, images) if per_label else None,
            baseline,
            tuple(i for i in range(members) if i not in sound),
        )

    def counts(self, chosen: Chosen | PerLabel) -> Int64[np.ndarray, "n K 3"]:
        """What the chosen weights and threshold mark on each image."""
        if chosen not in self._counted:
            self._counted[chosen] = self._observations.counts(range(len(self._fold_of)), chosen)
        return self._counted[chosen]

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
        per_label = [each.per_label for each in found if each.per_label]
        if not per_label:
            return nested
        apart = self._held_out(per_label)
        shared = {"best single": single, "equal": same, "fitted": fitted}[nested.shared]
        return replace(nested, per_label=self._mean(apart, how), over_shared=self._ahead(apart, shared, how))

    def _settle(self, free: AnyChoice, half: AnyChoice, images: Sequence[int]) -> AnyChoice:
        """`free`, if what it marks on these images is better than what `half` does by more than chance; else `half`."""
        if free == half:
            return half
        cases = [self._observations.cases[i] for i in images]
        ahead = self._measure.difference(self.counts(free)[images], self.counts(half)[images], cases)
        return free if ahead.low > 0 else half

    def _held_out(self, chosen: Sequence[Chosen | PerLabel]) -> Int64[np.ndarray, "n K 3"]:
        """What is marked on each image by what was chosen without its fold."""
        return np.array([self.counts(chosen[fold])[i] for i, fold in enumerate(self._fold_of)])

    def _mean(self, counts: Int64[np.ndarray, "n K 3"], how: str) -> Score:
        estimate = self._measure.estimate(counts, self._observations.cases)
        return score(self._measure, estimate, self._observations.split, how)

    def _ahead(self, counts: Int64[np.ndarray, "n K 3"], others: Int64[np.ndarray, "n K 3"], how: str) -> Score:
        estimate = self._measure.difference(counts, others, self._observations.cases)
        return score(self._measure, estimate, self._observations.split, f"paired difference, {how}")


def score(measure: Measure, estimate: Estimate, split: str, words: str) -> Score:
    """An estimate as the JSON files keep it, its protocol ending in `words`."""
    protocol = f"{measure}, every n-th pixel of the working grid, {words}"
    return Score(measure.metric, estimate.mean, estimate.low, estimate.high, estimate.n, split, protocol)
