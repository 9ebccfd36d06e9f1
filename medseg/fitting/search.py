"""The search for weights: three methods over one objective.

All methods begin with the same comparison, equal weights and each member alone; equally good weights are told apart by
how near to equal they are, so noise never drops a member.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import lru_cache
from itertools import combinations, permutations
from math import comb

import numpy as np
from jaxtyping import Bool, Float64

from medseg.config import Task
from medseg.fitting.histogram import Histogram
from medseg.fitting.measure import Measure
from medseg.fitting.thresholds import HALF, THRESHOLDS, Counts
from medseg.inference.blend import normalise_weights
from medseg.scores import FitMethod

STEPS = 10
MAX_SEARCHED = 1001
"""Weight vectors that the grid tries at most: five members in steps of 1/10. More members get wider steps."""

FEW_CASES = 60
"""With fewer, the grid holds only equal weights over subsets of the members: the finest steps find chance."""

DRAWN = 12
"""Cases that would have found equal weights best: so much the mean of the best vectors is drawn towards these."""

ROUNDS = 20
"""Members that the greedy selection takes, each as often as it helps: its weights are multiples of 1/20 or coarser."""

FIRST_STEP, LAST_STEP = 1 / 4, 1 / 64

Vector = tuple[float, ...]
At = int | tuple[int, ...]
"""The index of a threshold in THRESHOLDS; one for each of several labels that are decided alone."""

Chosen = tuple[Vector, At]
"""Weights, and their best threshold."""


Scores = Callable[[Sequence[Vector]], Float64[np.ndarray, "V T"]]
"""What weight vectors score at every threshold."""


class Objective:
    """What weights score on parts of the data at every threshold; what was computed once is kept.

    Each unit is the histograms of one image, or for a pooled measure of one fold; `fold_of` says which fold it is in.
    """

    def __init__(
        self, units: Sequence[Sequence[Histogram]], fold_of: Sequence[int], task: Task, measure: Measure
    ) -> None:
        self._units = units
        self._fold_of = np.asarray(fold_of)
        self._task = task
        self._measure = measure
        self._rows: dict[Vector, int] = {}
        self._table: np.ndarray | None = None

    def without(self, fold: int | None) -> Scores:
        """The scores of weight vectors on all units, or on all but those of `fold`."""
        inside: Bool[np.ndarray, "units"] = self._fold_of != (-1 if fold is None else fold)
        known: dict[tuple[Vector, ...], Float64[np.ndarray, "V T"]] = {}

        def scores(vectors: Sequence[Vector]) -> Float64[np.ndarray, "V T"]:
            if (key := tuple(vectors)) not in known:  # the same grid is asked with every threshold, and with 0.5
                known[key] = self._mean(self._of(vectors)[:, inside])
            return known[key]

        return scores

    def average(
        self, fold: int | None, vectors: Sequence[Vector], threshold: int, resamples: Float64[np.ndarray, "R units"]
    ) -> Vector:
        """The mean over `resamples`, which weigh the units, of the best vector at this threshold; without `fold`.

        Of equally good ones (to six decimals) that with the most equal weights. One best vector follows the chance of
        few images; the mean of many does less (Breiman, Bagging predictors, 1996).
        """
        inside = self._fold_of != (-1 if fold is None else fold)
        weights = resamples[:, inside] / resamples[:, inside].sum(axis=1, keepdims=True)
        if self._measure.average == "pooled":
            curves = self._of(vectors)[:, inside][..., threshold, :]
            scores = self._measure.ratio(np.tensordot(weights, curves, axes=(1, 1))).mean(axis=-1)
        else:
            scores = weights @ self._of(vectors)[:, inside, threshold].T
        order = np.argsort(np.ptp(np.array(vectors), axis=1), kind="stable")  # the most equal first: it wins ties
        best = order[scores[:, order].round(6).argmax(axis=1)]
        if len(set(best.tolist())) == 1:
            return vectors[int(best[0])]
        return tuple(np.array(vectors)[best].mean(axis=0).tolist())

    def _of(self, vectors: Sequence[Vector]) -> np.ndarray:
        """What `_shares` returns of the vectors, computed once for each."""
        new = [vector for vector in dict.fromkeys(vectors) if vector not in self._rows]
        if new:
            shares = self._shares(new)
            self._rows.update(zip(new, range(len(self._rows), len(self._rows) + len(new)), strict=True))
            self._table = shares if self._table is None else np.concatenate([self._table, shares])
        rows = [self._rows[vector] for vector in vectors]
        table = np.empty(0) if self._table is None else self._table
        is_slice = rows == [*range(rows[0], rows[0] + len(rows))]
        return table[rows[0] : rows[0] + len(rows)] if is_slice else table[rows]

    def _shares(self, vectors: Sequence[Vector]) -> np.ndarray:
        """Of every vector and unit (V, units, …) what `_share` keeps."""
        by_member = list(zip(*vectors, strict=True))
        weights = np.array(normalise_weights(by_member, len(by_member), len(vectors)), np.float32).T
        once, which = np.unique(weights, axis=0, return_inverse=True)  # (1, 1, 2) and (2, 2, 4) are the same
        shares = [self._share([histogram.counts(once, self._task) for histogram in unit]) for unit in self._units]
        return np.stack(shares, axis=1)[which.ravel()]

    def _share(self, parts: Sequence[Counts]) -> np.ndarray:
        """Of one unit: the counts (V, K, T, 3) of a fold; of an image only the metric (V, T), which is smaller."""
        counts = np.concatenate(parts, axis=1)
        if self._measure.average == "pooled":
            return np.asarray(counts)
        return np.asarray(self._measure.ratio(counts).mean(axis=1), dtype=np.float32)

    def _mean(self, shares: np.ndarray) -> Float64[np.ndarray, "V T"]:
        """The value over all units (the second axis) of what `_share` keeps of each."""
        if self._measure.average == "pooled":
            return self._measure.mean(np.moveaxis(shares, 0, 2))
        return np.asarray(shares.mean(axis=1, dtype=np.float64))


def at_half(scores: Scores) -> Scores:
    """The same scores with no threshold to choose from but 0.5."""

    def table(vectors: Sequence[Vector]) -> Float64[np.ndarray, "V T"]:
        every = scores(vectors)
        return np.where(np.arange(every.shape[1]) == HALF, every, -np.inf)

    return table


def choose(scores: Scores, vectors: Sequence[Vector], among: Sequence[int] | None = None) -> tuple[Vector, int]:
    """The best of the weight vectors with its best threshold.

    Of equally good ones (to six decimals) that whose weights `among` these members are nearest to equal, and of its
    thresholds the one nearest to 0.5, the value that calibrated probabilities call for.
    """
    table = scores(vectors).round(6)
    best = most_equal(table.max(axis=1), vectors, range(len(vectors[0])) if among is None else among)
    return vectors[best], middlemost(table[best])


def most_equal(values: Float64[np.ndarray, "V"], vectors: Sequence[Vector], among: Sequence[int]) -> int:
    """Index of the greatest value; of several, of that whose weights `among` these members are nearest to equal."""
    spread = np.ptp(np.array(vectors)[:, list(among)], axis=1)
    return max(range(len(vectors)), key=lambda i: (values[i], -spread[i]))


def middlemost(values: Float64[np.ndarray, "T"]) -> int:
    """Index of the greatest value, of one for each of THRESHOLDS; of several, of the threshold nearest to 0.5."""
    return max(range(len(THRESHOLDS)), key=lambda t: (values[t], -abs(THRESHOLDS[t] - 0.5)))


def scores_alone(scores: Scores, members: int) -> Float64[np.ndarray, "M"]:
    """What each member scores alone at its best threshold, to six decimals."""
    return np.asarray(scores([equal([i], members) for i in range(members)]).max(axis=1).round(6))


def sound_members(alone: Float64[np.ndarray, "M"], baseline: float) -> list[int]:
    """The members that alone exceed `baseline`, or all where none does."""
    return [i for i, value in enumerate(alone) if value > round(baseline, 6)] or list(range(len(alone)))


def search(method: FitMethod, scores: Scores, sound: Sequence[int], members: int) -> tuple[Vector, int]:
    """Weights for `members` with a threshold, found by `method`; only the `sound` members get any."""
    if method == "grid":
        return choose(scores, grid(sound, members), sound)
    starts = _starts(sound, members)
    greedy = _greedy(scores, sound, members)
    if method == "local":
        greedy = _local(scores, [*starts, *greedy], sound)
    return choose(scores, [*starts, *greedy], sound)


def grid(sound: Sequence[int], members: int) -> list[Vector]:
    """Equal weights, each of the `sound` members alone, and the simplex over them in its finest steps."""
    return [*_grid(tuple(sound), members)]


def subsets(sound: Sequence[int], members: int) -> list[Vector]:
    """Equal weights over each subset of the `sound` members, the largest first; of very many members the grid."""
    if 2 ** len(sound) > MAX_SEARCHED:
        return grid(sound, members)
    sizes = range(len(sound), 0, -1)
    return [equal(chosen, members) for size in sizes for chosen in combinations(sound, size)]


@lru_cache(maxsize=32)
def _grid(sound: tuple[int, ...], members: int) -> tuple[Vector, ...]:
    entries = simplex(len(sound), grid_steps(len(sound)))
    return (*_starts(sound, members), *(_spread(entry, sound, members) for entry in entries))


def describe(method: FitMethod, sound: int, cases: int) -> str:
    """The method in words, for `sound` members and so many cases."""
    few = cases < FEW_CASES and 2**sound <= MAX_SEARCHED
    tried = "equal weights over every subset" if few else f"grid over the simplex in steps of 1/{grid_steps(sound)}"
    return {
        "grid": f"{tried}, the mean of the best over resamples by case, drawn to equal weights as by {DRAWN} cases",
        "greedy": f"greedy selection of {ROUNDS} members with replacement",
        "local": f"local search from the best of equal weights, single members and greedy selection, in steps from "
        f"{FIRST_STEP:g} down to {LAST_STEP:g}",
    }[method]


def equal(chosen: Sequence[int], members: int) -> Vector:
    """The same weight for the `chosen` members, 0 for the others."""
    return tuple(1 / len(chosen) if i in chosen else 0.0 for i in range(members))


def grid_steps(members: int) -> int:
    """The finest grid, up to STEPS, with at most MAX_SEARCHED weight vectors."""
    return max((s for s in range(2, STEPS + 1) if comb(s + members - 1, members - 1) <= MAX_SEARCHED), default=1)


def simplex(members: int, steps: int) -> Iterator[Vector]:
    """All weight vectors whose entries are multiples of 1/steps and sum to 1."""

    def parts(left: int, places: int) -> Iterator[tuple[int, ...]]:
        if places == 1:
            yield (left,)
            return
        for first in range(left + 1):
            for rest in parts(left - first, places - 1):
                yield (first, *rest)

    return (tuple(part / steps for part in entry) for entry in parts(steps, members))


def _starts(sound: Sequence[int], members: int) -> list[Vector]:
    return [equal(sound, members), *(equal([i], members) for i in sound)]


def _spread(entry: Vector, sound: Sequence[int], members: int) -> Vector:
    weights = dict(zip(sound, entry, strict=True))
    return tuple(weights.get(i, 0.0) for i in range(members))


def _greedy(scores: Scores, sound: Sequence[int], members: int) -> list[Vector]:
    """The weights after each round of a selection with replacement: a round adds the member that helps most.

    Source: Caruana et al., Ensemble selection from libraries of models, ICML 2004.
    """
    path: list[Vector] = []
    times = np.zeros(members)
    for size in range(1, ROUNDS + 1):
        more = [times + np.eye(members)[i] for i in sound]
        path.append(choose(scores, [tuple((bag / size).tolist()) for bag in more], sound)[0])
        times = np.rint(np.array(path[-1]) * size)
    return path


def _local(scores: Scores, starts: Sequence[Vector], sound: Sequence[int]) -> list[Vector]:
    """The end of a climb from the best start: weight moves between two members while that helps, then in half steps."""
    best = choose(scores, starts, sound)[0]
    step = FIRST_STEP
    while step >= LAST_STEP:
        moved = [_move(best, giver, taker, step) for giver, taker in permutations(sound, 2) if best[giver] > 0]
        better = choose(scores, [best, *moved], sound)[0]
        if scores([better]).max() < scores([best]).max() + 1e-6:
            step /= 2
        else:
            best = better
    return [best]


def _move(weights: Vector, giver: int, taker: int, step: float) -> Vector:
    moved = list(weights)
    amount = min(step, weights[giver])
    moved[giver] -= amount
    moved[taker] += amount
    return tuple(moved)
