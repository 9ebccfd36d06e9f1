"""Scores of the open image against its truth: the ensemble's and every member's, kept while only weights change."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

import numpy as np

from medseg import metrics
from medseg.fitting.measure import Measure
from medseg.fitting.thresholds import decision_values, threshold_counts

if TYPE_CHECKING:
    from medseg.app.state.view_state import Shown
    from medseg.arrays import Masks
    from medseg.inference.prediction import Prediction


class Scores:
    """Scores against the truth, a row for each mask and label; the members' rows are kept while only weights change."""

    def __init__(self) -> None:
        self._kept: tuple[object, object, float, list[dict[str, object]]] | None = None

    def rows(self, shown: Shown) -> list[dict[str, object]]:
        """Ensemble first, then every member, each with its metrics per label; empty without a truth."""
        if shown.truth is None:
            return []
        return _rows("Ensemble", 1.0, shown.prediction, shown.truth) + [
            row | {"weight": _weight(shown.prediction, int(str(row["member"])), str(row["label"]))}
            for row in self._members(shown, shown.truth)
        ]

    def _members(self, shown: Shown, truth: Masks) -> list[dict[str, object]]:
        threshold, kept = shown.prediction.threshold, self._kept
        if kept and kept[0] is truth and kept[1] is shown.ensemble and kept[2] == threshold:
            return kept[3]
        rows = [
            row | {"member": index}
            for index, name in enumerate(shown.prediction.member_names)
            for row in _rows(name, 0.0, solo(shown, shown.prediction, index), truth)
        ]
        self._kept = (truth, shown.ensemble, threshold, rows)
        return rows


def _rows(name: str, weight: float, prediction: Prediction, truth: Masks) -> list[dict[str, object]]:
    return [
        {"mask": name, "weight": weight, "label": label} | metrics.score(mask, true, prediction.image.spacing_mm)
        for label, mask, true in zip(prediction.labels, prediction.masks, truth, strict=True)
    ]


def _weight(prediction: Prediction, member: int, label: str) -> float:
    weight = prediction.weights[member]
    return weight if isinstance(weight, float) else weight[prediction.labels.index(label)]


class Curves:
    """Dice at each of THRESHOLDS; the members' curves are kept while picture and truth stay."""

    def __init__(self) -> None:
        self._kept: tuple[object, object, list[np.ndarray]] | None = None

    def rows(self, shown: Shown, truth: Masks) -> list[np.ndarray]:
        """(K, thresholds) of the ensemble and then of every member, all without clean-up."""
        return [_dice(shown.prediction, truth), *self._members(shown, truth)]

    def _members(self, shown: Shown, truth: Masks) -> list[np.ndarray]:
        answers, kept = shown.prediction.members, self._kept
        if kept and kept[0] is truth and kept[1] is answers:
            return kept[2]
        curves = [_dice(solo(shown, shown.prediction, index), truth) for index in range(len(answers))]
        self._kept = (truth, answers, curves)
        return curves


def _dice(prediction: Prediction, truth: Masks) -> np.ndarray:
    values = decision_values(prediction.probabilities, prediction.ensemble.task)
    return Measure().ratio(threshold_counts(values, truth))


def solo(shown: Shown, prediction: Prediction, index: int) -> Prediction:
    """What `prediction` would be if the member `index` had all the weight."""
    return dataclasses.replace(prediction, weights=shown.ensemble.solo(index), blend="weighted mean")
