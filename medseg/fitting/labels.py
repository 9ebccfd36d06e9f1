"""Weights and thresholds of their own for each of several labels that are decided alone."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from jaxtyping import Float64

from medseg.config import Task
from medseg.fitting.measure import Measure
from medseg.fitting.observations import Observations
from medseg.fitting.search import At, Objective, Vector, grid, middlemost, most_equal, scores_alone, sound_members
from medseg.fitting.thresholds import HALF

PerLabel: TypeAlias = tuple[tuple[Vector, ...], At]
"""For each member its weight for each label, and the labels' thresholds."""

NOT_APART = (
    "Weights per label need a multilabel task with two labels or more, each decided alone: choose fitted, equal or "
    "single."
)


def are_apart(task: Task, labels: int) -> bool:
    """Whether there are several labels, each decided alone: only these can have weights of their own."""
    return task == "multilabel" and labels > 1


def choose_per_label(
    observations: Observations, fold_of: Sequence[int], measure: Measure
) -> dict[int | None, tuple[PerLabel, PerLabel]]:
    """What is best on all images (None), and on all but those of each fold; one fold is never left out.

    First with each label's best threshold; then with 0.5. Among equal scores win the threshold nearest to 0.5 and the
    weights nearest to equal. A member that alone is no better at a label than the baseline gets weight 0 for it.
    """
    rounds = [None, *range(max(fold_of) + 1)] if max(fold_of) else [None]
    choices: dict[int | None, list[_Tried]] = {left_out: [] for left_out in rounds}
    for index in range(len(observations.histograms[0])):  # one objective at a time: it keeps what every vector scored
        label = observations.label(index)
        objective = label.objective(fold_of, measure)
        for left_out in rounds:
            images = [i for i, fold in enumerate(fold_of) if fold != left_out]
            choices[left_out].append(_try(objective, left_out, label.baseline(images, measure), label.members))
    return {
        left_out: (
            _together(tried, [middlemost(each.table.max(axis=0)) for each in tried]),
            _together(tried, [HALF] * len(tried)),
        )
        for left_out, tried in choices.items()
    }


@dataclass(frozen=True)
class _Tried:
    """One label's scores for weight vectors over the members that are sound for it."""

    sound: list[int]
    vectors: list[Vector]
    table: Float64[np.ndarray, "V T"]


def _try(objective: Objective, left_out: int | None, baseline: float, members: int) -> _Tried:
    scores = objective.without(left_out)
    sound = sound_members(scores_alone(scores, members), baseline)
    vectors = grid(sound, members)
    return _Tried(sound, vectors, scores(vectors).round(6))


def _together(labels: Sequence[_Tried], at: Sequence[int]) -> PerLabel:
    best = [
        each.vectors[most_equal(each.table[:, threshold], each.vectors, each.sound)]
        for each, threshold in zip(labels, at, strict=True)
    ]
    return tuple(zip(*best, strict=True)), tuple(at)


def mixed(free: PerLabel, half: PerLabel, leaving: Collection[int]) -> PerLabel:
    """`half` with the weights and thresholds of `free` for the labels `leaving`."""
    pairs = ((np.array(free[part]), np.array(half[part])) for part in (0, 1))
    weights, at = (np.where(np.isin(np.arange(ours.shape[-1]), [*leaving]), ours, theirs) for ours, theirs in pairs)
    return tuple(map(tuple, weights.tolist())), tuple(at.tolist())
