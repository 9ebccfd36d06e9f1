"""Every threshold that fitting tries, all in one pass."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeAlias

import numpy as np
from jaxtyping import Float, Int64

from medseg.arrays import Masks, Probabilities, Threshold
from medseg.config import Task

FINEST = 20
THRESHOLDS = np.arange(1, FINEST) / FINEST
"""Where the finest levels of a histogram meet: what a member alone marks at one of them is told exactly."""

HALF = FINEST // 2 - 1
"""Index in THRESHOLDS of 0.5, the threshold that calibrated probabilities call for."""

Counts: TypeAlias = Int64[np.ndarray, "*axes 3"]
"""Pixels (in both masks, predicted, true). Counts of several images add up, which is what pooling means."""

_SCALE = FINEST * (1 + 3.9e-8)
"""Takes every float32 below the one nearest to k / 20 to below k, and that one to k or more."""


def decision_values(probabilities: Probabilities, task: Task) -> Probabilities:
    """Values v with `to_masks(p, t, task) == (v >= t)` for every threshold t > 0: what lets one pass try them all."""
    if task != "multiclass":
        return probabilities
    winner = probabilities.argmax(axis=0) == np.arange(len(probabilities))[:, None, None]
    return np.asarray(np.where(winner, probabilities.sum(axis=0), np.float32(0)))


def threshold_counts(values: Probabilities, truth: Masks) -> Int64[np.ndarray, "K T 3"]:
    """What `values >= t` marks of `truth` for every t of THRESHOLDS."""
    result = np.empty((len(truth), len(THRESHOLDS), 3), np.int64)
    for counts, bins, mask in zip(result, threshold_bins(values), truth, strict=True):
        counts[:, 0] = at_least(bins[mask][None])
        counts[:, 1] = at_least(bins.reshape(1, -1))
        counts[:, 2] = np.count_nonzero(mask)
    return result


def at(curves: Counts, thresholds: int | Sequence[int]) -> Counts:
    """Of counts (…, K, T, 3) those at one threshold's index for all labels, or at one for each: (…, K, 3)."""
    labels = curves.shape[-3]
    return curves[..., np.arange(labels), np.broadcast_to(thresholds, labels), :]


def threshold_of(at: int | Sequence[int]) -> Threshold:
    """The threshold of an index; one number where that of all labels is the same."""
    values = np.unique(THRESHOLDS[np.array(at)])
    return float(values[0]) if len(values) == 1 else tuple(THRESHOLDS[np.array(at)].tolist())


def index_of(threshold: Threshold) -> int | tuple[int, ...]:
    """The inverse of `threshold_of`."""
    nearest = np.abs(np.subtract.outer(threshold, THRESHOLDS)).argmin(axis=-1).tolist()
    return tuple(nearest) if isinstance(nearest, list) else nearest


def threshold_bins(values: Float[np.ndarray, "*axes"]) -> Int64[np.ndarray, "*axes"]:
    """How many of THRESHOLDS each float32 value reaches: `values >= t` for all of them at once, and 20 for 1.

    Values lie in [0, 1], give or take what blending rounds.
    """
    bins: Int64[np.ndarray, "*axes"] = np.empty(values.shape, np.int64)
    np.multiply(values, _SCALE, out=bins, dtype=np.float64, casting="unsafe")
    return bins


def at_least(bins: Int64[np.ndarray, "V n"], sizes: Float[np.ndarray, "n"] | None = None) -> Int64[np.ndarray, "V T"]:
    """In each row, pixels at or above each of THRESHOLDS, from bins of `sizes` pixels each (one, if not told)."""
    counts = np.array([np.bincount(row, weights=sizes, minlength=FINEST + 1) for row in bins])
    return np.asarray(counts[:, ::-1].cumsum(axis=1)[:, FINEST - 1 : 0 : -1], dtype=np.int64)
