"""An inner and an outer mask whose expected error on a new case is bounded, whatever the networks are worth.

Conformal risk control (Angelopoulos et al., Conformal risk control, ICLR 2024): thresholds are set on n held-out cases
so that (n · mean loss + 1) / (n + 1) stays at or below alpha. Then the expected loss on another case, drawn as
those were, does too. It holds on average over cases, not for each one, and not for another hospital's images.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float32, Float64
from scipy.special import expit

from medseg.arrays import Mask, Masks, Probabilities
from medseg.errors import InputError
from medseg.schema import require

LEVELS = expit(np.linspace(-9, 9, 181)).astype(np.float32)
"""The thresholds tried: even steps of the logit, since the interesting ones crowd at 0 and 1."""

EVERYTHING, NOTHING = 0.0, 2.0
"""The thresholds that mark the whole image, and none of it."""


@dataclass(frozen=True)
class Bounds:
    """The thresholds for one `alpha`, in (0, 1), one for each label, and the number of cases they were set on.

    `outer`: a case's share of true pixels outside the outer mask is at most alpha on average, over cases that have
    any. `inner`: the share of the inner mask that is false is at most alpha on average, over all cases; nothing in an
    empty mask is false.
    """

    alpha: float
    outer: tuple[float, ...]
    inner: tuple[float, ...]
    outer_cases: tuple[int, ...]
    inner_cases: tuple[int, ...]

    def __post_init__(self) -> None:
        require(0 < self.alpha < 1, f"alpha: wanted a value between 0 and 1, found {self.alpha}")
        counts = {len(part) for part in (self.outer, self.inner, self.outer_cases, self.inner_cases)}
        require(len(counts) == 1, "outer and inner need one threshold and one number of cases for each label")
        for threshold in (*self.outer, *self.inner):
            require(0 <= threshold <= NOTHING, f"a threshold must lie in 0 to {NOTHING:g}, not {threshold}")


def fit_bounds(predictions: Sequence[tuple[Probabilities, Masks]], cases: Sequence[str], alpha: float) -> Bounds:
    """The narrowest thresholds of LEVELS that keep the expected losses of `Bounds` at or below `alpha`.

    `predictions` are held-out (probabilities, truth), one grid each, `cases` their patients: a case's loss is the mean
    of its images'. Raises InputError where there are fewer than 1 / alpha − 1 cases (for outer: cases with that label),
    since then no threshold can promise that much.
    """
    bounds = []
    for label in range(len(predictions[0][1]) if predictions else 1):
        pairs = [(p[label], t[label], case) for (p, t), case in zip(predictions, cases, strict=True)]
        misses = _case_means([(missed(p, t), case) for p, t, case in pairs if t.any()])
        errors = _case_means([(false_share(p, t), case) for p, t, case in pairs])
        certain, clean = LEVELS[_holds(misses, alpha)], LEVELS[_holds(errors, alpha)]
        outer, inner = certain[-1] if certain.size else EVERYTHING, clean[0] if clean.size else NOTHING
        bounds.append((float(outer), float(inner), len(misses), len(errors)))
    return Bounds(alpha, *zip(*bounds, strict=True))


def inner_outer(probabilities: Probabilities, masks: Masks, bounds: Bounds) -> tuple[Masks, Masks]:
    """The inner and outer masks around `masks`, all (K, H, W) on one grid: inner ⊆ masks ⊆ outer.

    `probabilities` are those that `bounds` were set on, blended and not tempered. Where the thresholds would cross
    the mask, the mask itself takes their place, which only lowers either loss. Outer masks of several labels may
    overlap, also under multiclass.
    """
    outer = probabilities >= np.asarray(bounds.outer, np.float32)[:, None, None]
    inner = probabilities >= np.asarray(bounds.inner, np.float32)[:, None, None]
    return inner & masks, outer | masks


def missed(probabilities: Float32[np.ndarray, "H W"], truth: Mask) -> Float64[np.ndarray, "L"]:
    """For each of LEVELS the share of true pixels, of which there is one at least, below it: rises with the level."""
    return np.asarray(np.searchsorted(np.sort(probabilities[truth]), LEVELS) / np.count_nonzero(truth))


def false_share(probabilities: Float32[np.ndarray, "H W"], truth: Mask) -> Float64[np.ndarray, "L"]:
    """For each of LEVELS the largest share of false pixels in the mask cut there or at any higher level.

    The largest, because risk control needs a loss that only falls: a mask that shrinks can lose its true pixels first.
    """
    false, hit = (
        values.size - np.searchsorted(np.sort(values), LEVELS)
        for values in (probabilities[~truth], probabilities.ravel())
    )
    return np.asarray(np.maximum.accumulate((false / np.maximum(hit, 1))[::-1])[::-1])


def _case_means(curves: Sequence[tuple[Float64[np.ndarray, "L"], str]]) -> Float64[np.ndarray, "n L"]:
    by_case: dict[str, list[np.ndarray]] = {}
    for curve, case in curves:
        by_case.setdefault(case, []).append(curve)
    return np.array([np.mean(own, axis=0) for own in by_case.values()]).reshape(-1, len(LEVELS))


def _holds(losses: Float64[np.ndarray, "n L"], alpha: float) -> Bool[np.ndarray, "L"]:
    """At which levels the risk is controlled; 1 is the largest loss that the next case could have."""
    n = len(losses)
    if n + 1 < 1 / alpha:
        raise InputError(f"A rate of {alpha:g} needs at least {math.ceil(1 / alpha) - 1} held-out cases, got {n}.")
    return np.asarray((losses.sum(axis=0) + 1) / (n + 1) <= alpha)
