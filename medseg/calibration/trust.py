"""How good is this mask, when nobody knows the truth? A predicted Dice from how far the members agree.

One feature, the mean Dice between the masks of every two members, goes through a curve of two numbers fitted on
held-out predictions. Entropy along the boundary and area make it no better (`benchmarks/trust.py`). A single member has
nobody to agree with: how sure it is of its own mask stands in, the soft Dice confidence.

Source: pairwise Dice as a quality estimate: Roy et al., Bayesian QuickNAT, NeuroImage 2019; soft Dice confidence:
Borges, Pacheco and Silva, arXiv:2402.10665, 2024.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np
import scipy
from jaxtyping import Bool, Float64
from scipy.special import expit, logit

from medseg.arrays import Stack
from medseg.config import Task
from medseg.errors import InputError
from medseg.metrics import dice
from medseg.postprocess import to_masks
from medseg.schema import require

MEMBER_THRESHOLD = 0.5
FAILURE = 0.7
"""A Dice below this is a mask to look at."""

COVERAGE = 0.9
_SPREAD = 0.02  # errors shrink as the predicted Dice nears 1, but never to nothing
_FARTHEST = 0.01  # agreements of 0 and 1 count as 0.01 and 0.99, whose logits are finite


@dataclass(frozen=True)
class Trust:
    """What is expected of one mask: its Dice, with the 90 % prediction interval [low, high]."""

    dice: float
    low: float
    high: float

    @property
    def look_yourself(self) -> bool:
        """Whether the interval reaches below FAILURE."""
        return self.low < FAILURE


@dataclass(frozen=True)
class TrustModel:
    """Dice ≈ expit(intercept + slope · logit(agreement)), slope >= 0; an error grows with 1 − predicted Dice.

    `low` and `high` are quantiles of the held-out errors, each divided by that; `cases` is how many cases they are of.
    A prediction that marks nothing has no edge to agree on: of `empties` such predictions `empty_hits` were right.
    """

    intercept: float
    slope: float
    low: float
    high: float
    cases: int
    empties: int = 0
    empty_hits: int = 0

    def __post_init__(self) -> None:
        require(self.slope >= 0, f"slope: wanted 0 or more, found {self.slope}")
        require(self.low <= self.high, "low must not lie above high")
        require(0 <= self.empty_hits <= self.empties, "empty_hits must lie between 0 and empties")

    def judge(self, agreement: float, *, empty: bool = False) -> Trust:
        """The trust in a prediction whose members have this `agreement`, in [0, 1]; `empty` where it marks nothing.

        More agreement never lowers the predicted Dice. An empty prediction's Dice is 1 or 0: it is predicted to be
        right as often as those held out were, counting one more that was not, and its interval is all of [0, 1] unless
        that is wrong in at most 5 %.
        """
        if empty:
            right = self.empty_hits / (self.empties + 1)
            return Trust(right, float(right >= (1 + COVERAGE) / 2), 1.0)
        dice = float(expit(self.intercept + self.slope * _position(np.asarray(agreement))))
        low, high = (min(max(dice + bound * (1 - dice + _SPREAD), 0.0), 1.0) for bound in (self.low, self.high))
        return Trust(dice, low, high)


def agreement(stack: Stack, task: Task) -> float:
    """Mean Dice of the masks of every two members of the stack, at threshold 0.5, and over labels; in [0, 1].

    Give it the members with weight, on the grid of `observations.thin`, as it was fitted. Two empty masks agree. Of a
    single member it is 2 Σ p·m / Σ (p + m), the Dice between its probabilities p and its own mask m.
    """
    masks = [to_masks(member.astype(np.float32), MEMBER_THRESHOLD, task) for member in stack]
    if len(stack) == 1:
        soft, mask = stack[0].astype(np.float64), masks[0]
        common, both = (values.sum(axis=(1, 2)) for values in (soft * mask, soft + mask))
        return float(np.mean(np.where(both > 0, 2 * common / np.maximum(both, 1e-12), 1.0)))
    pairs = combinations(masks, 2)
    return float(np.mean([dice(*pair) for pair in pairs]))


@dataclass(frozen=True, eq=False)
class Outcomes:
    """Held-out predictions, one entry each: the members' agreement, the true Dice, whether the prediction marks
    nothing, its case, and the fold it was held out in."""

    agreement: Float64[np.ndarray, "n"]
    dice: Float64[np.ndarray, "n"]
    empty: Bool[np.ndarray, "n"]
    cases: tuple[str, ...]
    folds: tuple[int, ...]


def fit_trust(outcomes: Outcomes) -> TrustModel:
    """The curve by fractional logit regression, its interval by cross-conformal prediction.

    Each fold's errors are those of the curve fitted on the other folds; every case counts once, however many images it
    has. Raises InputError for fewer than 19 cases with a prediction that marks something: the 5 % tails need them.

    Source: Papke and Wooldridge, Econometric methods for fractional response variables, 1996; Vovk, Cross-conformal
    predictors, 2015.
    """
    marked = ~outcomes.empty
    x, y = _position(outcomes.agreement[marked]), outcomes.dice[marked]
    cases = np.asarray(outcomes.cases, dtype=str)[marked]
    predicted = held_out_dice(outcomes)[marked]
    errors = (y - predicted) / (1 - predicted + _SPREAD)
    low, high = -_quantile(-errors, cases), _quantile(errors, cases)
    hits = int(np.count_nonzero(outcomes.dice[outcomes.empty] == 1))
    empties = int(np.count_nonzero(outcomes.empty))
    return TrustModel(*_fit_curve(x, y), low, high, len(np.unique(cases)), empties, hits)


def held_out_dice(outcomes: Outcomes) -> Float64[np.ndarray, "n"]:
    """The Dice that the curve of the other folds predicts for each; nan for predictions that mark nothing."""
    x, folds = _position(outcomes.agreement), np.asarray(outcomes.folds)
    predicted = np.full(len(x), np.nan)
    for fold in np.unique(folds[~outcomes.empty]):
        held, learnt = ((folds == fold) == inside for inside in (True, False))
        intercept, slope = _fit_curve(x[learnt & ~outcomes.empty], outcomes.dice[learnt & ~outcomes.empty])
        predicted[held] = expit(intercept + slope * x[held])
    predicted[outcomes.empty] = np.nan
    return predicted


def spearman(a: Sequence[float], b: Sequence[float]) -> float:
    """Rank correlation in [-1, 1], equal values sharing their mean rank; nan where either is constant."""
    ranks = np.stack([scipy.stats.rankdata(a), scipy.stats.rankdata(b)])
    ranks -= ranks.mean(axis=1, keepdims=True)
    scale = np.sqrt((ranks**2).sum(axis=1).prod())
    return float((ranks[0] * ranks[1]).sum() / scale) if scale else np.nan


def auroc(scores: Sequence[float], positive: Sequence[bool]) -> float:
    """Chance that a positive scores above a negative, ties counting half; nan where there are none of either.

    Source: Mann and Whitney, On a test of whether one of two random variables is stochastically larger, 1947.
    """
    ranks, chosen = scipy.stats.rankdata(scores), np.asarray(positive, dtype=bool)
    count, others = np.count_nonzero(chosen), np.count_nonzero(~chosen)
    if not (count and others):
        return np.nan
    return float((ranks[chosen].sum() - count * (count + 1) / 2) / (count * others))


def _position(agreement: np.ndarray) -> np.ndarray:
    return np.asarray(logit(np.clip(agreement, _FARTHEST, 1 - _FARTHEST)))


def _fit_curve(x: Float64[np.ndarray, "n"], y: Float64[np.ndarray, "n"]) -> tuple[float, float]:
    """(intercept, slope) of the likeliest expit(intercept + slope · x) for shares y in [0, 1]."""

    def loss(parameters: np.ndarray) -> float:
        line = parameters[0] + parameters[1] * x
        return float(np.mean(np.logaddexp(0, line) - y * line))

    # where all y are 1 it has no maximum
    optimum = scipy.optimize.minimize(loss, (0.0, 1.0), bounds=((-10, 10), (0, 10)))
    return float(optimum.x[0]), float(optimum.x[1])


def _quantile(values: Float64[np.ndarray, "n"], cases: np.ndarray) -> float:
    """The value that a new case's exceeds with chance 5 % at most; each case weighs 1, the new one may be anywhere."""
    _, case_of, images = np.unique(cases, return_inverse=True, return_counts=True)
    order = values.argsort()
    reached = np.cumsum(1 / images[case_of][order])
    wanted = (1 + COVERAGE) / 2 * (len(images) + 1)
    if wanted > len(images):
        raise InputError(f"A prediction interval needs at least 19 held-out cases, got {len(images)}.")
    return float(values[order][np.searchsorted(reached, wanted - 1e-9)])
