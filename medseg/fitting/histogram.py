"""The histogram of the members' probabilities over an image: all that choosing weights needs of it, and small.

A pixel counts only through the members' probabilities there and whether the truth marks it. So pixels of nearly the
same probabilities are one cell, and a blend of the members is tried on some thousand cells instead of a million pixels.
The histograms of many images add up to one, and the cost of a pooled metric no longer depends on their number.

    members' probabilities      pixels  marked by the truth
    (0.02, 0.01, 0.00)          51,203       4
    (0.97, 0.91, 0.94)           8,117   8,090
    (0.46, 0.72, 0.31)              39      17
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import TypeAlias

import numpy as np
from jaxtyping import Bool, Float, Float16, Int, Int64, UInt8

from medseg.arrays import Masks, Stack
from medseg.config import Task
from medseg.errors import InputError
from medseg.fitting.thresholds import FINEST, THRESHOLDS, at_least, decision_values, threshold_bins

LEVELS = (FINEST, 10, 5, 2)
"""The numbers of levels of probability, the finest first. A cell stands for the mean of its pixels, so that with 20 the
score at the optimum differs by about 0.0001 from that on all pixels (`benchmarks/fit.py`)."""

MAX_BYTES = 64_000
"""The largest size of one image's histograms together."""

_DENSE = 2**18
_SAMPLE = 1024
_CHUNK = 2**15  # blended values at a time: they stay in the processor's cache
_FITS_TWICE = 2**26  # one float64 holds two counts below this without rounding
_INVALID = 255
_VALUES = np.arange(2**16, dtype=np.uint16).view(np.float16).astype(np.float64)
"""Every half-precision number by its bits: a look-up is several times as fast as arithmetic on halves."""

_BUSY = int(np.argmax(np.float32(THRESHOLDS[0]) <= _VALUES))
"""The bits of the least number that reaches a threshold: those of greater numbers, and of all that is no probability,
are greater."""

Cells: TypeAlias = tuple[Int64[np.ndarray, "pixels"], Int64[np.ndarray, "cells"]]
"""The number of every pixel's cell, and how many pixels each cell has."""


