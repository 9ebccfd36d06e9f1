"""Which masks to look at: what is left if the least trusted are taken out, beside an oracle and chance.

Source: Geifman and El-Yaniv, Selective classification for deep neural networks, NeurIPS 2017 (risk and coverage); the
area under the curve: Geifman et al., Bias-reduced uncertainty estimation for deep neural classifiers, ICLR 2019.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from jaxtyping import Float64

from medseg.calibration.calibrate import judge
from medseg.calibration.judgement import calibration_of, is_calibrated
from medseg.calibration.trust import agreement
from medseg.evaluation.rows import Evaluation, plain_estimate
from medseg.fitting.observations import thin
from medseg.inference.ensemble import Ensemble
from medseg.inference.prediction import Prediction
from medseg.intervals import interval_by_case, mean_interval

LOOKED_AT = (0.0, 0.05, 0.1, 0.2, 0.3, 0.5)
"""Shares of the images, the least trusted first."""

POINTS = 50
"""Of the curve that a report keeps."""


class Believed:
    """Collects how far to believe each prediction: the predicted Dice where the calibration holds, else how far the
    members with weight agree; nothing where a single member has weight."""

    def __init__(self, ensemble: Ensemble) -> None:
        self._calibration = calibration_of(ensemble)
        self._trust: list[float] = []
        self._score = ""

    def add(self, prediction: Prediction) -> None:
        """Take in one prediction, in the order of the images."""
        calibration = self._calibration
        voting = [index for index, weight in enumerate(prediction.weights) if np.any(weight)]
        if calibration is not None and calibration.trust and is_calibrated(calibration, prediction):
            self._score = f"the predicted Dice, calibrated on {calibration.trust_data or calibration.data}"
            self._trust.append(judge(calibration, prediction).dice)
        elif len(voting) > 1:
            self._score = "the agreement of the members (mean Dice of every two)"
            self._trust.append(agreement(thin(prediction.members[voting]), prediction.ensemble.task))

    def summary(self, scores: Evaluation, row: str) -> dict[str, Any] | None:
        """`summarise` of the `row`, its Dice the mean over labels; None where nothing says whom to believe."""
        if len(self._trust) != len(scores.cases):
            return None
        dice = np.mean([[values["dice"] for values in scores.scores[row][label]] for label in scores.labels], axis=0)
        return summarise(dice.tolist(), self._trust, scores.cases, self._score)


def summarise(dice: Sequence[float], trust: Sequence[float], cases: Sequence[str], score: str) -> dict[str, Any]:
    """{"score", "aurc", "oracle", "random", "left": {share: estimate}, "curve": [(coverage, risk)], "oracle_curve"}.

    The risk is 1 − Dice, the mean over the images kept; AURC is its mean over all coverages, lower is better. `oracle`
    orders by the Dice itself, `random` keeps any. `left` is the mean Dice of what is left when that share, the least
    trusted by `trust`, is looked at. `score` says what `trust` is.
    """
    values, order_by = np.asarray(dice, np.float64), np.asarray(trust, np.float64)

    def area(chosen: np.ndarray) -> float:
        return float(risks(values[chosen], order_by[chosen]).mean())

    def best(chosen: np.ndarray) -> float:
        return float(risks(values[chosen], values[chosen]).mean())

    every = np.arange(len(values))
    low, high = interval_by_case(area, cases)
    oracle_low, oracle_high = interval_by_case(best, cases)
    whole = mean_interval((1 - values).tolist(), cases)
    numbers = {"n": len(values), "cases": len({*cases})}
    return {
        "score": score,
        "aurc": _plain(area(every), low, high) | numbers,
        "oracle": _plain(best(every), oracle_low, oracle_high) | numbers,
        "random": plain_estimate(whole),
        "left": {f"{share:.0%}": plain_estimate(_left(values, order_by, cases, share)) for share in LOOKED_AT},
        "curve": _curve(values, order_by),
        "oracle_curve": _curve(values, values),
    }


def risks(dice: Float64[np.ndarray, "n"], trust: Float64[np.ndarray, "n"]) -> Float64[np.ndarray, "n"]:
    """The mean of 1 − Dice over the k most trusted images, for k = 1 to n; equally trusted ones come in any order, so
    each counts as their mean."""
    _, group = np.unique(-trust, return_inverse=True)
    means = np.bincount(group, 1 - dice) / np.bincount(group)
    return np.asarray(np.cumsum(means[np.sort(group)]) / np.arange(1, len(dice) + 1))


def _left(values: np.ndarray, trust: np.ndarray, cases: Sequence[str], share: float) -> Any:
    """Of equally trusted images those that come first in the data set are looked at."""
    left = np.sort(np.argsort(trust, kind="stable")[round(share * len(values)) :])
    return mean_interval(values[left].tolist(), [cases[i] for i in left])


def _curve(values: np.ndarray, trust: np.ndarray) -> list[tuple[float, float]]:
    every = risks(values, trust)
    places = np.unique(np.linspace(0, len(values) - 1, min(POINTS, len(values))).round().astype(int))
    return [(round((place + 1) / len(values), 4), round(float(every[place]), 5)) for place in places]


def _plain(mean: float, low: float, high: float) -> dict[str, float | None]:
    return {"mean": mean, "low": low if np.isfinite(low) else None, "high": high if np.isfinite(high) else None}
