"""Weights and threshold from validation samples, and what they are worth.

Three contenders are compared: the member that is best alone, equal weights, and the weights of a search; and where
several labels are decided alone a fourth, weights searched for each label. One rule gives all of them their thresholds,
of labels decided alone one each: 0.5, unless another is better by more than chance. Chosen and scored on the same
images all of them flatter, searched weights most; so nested cross-validation by case chooses each on some cases and
scores it on others, and one rule recommends by that (`medseg.scores.Nested`). A member that alone is no better than the
baseline, a mask that never looks at the image, is broken: it gets weight 0 in the search.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

import numpy as np
from jaxtyping import Int64

from medseg.arrays import Threshold, Weight
from medseg.data.samples import Sample, split_hash
from medseg.data.splits import deal_cases
from medseg.errors import InputError
from medseg.fitting.compare import Comparison, score
from medseg.fitting.labels import NOT_APART, PerLabel
from medseg.fitting.measure import Measure
from medseg.fitting.observations import Observation, Observations
from medseg.fitting.search import Chosen, describe
from medseg.fitting.thresholds import threshold_of
from medseg.report.words import threshold_words
from medseg.scores import Average, Contender, FitMethod, FitMetric, Fitted, Nested, Score

FOLDS = 5
FEWEST_CASES = 3
"""Fewer cannot be dealt into folds, so there is no nested estimate."""


@dataclass(frozen=True)
class Choice:
    """Weights (they sum to 1, for each label where they are given so) with their threshold, and what they mark on each
    image there."""

    weights: tuple[Weight, ...]
    threshold: Threshold
    measure: Measure
    counts: Int64[np.ndarray, "n K 3"] = field(repr=False, compare=False)

    @property
    def mean(self) -> float:
        """What was maximised, on these images."""
        return float(self.measure.mean(self.counts))

    @property
    def written(self) -> tuple[float | tuple[float, ...], ...]:
        """The weights as ensemble.json has them, in four decimals."""
        return tuple(
            round(w, 4) if isinstance(w, float) else tuple(round(share, 4) for share in w) for w in self.weights
        )


@dataclass(frozen=True)
class Fit:
    """The contenders on the validation samples.

    `baseline` is the score of the best mask that never looks at the image; `broken` are the indices of the members
    that do not exceed it alone and got weight 0 for that; empty where none exceeds it, and then all are searched;
    `behind` those that got it because the best member is far ahead.
    `nested` is None for fewer than three cases. `positives` is the number of cases that show each label. `per_label` is
    None unless several labels are decided alone.
    """

    singles: tuple[Choice, ...]
    equal: Choice
    fitted: Choice
    baseline: float
    broken: tuple[int, ...]
    method: FitMethod
    nested: Nested | None
    positives: tuple[int, ...]
    per_label: Choice | None = None
    cases: int = 0
    behind: tuple[int, ...] = ()

    @property
    def best_single(self) -> int:
        """Index of the member that is best alone."""
        return int(np.argmax([choice.mean for choice in self.singles]))

    @property
    def recommended(self) -> Contender:
        """The contender that the nested estimate recommends; without one nothing speaks for searched weights."""
        if self.nested is None:
            return "best single" if self.singles[self.best_single].mean > self.equal.mean else "equal"
        return self.nested.recommended

    def choice(self, contender: Contender) -> Choice:
        """The contender's weights and threshold, chosen on all samples. Raises InputError for "per label" where there
        was no such contender."""
        if contender != "per label":
            alike = {"fitted": self.fitted, "equal": self.equal, "best single": self.singles[self.best_single]}
            return alike[contender]
        if self.per_label is None:
            raise InputError(NOT_APART)
        return self.per_label

    def record(
        self, names: Sequence[str], samples: Sequence[Sample], data: str, chosen: Contender | None = None
    ) -> Fitted:
        """This fit as ensemble.json keeps it; `chosen` is the recommended contender unless it is told."""
        cases = [sample.case for sample in samples]
        return self.record_of(names, cases, samples[0].split, data=data, sha256=split_hash(samples), chosen=chosen)

    def record_of(
        self,
        names: Sequence[str],
        cases: Sequence[str],
        split: str,
        *,
        data: str,
        sha256: str,
        chosen: Contender | None = None,
    ) -> Fitted:
        """`record` where there are no samples: the case of each image, and a hash of the data."""

        def scored(choice: Choice) -> Score:
            estimate = choice.measure.estimate(choice.counts, cases)
            return score(choice.measure, estimate, split, f"threshold {threshold_words(choice.threshold)} chosen here")

        return Fitted(
            data,
            sha256,
            self._method(),
            names[self.best_single],
            scored(self.choice("best single")),
            scored(self.equal),
            scored(self.fitted),
            self.fitted.measure.metric,
            self.fitted.measure.average,
            self.nested,
            self.recommended,
            chosen or self.recommended,
            scored(self.per_label) if self.per_label else None,
        )

    def _method(self) -> str:
        searched = len(self.singles) - len(self.broken + self.behind)
        words = (
            f"{describe(self.method, searched, self.cases)}, with thresholds 0.05 to 0.95, of which 0.5 is taken "
            "unless another is better by more than chance, for all contenders alike; "
            f"weight 0 for members not above the best mask that never looks at the image ({self.baseline:.3f}), or far "
            "behind the best member"
        )
        return f"{words}, for each label by itself; weights per label by a grid for each" if self.per_label else words


def fit(
    observations: Observations | Iterable[Observation],
    *,
    metric: FitMetric = "dice",
    average: Average = "per image",
    method: FitMethod = "grid",
    folds: int = FOLDS,
) -> Fit:
    """Choose weights (>= 0, summing to 1) and threshold for the members that made the `observations`
    (`medseg.fitting.observations.observe`), and estimate what they are worth.

    Among equal scores the weights nearest to equal win, so noise never drops a member; only a broken one, no better
    alone than the baseline, or one far behind the best (FAR_BEHIND of `medseg.fitting.compare`), is left out
    beforehand. Weights per label come from the grid, whatever the method. Raises InputError for fewer than three folds.
    """
    if not isinstance(observations, Observations):
        observations = Observations.of(observations)
    measure, fold_of = Measure(metric, average), _deal(observations.cases, folds)
    comparison = Comparison(observations, fold_of, measure, method)
    chosen = comparison.choose()

    def choice(contender: Chosen | PerLabel) -> Choice:
        weights, at = contender
        return Choice(weights, threshold_of(at), measure, comparison.counts(contender))

    return Fit(
        tuple(choice(single) for single in chosen.singles),
        choice(chosen.equal),
        choice(chosen.fitted),
        chosen.baseline,
        chosen.broken,
        method,
        comparison.nested() if max(fold_of) else None,
        observations.positives,
        choice(chosen.per_label) if chosen.per_label else None,
        len(set(observations.cases)),
        chosen.behind,
    )


def _deal(cases: Sequence[str], folds: int) -> list[int]:
    """The fold of each image, as many as there are cases if these are fewer; all 0 where they are too few."""
    number = len(set(cases))
    if number < FEWEST_CASES:
        return [0] * len(cases)
    dealt = deal_cases(cases, min(folds, number))
    fold_of = {case: fold for fold, names in enumerate(dealt) for case in names}
    return [fold_of[case] for case in cases]
