"""Scores of the open image against its truth: the ensemble's and every member's, kept while only weights change."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

import numpy as np

from medseg import metrics
from medseg.fitting.measure import Measure
from medseg.fitting.thresholds import decision_values, threshold_counts

if TYPE_CHECKING:
    from medseg.app.state.view_state import ViewState
    from medseg.arrays import Masks, Threshold
    from medseg.inference.prediction import Prediction


class Scores:
    """Scores against the truth, a row for each mask and label; the members' rows are kept while only weights change."""

    def __init__(self) -> None:
        self._kept: tuple[object, object, Threshold, list[dict[str, object]]] | None = None

    def rows(self, view_state: ViewState) -> list[dict[str, object]]:
        """Ensemble first, then every member, each with its metrics per label; empty without a truth."""
        if view_state.truth is None:
            return []
        ensemble = _rows("Ensemble", view_state.prediction, view_state.truth)
        return ensemble + self._members(view_state, view_state.truth)

    def _members(self, view_state: ViewState, truth: Masks) -> list[dict[str, object]]:
        threshold, cached = view_state.prediction.threshold, self._kept
        if cached and cached[0] is truth and cached[1] is view_state.ensemble and cached[2] == threshold:
            return cached[3]
        rows = [
            row | {"member": index}
            for index, name in enumerate(view_state.prediction.member_names)
            for row in _rows(name, solo(view_state, view_state.prediction, index), truth)
        ]
        self._kept = (truth, view_state.ensemble, threshold, rows)
        return rows


def _rows(name: str, prediction: Prediction, truth: Masks) -> list[dict[str, object]]:
    return [
        {"mask": name, "label": label, **metrics.score(mask, true, prediction.image.spacing_mm)}
        for label, mask, true in zip(prediction.labels, prediction.masks, truth, strict=True)
    ]


class Curves:
    """Dice at each of THRESHOLDS; the members' curves are kept while image and truth stay."""

    def __init__(self) -> None:
        self._kept: tuple[object, object, list[np.ndarray]] | None = None

    def rows(self, view_state: ViewState, truth: Masks) -> list[np.ndarray]:
        """(K, thresholds) of the ensemble and then of every member, all without clean-up."""
        return [_dice(view_state.prediction, truth), *self._members(view_state, truth)]

    def _members(self, view_state: ViewState, truth: Masks) -> list[np.ndarray]:
        members, cached = view_state.prediction.members, self._kept
        if cached and cached[0] is truth and cached[1] is members:
            return cached[2]
        curves = [_dice(solo(view_state, view_state.prediction, index), truth) for index in range(len(members))]
        self._kept = (truth, members, curves)
        return curves


def _dice(prediction: Prediction, truth: Masks) -> np.ndarray:
    values = decision_values(prediction.probabilities, prediction.ensemble.task)
    return Measure().ratio(threshold_counts(values, truth))


def solo(view_state: ViewState, prediction: Prediction, index: int) -> Prediction:
    """What `prediction` would be if the member `index` had all the weight."""
    return dataclasses.replace(prediction, weights=view_state.ensemble.solo(index), blend="weighted mean")
