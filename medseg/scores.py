"""What was measured, as the JSON files keep it: a figure with its protocol, and how weights were fitted."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

from medseg.schema import require

FitMetric = Literal["dice", "iou"]
Average = Literal["per image", "pooled"]
FitMethod = Literal["grid", "greedy", "local"]
Contender = Literal["fitted", "equal", "best single", "per label"]
"""What fitting compares: the weights it found, the same weight for all, the member that is best alone, and, where
several labels are decided alone, the weights it found for each label."""


@dataclass(frozen=True)
class Score:
    """One figure with its protocol: metric, split, how it was averaged, n, and a 95 % bootstrap interval by case.

    `low` and `high` are None where there is no interval (fewer than two cases); nan says the same and becomes None,
    because JSON knows no nan.
    """

    metric: str
    value: float
    low: float | None
    high: float | None
    n: int
    split: str
    protocol: str

    def __post_init__(self) -> None:
        for bound in ("low", "high"):
            value = getattr(self, bound)
            if value is not None and math.isnan(value):
                object.__setattr__(self, bound, None)


@dataclass(frozen=True)
class Nested:
    """What each contender scores on cases that had no part in choosing it, threshold included, by cross-validation by
    case; and by how much, paired by image or by case, the fitted weights are ahead of both others, and the best single
    member of equal weights (None in files of before).

    Where weights per label were a contender, `per_label` is what they score, and `over_shared` by how much they are
    ahead of `shared`.
    """

    best_single: Score
    equal: Score
    fitted: Score
    over_best_single: Score
    over_equal: Score
    per_label: Score | None = None
    over_shared: Score | None = None
    single_over_equal: Score | None = None

    @property
    def shared(self) -> Contender:
        """What to take of the contenders whose weights all labels share: "fitted" where it is above both others, else
        "equal" unless the best single member is ahead by more than chance: which member is best is noise too."""
        if self.over_best_single.value > 0 and self.over_equal.value > 0:
            return "fitted"
        low = self.single_over_equal.low if self.single_over_equal else None
        ahead = self.best_single.value > self.equal.value if low is None else low > 0
        return "best single" if ahead else "equal"

    @property
    def recommended(self) -> Contender:
        """ "per label" where it is above `shared`, else that."""
        return "per label" if self.over_shared is not None and self.over_shared.value > 0 else self.shared


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
