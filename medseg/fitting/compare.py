"""Best single member, equal weights, searched weights and those per label: chosen on all cases, or on some and scored
on the others."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Int64

from medseg.fitting.labels import PerLabel, are_apart, choose_per_label
from medseg.fitting.measure import Measure
from medseg.fitting.observations import Observations
from medseg.fitting.search import Chosen, Scores, at_half, choose, equal, grid, scores_alone, search, sound_members
from medseg.intervals import REUSED, Estimate, weights_by_case
from medseg.scores import Contender, FitMethod, Nested, Score

RESAMPLES = 200
"""Of the cases (of the folds where pixels are pooled), over which the weights of the grid are averaged."""


@dataclass(frozen=True)
class Contenders:
    """The choices made on some of the images, the baseline there, and the members that do not exceed it alone."""

    singles: list[Chosen]
    best_single: Chosen
    equal: Chosen
    fitted: Chosen
    per_label: PerLabel | None
    baseline: float
    broken: tuple[int, ...]


class Comparison:
    """Chooses the contenders; what weights score on an image is computed once for all folds.

    One rule for the thresholds of all: 0.5, unless the fitted weights are ahead with another by more than chance (an
    interval by case clear of 0) and no label loses; then each contender takes the threshold that is best for it. The
    best of many thresholds flatters, as the best of many weights does.
    """

    def __init__(self, observations: Observations, fold_of: Sequence[int], measure: Measure, method: FitMethod) -> None:
        self._observations = observations
        self._fold_of = fold_of
        self._measure = measure
        self._method = method
        self._objective = observations.objective(fold_of, measure)
        apart = are_apart(observations.task, len(observations.histograms[0]))
        self._per_label = choose_per_label(observations, fold_of, measure) if apart else {}
        cases = (
            observations.cases if measure.average == "per image" else [str(fold) for fold in range(max(fold_of) + 1)]
        )
        self._resamples = weights_by_case(cases)[:RESAMPLES]
        self._counted: dict[Chosen | PerLabel, Int64[np.ndarray, "n K 3"]] = {}

    def choose(self, left_out: int | None = None) -> Contenders:
        """The contenders on all images, or on all but those of the fold `left_out`."""
        every = self._objective.without(left_out)
        members = self._observations.members
        images = [i for i, fold in enumerate(self._fold_of) if fold != left_out]
        baseline = self._observations.baseline(images, self._measure)
        sound = sound_members(scores_alone(every, members), baseline)
        free, half = (self._search(scores, sound, left_out) for scores in (every, at_half(every)))
        leaves = self._leaves_half(free, half, images)
        scores = every if leaves else at_half(every)
        singles = [choose(scores, [equal([i], members)]) for i in range(members)]
        alone = [float(scores([weights])[0, threshold].round(6)) for weights, threshold in singles]
        per_label = self._per_label.get(left_out)
        return Contenders(
            singles,
            singles[int(np.argmax(alone))],
            choose(scores, [equal(range(members), members)]),
            free if leaves else half,
            self._per_label_choice(per_label, images) if per_label else None,
            baseline,
            tuple(i for i in range(members) if i not in sound),
        )

    def _search(self, scores: Scores, sound: Sequence[int], left_out: int | None) -> Chosen:
        weights, threshold = search(self._method, scores, sound, self._observations.members)
        if self._method != "grid":
            return weights, threshold
        vectors = grid(sound, self._observations.members)
        return self._objective.average(left_out, vectors, threshold, self._resamples), threshold

    def counts(self, chosen: Chosen | PerLabel) -> Int64[np.ndarray, "n K 3"]:
        """What the chosen weights and threshold mark on each image."""
        if chosen not in self._counted:
            self._counted[chosen] = self._observations.counts(range(len(self._fold_of)), chosen)
        return self._counted[chosen]

    def nested(self) -> Nested:
        """Each contender chosen without a fold and scored on it, over all folds."""
        rounds = [self.choose(fold) for fold in range(max(self._fold_of) + 1)]
        how = f"nested cross-validation by case, {len(rounds)} folds, interval widened for the re-use of cases"
        marked: dict[Contender, Int64[np.ndarray, "n K 3"]] = {
            "best single": self._held_out([each.best_single for each in rounds]),
            "equal": self._held_out([each.equal for each in rounds]),
            "fitted": self._held_out([each.fitted for each in rounds]),
        }
        per_label = [each.per_label for each in rounds if each.per_label]
        if per_label:
            marked["per label"] = self._held_out(per_label)
        single, same, fitted = (marked[name] for name in ("best single", "equal", "fitted"))
        nested = Nested(
            self._mean(single, how),
            self._mean(same, how),
            self._mean(fitted, how),
            self._ahead(fitted, single, how),
            self._ahead(fitted, same, how),
            single_over_equal=self._ahead(single, same, how),
            drops=self._dropping(marked),
        )
        if not per_label:
            return nested
        apart, shared = marked["per label"], marked[nested.shared]
        return replace(nested, per_label=self._mean(apart, how), over_shared=self._ahead(apart, shared, how))

    def _leaves_half(self, free: Chosen | PerLabel, half: Chosen | PerLabel, images: Sequence[int]) -> bool:
        """Whether `free`, with any threshold, is better on these images than `half` by more than chance, and on no
        label worse."""
        if free == half:
            return False
        cases = [self._observations.cases[i] for i in images]
        ours, theirs = self.counts(free)[images], self.counts(half)[images]
        worse = self._measure.by_label(ours) < self._measure.by_label(theirs)
        return bool(self._measure.difference(ours, theirs, cases).low > 0 and not worse.any())

    def _per_label_choice(self, choices: tuple[PerLabel, PerLabel], images: Sequence[int]) -> PerLabel:
        free, half = choices
        return free if self._leaves_half(free, half, images) else half

    def _dropping(self, marked: Mapping[Contender, Int64[np.ndarray, "n K 3"]]) -> tuple[Contender, ...]:
        labels = {contender: self._measure.by_label(counts) for contender, counts in marked.items()}
        best = np.max(list(labels.values()), axis=0)  # nan, which is below nothing, for a label that no image shows
        return tuple(contender for contender, values in labels.items() if (values < best / 2).any())

    def _held_out(self, chosen: Sequence[Chosen | PerLabel]) -> Int64[np.ndarray, "n K 3"]:
        """What is marked on each image by what was chosen without its fold."""
        return np.array([self.counts(chosen[fold])[i] for i, fold in enumerate(self._fold_of)])

    def _mean(self, counts: Int64[np.ndarray, "n K 3"], how: str) -> Score:
        estimate = self._measure.estimate(counts, self._observations.cases, REUSED)
        return score(self._measure, estimate, self._observations.split, how)

    def _ahead(self, counts: Int64[np.ndarray, "n K 3"], others: Int64[np.ndarray, "n K 3"], how: str) -> Score:
        estimate = self._measure.difference(counts, others, self._observations.cases, REUSED)
        return score(self._measure, estimate, self._observations.split, f"paired difference, {how}")


def score(measure: Measure, estimate: Estimate, split: str, words: str) -> Score:
    """An estimate as the JSON files keep it, its protocol ending in `words`."""
    protocol = f"{measure}, every n-th pixel of the working grid, {words}"
    return Score(
        measure.metric, estimate.mean, estimate.low, estimate.high, estimate.n, split, protocol, estimate.error
    )
