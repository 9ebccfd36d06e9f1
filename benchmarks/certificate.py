"""How much better than some weights any others could be: branch and bound over the simplex of three members.

For `benchmarks/fit.py`. Labels must be decided alone: it does not hold for multiclass.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float64, Int64

from medseg.fitting.histogram import Histogram, blend_cells
from medseg.fitting.measure import Measure
from medseg.fitting.thresholds import THRESHOLDS, at_least, threshold_bins

CLOSE = 0.001
"""A triangle that could hold no more than this above the score is not cut further."""

MAX_TRIANGLES = 4000
_ROUNDING = np.float32(1e-6)


def headroom(units: Sequence[Sequence[Histogram]], measure: Measure, score: float) -> float:
    """No weights of three members score more than `score` plus this, at any threshold.

    `units` are the histograms of each image, or for a pooled measure of each part of the data. CLOSE where that is
    shown with MAX_TRIANGLES, else more.
    """
    triangles, tried = np.eye(3)[None], 0
    while True:
        ceilings = ceiling(units, measure, triangles)
        tried += len(triangles)
        triangles = triangles[ceilings > score + CLOSE]
        if not len(triangles):
            return CLOSE
        if tried + 4 * len(triangles) > MAX_TRIANGLES:
            return float(ceilings.max() - score)
        triangles = _quarters(triangles)


def ceiling(
    units: Sequence[Sequence[Histogram]], measure: Measure, triangles: Float64[np.ndarray, "V 3 M"]
) -> Float64[np.ndarray, "V"]:
    """The score that no weights inside each triangle, given by its corners, exceed on all units at any threshold."""
    counts = [np.concatenate([_best_counts(part, triangles) for part in unit], axis=1) for unit in units]
    return np.asarray(measure.mean(np.moveaxis(np.array(counts), 2, 1)).max(axis=-1))


def _best_counts(part: Histogram, triangles: Float64[np.ndarray, "V 3 M"]) -> Int64[np.ndarray, "V K T 3"]:
    """Counts that no weights inside a triangle overlap the truth better than.

    A blend is linear in the weights, so inside the triangle a cell's lies between its least and its greatest at the
    corners. Cells at or above the threshold either way are marked, those below it either way are not, and of the
    others the best that could happen is that only their true pixels are.
    """
    corners = triangles.reshape(-1, triangles.shape[2])
    blended = blend_cells(part.probabilities.astype(np.float32), corners)
    blended = blended.reshape(len(part.marked), len(triangles), 3, -1)
    least = threshold_bins(blended.min(axis=2) - _ROUNDING)
    greatest = threshold_bins(blended.max(axis=2) + _ROUNDING)
    best = np.empty((*least.shape[:2], len(THRESHOLDS), 3), np.int64)
    best[..., 2] = part.true[:, None, None]
    for counts, low, high, marked in zip(best, least, greatest, part.marked.astype(np.float64), strict=True):
        counts[..., 0] = at_least(high, marked)
        counts[..., 1] = at_least(low, part.pixels - marked) + counts[..., 0]
    return best.swapaxes(0, 1)


def _quarters(triangles: Float64[np.ndarray, "V 3 M"]) -> Float64[np.ndarray, "4V 3 M"]:
    """Each triangle cut at the middles of its sides."""
    middles = (triangles + np.roll(triangles, -1, axis=1)) / 2  # of the sides 01, 12, 20
    corners = [np.stack([triangles[:, i], middles[:, i], middles[:, i - 1]], axis=1) for i in range(3)]
    return np.concatenate([*corners, middles])
