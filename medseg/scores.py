"""What was measured, as the JSON files keep it: a figure with its protocol, and how weights were fitted."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Literal

from medseg.schema import require

FitMetric = Literal["dice", "iou"]
Average = Literal["per image", "pooled"]
FitMethod = Literal["grid", "greedy", "local"]
Contender = Literal["fitted", "equal", "best single", "per label"]
"""What fitting compares: the weights it found, the same weight for all, the member that is best alone, and, where
several labels are decided alone, the weights it found for each label."""

SURELY, LIKELY = 2.0, 1.0
"""Standard errors of a difference between contenders that are more than chance, and that speak for one of them."""


@dataclass(frozen=True)
class Score:
    """One figure with its protocol: metric, split, how it was averaged, n, and a 95 % bootstrap interval by case.

    `low` and `high` are None where there is no interval (`medseg.intervals` says when); nan says the same and becomes
    None, because JSON knows no nan. `error` is the standard error of a difference; None for others, and in files of
    before.
    """

    metric: str
    value: float
    low: float | None
    high: float | None
    n: int
    split: str
    protocol: str
    error: float | None = None

    def __post_init__(self) -> None:
        for bound in ("low", "high", "error"):
            value = getattr(self, bound)
            if value is not None and math.isnan(value):
                object.__setattr__(self, bound, None)

    def leads(self, errors: float) -> bool:
        """Of a difference: whether it is above 0 by more than so many standard errors, taken from the interval in files
        of before."""
        error = self.error
        if error is None:
            error = 0.0 if self.low is None or self.high is None else (self.high - self.low) / 3.92
        return self.value > errors * error


@dataclass(frozen=True)
class Nested:
    """The score of each contender on cases that had no part in choosing it, threshold included, by cross-validation by
    case; and the differences, paired by image or by case: of the fitted weights to both others, and of the best single
    member to equal weights (None in files of before).

    Where weights per label were a contender, `per_label` is their score, and `over_shared` by how much they are ahead
    of `shared`. `drops` are the contenders that drop a label: on the images that show it they score less than half of
    what another one does.
    """

    best_single: Score
    equal: Score
    fitted: Score
    over_best_single: Score
    over_equal: Score
    per_label: Score | None = None
    over_shared: Score | None = None
    single_over_equal: Score | None = None
    drops: tuple[Contender, ...] = ()

    @property
    def shared(self) -> Contender:
        """The contender to take, of those whose weights all labels share and which drop no label.

        The fitted weights, unless equal weights are ahead by more than SURELY standard errors or nothing differs at
        all; and in place of either the single member where it is ahead of equal weights by more than LIKELY, and the
        fitted weights are not ahead of it by that much: a member that is chosen loses nothing against itself.
        `benchmarks/coverage.py nested` prints what this costs.
        """
        order: tuple[Contender, ...] = ("fitted", "equal", "best single")
        sound = [contender for contender in order if contender not in self.drops] or list(order)
        taken = sound[0]
        if {"fitted", "equal"} <= {*sound}:
            ahead = self._difference("equal", "fitted")
            taken = "equal" if ahead.leads(SURELY) or ahead.value == 0 == (ahead.error or 0) else "fitted"
        is_same = self.over_best_single.value == 0 == (self.over_best_single.error or 0)
        is_likely = self._difference("best single", "equal").leads(LIKELY) and not self.over_best_single.leads(LIKELY)
        return "best single" if "best single" in sound and is_likely and not is_same else taken

    def _difference(self, contender: Contender, other: Contender) -> Score:
        if other == "fitted":
            over = self.over_equal if contender == "equal" else self.over_best_single
            low, high = (None if bound is None else -bound for bound in (over.high, over.low))
            return replace(over, value=-over.value, low=low, high=high)
        if self.single_over_equal:
            return self.single_over_equal
        return replace(self.best_single, value=self.best_single.value - self.equal.value, low=None, high=None)

    @property
    def recommended(self) -> Contender:
        """ "per label" where it drops no label and is ahead of `shared` by more than SURELY standard errors, or
        `shared` drops one; else `shared`."""
        if self.over_shared is None or "per label" in self.drops:
            return self.shared
        return "per label" if self.over_shared.leads(SURELY) or self.shared in self.drops else self.shared


@dataclass(frozen=True)
class Fitted:
    """How weights and threshold were chosen: the data and its hash, the method, and what each contender scored there.

    Each contender's threshold was chosen there too, so `best_single`, `equal`, `fitted` and, where there were weights
    per label, `per_label` flatter them all alike; `nested` does not. `recommended` is what `nested` favours, `chosen`
    whose weights and threshold the ensemble has. The defaults are what files said before there was a choice.
    """

    data: str
    split_sha256: str
    method: str
    best_single_member: str
    best_single: Score
    equal: Score
    fitted: Score
    metric: FitMetric = "dice"
    average: Average = "per image"
    nested: Nested | None = None
    recommended: Contender | None = None
    chosen: Contender = "fitted"
    per_label: Score | None = None

    def __post_init__(self) -> None:
        require(self.chosen != "per label" or self.per_label is not None, "fitted: weights per label need their score")
