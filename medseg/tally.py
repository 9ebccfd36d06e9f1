"""What choosing weights needs of an image, small: which answers its members gave, on how many pixels, how many marked.

A pixel counts only through what the members answer there and whether the truth marks it. So pixels of nearly the same
answers are one cell, and a blend of the members is tried on some thousand cells instead of a million pixels. The
tallies of many images add up to one, and the cost of a pooled metric no longer depends on their number.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import TypeAlias

import numpy as np
from jaxtyping import Float, Float16, Int, Int64, UInt8, UInt16

from medseg.arrays import Masks, Probabilities, Stack
from medseg.config import Task
from medseg.errors import InputError

LEVELS = (20, 10, 5, 2)
"""Levels of probability told apart, the finest first. A cell answers with the mean of its pixels, so that with 20 the
score at the optimum differs by about 0.0001 from that on all pixels (`benchmarks/fit.py`)."""

THRESHOLDS = np.arange(1, LEVELS[0]) / LEVELS[0]
"""Where the finest levels meet: what a member alone marks at one of them is told exactly."""

MAX_BYTES = 64_000
"""What the tallies of one image take at most."""

Counts: TypeAlias = Int64[np.ndarray, "*axes 3"]
"""Pixels (in both masks, predicted, true). Counts of several images add up, which is what pooling means."""

_DENSE = 2**18
_CHUNK = 2**17  # blended values at a time: they stay in the processor's cache
_INVALID = 255
_SCALE = LEVELS[0] * (1 + 3.9e-8)
"""Takes every float32 below the one nearest to k / 20 to below k, and that one to k or more."""


@dataclass(frozen=True)
class Tally:
    """Cells of pixels with nearly the same answers: the members' mean probabilities in each, its pixels, and how many
    of those the truth of each label marks."""

    answers: Float16[np.ndarray, "M K cells"]
    pixels: Int[np.ndarray, "cells"]
    marked: Int[np.ndarray, "K cells"]

    @property
    def nbytes(self) -> int:
        return self.answers.nbytes + self.pixels.nbytes + self.marked.nbytes

    @property
    def total(self) -> int:
        """How many pixels it tells of."""
        return int(self.pixels.sum(dtype=np.int64))

    @property
    def true(self) -> Int64[np.ndarray, "K"]:
        """How many of them each label marks."""
        return np.asarray(self.marked.sum(axis=1, dtype=np.int64))

    def counts(self, weights: Float[np.ndarray, "V M"], task: Task) -> Int64[np.ndarray, "V K T 3"]:
        """What each of the weight vectors, as `normalise_weights` returns them, marks at every one of THRESHOLDS."""
        answers = self.answers.astype(np.float32)
        sizes = [self.pixels.astype(np.float64), *self.marked.astype(np.float64)]
        found = np.empty((len(weights), len(self.marked), len(THRESHOLDS), 3), np.int64)
        found[..., 2] = self.true[:, None]
        step = max(1, _CHUNK // answers[0].size)
        for start in range(0, len(weights), step):
            bins = _bins(decision_values(_blend(answers, weights[start : start + step]), task))
            for label, rows in enumerate(bins):
                for vector, row in enumerate(rows, start=start):
                    found[vector, label, :, 0] = _at_least(row, sizes[1 + label])
                    found[vector, label, :, 1] = _at_least(row, sizes[0])
        return found


def tally(stack: Stack, truth: Masks, task: Task) -> tuple[Tally, ...]:
    """The tallies of one image, together at most MAX_BYTES, from the members' answers (M, K, h, w) and the truth
    (K, h, w): one for each label, or under multiclass one for all, whose labels are decided together.

    The levels are the finest of LEVELS that keep to MAX_BYTES; where even the coarsest do not, the smallest cells
    become one. Raises InputError where the shapes do not match, and for answers that are no probabilities.
    """
    if stack.ndim != 4 or truth.dtype != bool or stack.shape[1:] != truth.shape:
        raise InputError(
            f"Wanted answers (members, labels, rows, columns) and masks of the same size, got {stack.shape} and "
            f"{truth.dtype} {truth.shape}."
        )
    groups = [slice(None)] if task == "multiclass" else [slice(k, k + 1) for k in range(len(truth))]
    return tuple(_tally(stack[:, group], truth[group], MAX_BYTES // len(groups)) for group in groups)


def add(tallies: Sequence[Tally]) -> Tally:
    """The tally of all their pixels together, in the finest levels."""
    answers = np.concatenate([t.answers for t in tallies], axis=2)
    pixels = np.concatenate([t.pixels for t in tallies])
    marked = np.concatenate([t.marked for t in tallies], axis=1)
    flat = answers.reshape(-1, len(pixels))
    cells, count = _group(_levels(flat, LEVELS[0]), LEVELS[0])
    total = _sum(pixels, cells, count)
    means = [_sum(row * pixels, cells, count) / total for row in flat.astype(np.float64)]
    return Tally(
        np.array(means, np.float16).reshape(*answers.shape[:2], count),
        total.astype(np.int64),
        np.array([_sum(row, cells, count) for row in marked], np.int64),
    )


def decision_values(probabilities: Probabilities, task: Task) -> Probabilities:
    """Values v with `to_masks(p, t, task) == (v >= t)` for every threshold t > 0: what lets one pass try them all."""
    if task != "multiclass":
        return probabilities
    winner = probabilities.argmax(axis=0) == np.arange(len(probabilities))[:, None, None]
    return np.asarray(np.where(winner, probabilities.sum(axis=0), np.float32(-1)))


def threshold_counts(values: Probabilities, truth: Masks) -> Int64[np.ndarray, "K T 3"]:
    """What `values >= t` marks of `truth` for every t of THRESHOLDS."""
    found = np.empty((len(truth), len(THRESHOLDS), 3), np.int64)
    for counts, bins, mask in zip(found, _bins(values), truth, strict=True):
        counts[:, 0] = _at_least(bins[mask])
        counts[:, 1] = _at_least(bins.ravel())
        counts[:, 2] = np.count_nonzero(mask)
    return found


def _tally(stack: Stack, truth: Masks, most_bytes: int) -> Tally:
    answers = np.ascontiguousarray(stack, dtype=np.float16).reshape(-1, truth[0].size)
    most = most_bytes // (2 * len(answers) + 4 + 4 * len(truth))
    for levels in LEVELS:
        cells, count = _group(_levels(answers, levels), levels)
        if count <= most:
            break
    else:
        cells, count = _unite_smallest(cells, most), most
    pixels = np.bincount(cells, minlength=count)
    means = [_sum(row, cells, count) / pixels for row in answers]
    marked = [np.bincount(cells[mask.ravel()], minlength=count) for mask in truth]
    shape = (*stack.shape[:2], count)
    return Tally(np.array(means, np.float16).reshape(shape), pixels.astype(np.uint32), np.array(marked, np.uint32))


def _levels(answers: Float16[np.ndarray, "D pixels"], levels: int) -> UInt8[np.ndarray, "D pixels"]:
    """The level of every answer; InputError for what lies outside [0, 1]."""
    found = _level_table(levels).take(answers.view(np.uint16))
    if found.max(initial=0) == _INVALID:
        raise InputError("A member's answers are not all probabilities between 0 and 1: leave that member out.")
    return np.asarray(found)


@cache
def _level_table(levels: int) -> UInt8[np.ndarray, "65536"]:
    """The level of every half-precision number by its bits: a look-up is ten times as fast as arithmetic on halves.

    Compared in float32, as `values >= t` compares: the half-precision number for 0.15 lies below 0.15.
    """
    bits: UInt16[np.ndarray, "65536"] = np.arange(2**16, dtype=np.uint16)
    values = bits.view(np.float16).astype(np.float32)
    edges = (np.arange(1, levels) / levels).astype(np.float32)
    table = np.searchsorted(edges, values, side="right").astype(np.uint8)
    return np.asarray(np.where((values >= 0) & (values <= 1), table, np.uint8(_INVALID)))


def _group(rows: UInt8[np.ndarray, "D pixels"], levels: int) -> tuple[Int64[np.ndarray, "pixels"], int]:
    """For every pixel the number of its cell, the pixels whose levels agree in every row; and how many cells."""
    cells, size = rows[0].astype(np.int64), levels
    for row in rows[1:]:
        if size * levels > _DENSE:
            cells, size = _renumber(cells, size)
        cells, size = cells * levels + row, size * levels
    return _renumber(cells, size)


def _renumber(cells: Int64[np.ndarray, "pixels"], size: int) -> tuple[Int64[np.ndarray, "pixels"], int]:
    """Cells below `size` numbered anew without gaps."""
    if size > _DENSE:
        distinct, cells = np.unique(cells, return_inverse=True)
        return np.asarray(cells), len(distinct)
    numbers = np.cumsum(np.bincount(cells, minlength=size) > 0) - 1
    return np.asarray(numbers[cells]), int(numbers[-1]) + 1


def _unite_smallest(cells: Int64[np.ndarray, "pixels"], most: int) -> Int64[np.ndarray, "pixels"]:
    """Only `most` cells: the largest as they are, all others together."""
    sizes = np.bincount(cells)
    rank = np.empty_like(sizes)
    rank[np.argsort(-sizes, kind="stable")] = np.arange(len(sizes))
    return np.asarray(np.minimum(rank, most - 1)[cells])


def _sum(
    values: Float[np.ndarray, "parts"] | Int[np.ndarray, "parts"], cells: Int64[np.ndarray, "parts"], count: int
) -> Float[np.ndarray, "cells"]:
    return np.asarray(np.bincount(cells, weights=values, minlength=count))


def _blend(
    answers: Float[np.ndarray, "M K cells"], weights: Float[np.ndarray, "V M"]
) -> Float[np.ndarray, "K V cells"]:
    """Bit for bit what `weighted_mean` makes of each weight vector: a matrix product would round otherwise."""
    blended = np.zeros((answers.shape[1], len(weights), answers.shape[2]), np.float32)
    for member, column in zip(answers, weights.astype(np.float32).T, strict=True):
        blended += column[:, None] * member[:, None, :]
    return blended


def _bins(values: Float[np.ndarray, "*axes"]) -> Int64[np.ndarray, "*axes"]:
    """How many of THRESHOLDS each float32 value reaches: `values >= t` for all of them at once, and 20 for 1."""
    return np.asarray(np.multiply(values.clip(0, 1), _SCALE, dtype=np.float64).astype(np.int64))


def _at_least(bins: Int64[np.ndarray, "n"], sizes: Float[np.ndarray, "n"] | None = None) -> Int64[np.ndarray, "T"]:
    """Pixels at or above each of THRESHOLDS, from bins of `sizes` pixels each (one, if not told)."""
    counts = np.bincount(bins, weights=sizes, minlength=LEVELS[0] + 1)
    return np.asarray(counts[::-1].cumsum()[::-1][1 : LEVELS[0]], dtype=np.int64)