@dataclass(frozen=True)
class Histogram:
    """Cells of pixels with nearly the same probabilities: in each cell the members' mean probabilities, the number of
    its pixels, and how many of those the truth of each label marks."""

    probabilities: Float16[np.ndarray, "M K cells"]
    pixels: Int[np.ndarray, "cells"]
    marked: Int[np.ndarray, "K cells"]

    @property
    def nbytes(self) -> int:
        return self.probabilities.nbytes + self.pixels.nbytes + self.marked.nbytes

    @property
    def total(self) -> int:
        """How many pixels it counts."""
        return int(self.pixels.sum(dtype=np.int64))

    @property
    def true(self) -> Int64[np.ndarray, "K"]:
        """How many of them each label marks."""
        return np.asarray(self.marked.sum(axis=1, dtype=np.int64))

    def counts(self, weights: Float[np.ndarray, "V M"], task: Task) -> Int64[np.ndarray, "V K T 3"]:
        """What each of the weight vectors, as `normalise_weights` returns them, marks at every one of THRESHOLDS."""
        probabilities = self.probabilities.astype(np.float32)
        counts = np.empty((len(weights), len(self.marked), len(THRESHOLDS), 3), np.int64)
        counts[..., 2] = self.true[:, None]
        step = max(1, _CHUNK // probabilities[0].size)
        for start in range(0, len(weights), step):
            bins = threshold_bins(decision_values(blend_cells(probabilities, weights[start : start + step]), task))
            for label, rows in enumerate(bins):
                counts[start : start + step, label, :, :2] = self._marks(label, rows)
        return counts

    def _marks(self, label: int, bins: Int64[np.ndarray, "V cells"]) -> Int64[np.ndarray, "V T 2"]:
        """Pixels in both masks and predicted, at every threshold: where they fit into one float, both in one sum."""
        if self.total < _FITS_TWICE:
            both = at_least(bins, self.pixels * float(_FITS_TWICE) + self.marked[label])
            return np.stack([both % _FITS_TWICE, both // _FITS_TWICE], axis=-1)
        return np.stack([at_least(bins, sizes) for sizes in (self.marked[label], self.pixels)], axis=-1)


def to_histograms(stack: Stack, truth: Masks, task: Task) -> tuple[Histogram, ...]:
    """The histograms of one image, together at most MAX_BYTES, from the members' probabilities (M, K, h, w) and the
    truth (K, h, w): one for each label, or under multiclass one for all, whose labels are decided together.

    The levels are the finest of LEVELS that keep to MAX_BYTES; where even the coarsest do not, the smallest cells
    become one. Raises InputError where the shapes do not match, and for values outside [0, 1].
    """
    if stack.ndim != 4 or truth.dtype != bool or stack.shape[1:] != truth.shape:
        raise InputError(
            f"Wanted probabilities (members, labels, rows, columns) and masks of the same size, got {stack.shape} and "
            f"{truth.dtype} {truth.shape}."
        )
    groups = [slice(None)] if task == "multiclass" else [slice(k, k + 1) for k in range(len(truth))]
    return tuple(_histogram(stack[:, group], truth[group], MAX_BYTES // len(groups)) for group in groups)


def add(histograms: Sequence[Histogram]) -> Histogram:
    """The histogram of all their pixels together, in the finest levels."""
    parts = _joined(histograms)
    flat = parts.probabilities.reshape(-1, len(parts.pixels))
    cells, _ = _group(_levels(flat, FINEST), FINEST)
    total = np.bincount(cells, parts.pixels)
    means = [np.bincount(cells, row * parts.pixels) / total for row in flat.astype(np.float64)]
    return Histogram(
        np.array(means, np.float16).reshape(*parts.probabilities.shape[:2], -1),
        total.astype(np.int64),
        np.array([np.bincount(cells, row) for row in parts.marked], np.int64),
    )


def _histogram(stack: Stack, truth: Masks, most_bytes: int) -> Histogram:
    """Of most images the larger part is calm, every member below the lowest threshold: one cell, told apart first,
    because sorting its pixels in takes longer than all else. Where hardly any are, they are sorted in with the rest."""
    members, labels = stack.shape[:2]
    probabilities = np.ascontiguousarray(stack, dtype=np.float16).reshape(members * labels, -1)
    marked = truth.reshape(labels, -1)
    most = most_bytes // (2 * members * labels + 4 + 4 * labels)
    busy = probabilities.view(np.uint16).max(axis=0) >= _BUSY
    step = -(-len(busy) // _SAMPLE)
    sample = probabilities[:, ::step].compress(~busy[::step], axis=1)
    if not sample.size:
        return _busy(probabilities, marked, members, most)
    calm = _calm(sample, marked, ~busy, members)
    chosen = np.flatnonzero(busy)
    if not len(chosen):
        return calm
    return _joined([calm, _busy(probabilities.take(chosen, axis=1), marked.take(chosen, axis=1), members, most - 1)])


def _calm(
    sample: Float16[np.ndarray, "D some"],
    marked: Bool[np.ndarray, "K pixels"],
    calm: Bool[np.ndarray, "pixels"],
    members: int,
) -> Histogram:
    """One cell of the `calm` pixels. Its mean, that of a `sample`, matters only where labels are added up."""
    means = _VALUES.take(sample.view(np.uint16)).mean(axis=1)
    return Histogram(
        means.astype(np.float16).reshape(members, len(marked), 1),
        np.array([np.count_nonzero(calm)], np.uint32),
        np.array([[np.count_nonzero(mask & calm)] for mask in marked], np.uint32),
    )


def _busy(
    probabilities: Float16[np.ndarray, "D pixels"], marked: Bool[np.ndarray, "K pixels"], members: int, most: int
) -> Histogram:
    """At most so many cells, of the finest levels that make no more."""
    cells, sizes = _cells(probabilities, most)
    means = [np.bincount(cells, _VALUES.take(row.view(np.uint16))) / sizes for row in probabilities]
    marks = [np.bincount(cells[mask], minlength=len(sizes)) for mask in marked]
    shape = (members, len(marked), len(sizes))
    return Histogram(np.array(means, np.float16).reshape(shape), sizes.astype(np.uint32), np.array(marks, np.uint32))


def _cells(probabilities: Float16[np.ndarray, "D pixels"], most: int) -> Cells:
    """In the finest levels that make at most so many cells."""
    for levels in LEVELS:
        cells, sizes = _group(_levels(probabilities, levels), levels)
        if len(sizes) <= most:
            return cells, sizes
    return _unite_smallest(cells, sizes, most)


def _joined(histograms: Sequence[Histogram]) -> Histogram:
    """The cells of all, one behind the other."""
    return Histogram(
        np.concatenate([each.probabilities for each in histograms], axis=2),
        np.concatenate([each.pixels for each in histograms]),
        np.concatenate([each.marked for each in histograms], axis=1),
    )


def _levels(probabilities: Float16[np.ndarray, "D pixels"], levels: int) -> UInt8[np.ndarray, "D pixels"]:
    """The level of every probability; InputError for what lies outside [0, 1]."""
    numbers = _level_table(levels).take(probabilities.view(np.uint16))
    if numbers.max(initial=0) == _INVALID:
        raise InputError("A member's values are not all probabilities between 0 and 1: leave that member out.")
    return np.asarray(numbers)


@cache
def _level_table(levels: int) -> UInt8[np.ndarray, "65536"]:
    """The level of every half-precision number by its bits.

    Compared in float32, as `values >= t` compares: the half-precision number for 0.15 lies below 0.15.
    """
    edges = (np.arange(1, levels) / levels).astype(np.float32)
    table = np.searchsorted(edges, _VALUES, side="right").astype(np.uint8)
    return np.asarray(np.where((_VALUES >= 0) & (_VALUES <= 1), table, np.uint8(_INVALID)))


def _group(rows: UInt8[np.ndarray, "D pixels"], levels: int) -> Cells:
    """Pixels whose levels agree in every row are one cell."""
    cells, size = rows[0].astype(np.int64), levels
    for row in rows[1:]:
        if size * levels > _DENSE:
            cells, sizes = _renumber(cells, size)
            size = len(sizes)
        cells *= levels
        cells += row
        size *= levels
    return _renumber(cells, size)


def _renumber(cells: Int64[np.ndarray, "pixels"], size: int) -> Cells:
    """Cells below `size` numbered anew without gaps."""
    if size > _DENSE:
        _, cells, sizes = np.unique(cells, return_inverse=True, return_counts=True)
        return cells, sizes
    sizes = np.bincount(cells, minlength=size)
    filled = sizes > 0
    return (np.cumsum(filled) - 1).take(cells), sizes[filled]


def _unite_smallest(cells: Int64[np.ndarray, "pixels"], sizes: Int64[np.ndarray, "cells"], most: int) -> Cells:
    """Only `most` cells: the largest as they are, all others together."""
    rank = np.empty_like(sizes)
    rank[np.argsort(-sizes, kind="stable")] = np.arange(len(sizes))
    cells = np.minimum(rank, most - 1).take(cells)
    return cells, np.bincount(cells)


def blend_cells(
    probabilities: Float[np.ndarray, "M K cells"], weights: Float[np.ndarray, "V M"]
) -> Float[np.ndarray, "K V cells"]:
    """Bit for bit what `weighted_mean` makes of each weight vector: a matrix product would round otherwise."""
    columns = weights.astype(np.float32).T[:, :, None]
    blended: Float[np.ndarray, "K V cells"] = np.multiply(columns[0], probabilities[0][:, None, :], dtype=np.float32)
    term = np.empty_like(blended)
    for member, column in zip(probabilities[1:], columns[1:], strict=True):
        blended += np.multiply(column, member[:, None, :], out=term)
    return blended
