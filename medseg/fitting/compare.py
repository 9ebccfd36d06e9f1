"""Best single member, equal weights, searched weights and those per label: chosen on all cases, or on some and scored
on the others."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Float64, Int64

from medseg.arrays import Weight
from medseg.fitting.labels import PerLabel, are_apart, choose_per_label, mixed
from medseg.fitting.measure import Measure
from medseg.fitting.observations import Observations
from medseg.fitting.search import (
    DRAWN,
    FEW_CASES,
    Chosen,
    Scores,
    Vector,
    at_half,
    choose,
    equal,
    grid,
    middlemost,
    scores_alone,
    search,
    sound_members,
    subsets,
)  # fmt: skip
from medseg.fitting.thresholds import HALF, at
from medseg.intervals import ALPHA, REUSED, Estimate, weights_by_case
from medseg.scores import Contender, FitMethod, Nested, Score

FEWEST_POSITIVES = 5
"""Cases that show a label; with fewer, its part in every choice is chance, and its threshold stays 0.5."""

FAR_BEHIND, BEYOND_CHANCE = 0.8, 2.0
"""A member far behind the best one gets weight 0: below this share of its score, by so many standard errors."""

RESAMPLES = 200
"""Of the cases (of the folds where pixels are pooled), over which the weights of the grid are averaged."""


@dataclass(frozen=True)
class Contenders:
    """The choices made on some of the images, the baseline there, the members that do not exceed it alone, and those
    that are far behind the best."""

    singles: list[Chosen]
    best_single: Chosen
    equal: Chosen
    fitted: Chosen
    per_label: PerLabel | None
    baseline: float
    broken: tuple[int, ...]
    behind: tuple[int, ...]


class Comparison:
    """Chooses the contenders; what weights score on an image is computed once for all folds.

    One rule for the thresholds of all: 0.5, unless the fitted weights are ahead with another by more than chance (an
    interval by case clear of 0) and no label loses; then each contender takes the threshold that is best for it. Where
    labels are decided alone the same is asked of each label by itself, its interval widened for their number
    (Bonferroni). The best of many thresholds flatters, as the best of many weights does.
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
        self._curves: dict[Sequence[Weight], Int64[np.ndarray, "n K T 3"]] = {}

    def choose(self, left_out: int | None = None) -> Contenders:
        """The contenders on all images, or on all but those of the fold `left_out`."""
        every = self._objective.without(left_out)
        members = self._observations.members
        images = [i for i, fold in enumerate(self._fold_of) if fold != left_out]
        baseline = self._observations.baseline(images, self._measure)
        alone = [choose(every, [equal([i], members)]) for i in range(members)]
        values = scores_alone(every, members)
        exceeding = sound_members(values, baseline)
        sound = self._not_far_behind(alone, values, exceeding, images)
        free, half = (self._search(scores, sound, left_out, images) for scores in (every, at_half(every)))
        leaves = self._leaves_half(free, half, images)
        scores, fitted = (every, free) if leaves else (at_half(every), half)
        voters = [*([i] for i in range(members)), range(members)]
        plain = [choose(scores, [equal(each, members)]) for each in voters]
        *singles, same, searched = self._with_own_thresholds([*plain, fitted], left_out, images)
        worth = [float(self._measure.mean(self.counts(single)[images]).round(6)) for single in singles]
        return Contenders(
            singles,
            singles[int(np.argmax(worth))],
            same,
            searched,
            self._per_label_choice(left_out, images),
            baseline,
            tuple(i for i in range(members) if i not in exceeding),
            tuple(i for i in exceeding if i not in sound),
        )

    def _search(
        self, scores: Scores, sound: Sequence[int], left_out: int | None, images: Sequence[int]
    ) -> tuple[Vector, int]:
        """By a grid the mean of the best over resamples, drawn towards equal weights as if DRAWN cases had found these
        best; of few cases only equal weights over subsets of the members are tried."""
        members, cases = self._observations.members, len({self._observations.cases[i] for i in images})
        if self._method != "grid":
            return search(self._method, scores, sound, members)
        vectors = subsets(sound, members) if cases < FEW_CASES else grid(sound, members)
        threshold = choose(scores, vectors, sound)[1]
        weights = self._objective.average(left_out, vectors, threshold, self._resamples)
        if weights in vectors:
            return weights, threshold
        drawn = (cases * np.array(weights) + DRAWN * np.array(equal(sound, members))) / (cases + DRAWN)
        return tuple(drawn.tolist()), threshold

    def _not_far_behind(
        self, alone: Sequence[Chosen], values: Float64[np.ndarray, "M"], sound: Sequence[int], images: Sequence[int]
    ) -> list[int]:
        """The `sound` members without those that score alone less than FAR_BEHIND of the best, beyond chance."""
        best = max(sound, key=lambda i: values[i])
        cases = [self._observations.cases[i] for i in images]
        counts = {i: self.counts(alone[i])[images] for i in sound}

        def is_far(member: int) -> bool:
            if values[member] >= FAR_BEHIND * values[best]:
                return False
            behind = self._measure.difference(counts[best], counts[member], cases)
            return behind.mean > BEYOND_CHANCE * behind.error

        return [i for i in sound if not is_far(i)]

    def counts(self, chosen: Chosen | PerLabel) -> Int64[np.ndarray, "n K 3"]:
        """What the chosen weights and threshold mark on each image."""
        weights, threshold = chosen
        return at(self._at_all(weights), threshold)

    def _at_all(self, weights: Sequence[Weight]) -> Int64[np.ndarray, "n K T 3"]:
        if weights not in self._curves:
            self._curves[weights] = self._observations.curves(range(len(self._fold_of)), weights)
        return self._curves[weights]

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

    def _with_own_thresholds(
        self, contenders: Sequence[tuple[Vector, int]], left_out: int | None, images: Sequence[int]
    ) -> list[Chosen]:
        """The contenders of labels that are decided alone, each with its own threshold for the labels at which the last
        of them, the fitted weights, is better with its own than with 0.5 by more than chance."""
        if left_out not in self._per_label:
            return [*contenders]
        own = [(weights, tuple(map(middlemost, self._by_threshold(weights, images)))) for weights, _ in contenders]
        leaving = self._labels_ahead(own[-1], (own[-1][0], HALF), images)
        return [
            (weights, tuple(best if k in leaving else HALF for k, best in enumerate(each))) for weights, each in own
        ]

    def _by_threshold(self, weights: Vector, images: Sequence[int]) -> list[Float64[np.ndarray, "T"]]:
        """What the weights score on each label by itself at each of THRESHOLDS."""
        curves = self._at_all(weights)[images]
        return [self._measure.mean(curves[:, [k]]).round(6) for k in range(curves.shape[1])]

    def _labels_ahead(
        self, ours: Chosen | PerLabel, theirs: Chosen | PerLabel, images: Sequence[int]
    ) -> Collection[int]:
        """The labels that FEWEST_POSITIVES cases show and at which `ours` is ahead by more than chance."""
        cases = [self._observations.cases[i] for i in images]
        here, there = self.counts(ours)[images], self.counts(theirs)[images]
        labels = here.shape[1]

        def is_ahead(k: int) -> bool:
            if len({cases[i] for i in np.flatnonzero(here[:, k, 2])}) < FEWEST_POSITIVES:
                return False
            return self._measure.difference(here[:, [k]], there[:, [k]], cases, ALPHA / labels).low > 0

        return {k for k in range(labels) if is_ahead(k)}

    def _per_label_choice(self, left_out: int | None, images: Sequence[int]) -> PerLabel | None:
        if left_out not in self._per_label:
            return None
        free, half = self._per_label[left_out]
        return mixed(free, half, self._labels_ahead(free, half, images))

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
