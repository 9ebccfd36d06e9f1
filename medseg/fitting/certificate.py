"""How much better than the found weights any others could be: branch and bound over the simplex of three members."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float64

from medseg.fitting.search import Objective

CLOSE = 0.001
"""A triangle that could hold no more than this above the found score is not cut further."""

MAX_TRIANGLES = 4000


def headroom(objective: Objective, score: float) -> float:
    """No weights of three members score more than `score` plus this, at any threshold, on the tallies of `objective`.

    CLOSE where that is shown with MAX_TRIANGLES, else more. Labels must be decided alone: not for multiclass.
    """
    triangles, tried = np.eye(3)[None], 0
    while True:
        ceilings = objective.ceiling(triangles)
        tried += len(triangles)
        triangles = triangles[ceilings > score + CLOSE]
        if not len(triangles):
            return CLOSE
        if tried + 4 * len(triangles) > MAX_TRIANGLES:
            return float(ceilings.max() - score)
        triangles = _quarters(triangles)


def _quarters(triangles: Float64[np.ndarray, "V 3 M"]) -> Float64[np.ndarray, "4V 3 M"]:
    """Each triangle cut at the middles of its sides."""
    middles = (triangles + np.roll(triangles, -1, axis=1)) / 2  # of the sides 01, 12, 20
    corners = [np.stack([triangles[:, i], middles[:, i], middles[:, i - 1]], axis=1) for i in range(3)]
    return np.concatenate([*corners, middles])
