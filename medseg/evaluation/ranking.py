"""Several models on the same images: every two compared, and how far their order holds.

Whoever compares ten models has 45 chances to be wrong: the intervals of differences are widened by Holm's method, so
that in 95 of 100 such tables none of them leaves out the true difference on the wrong side of 0.

Source: Holm, A simple sequentially rejective multiple test procedure, 1979. Ranks over resamples: Wiesenfarth et al.,
Methods and open-source toolkit for analyzing and visualizing challenge results, Scientific Reports 2021.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations
from typing import Any

import numpy as np
from scipy import stats

from medseg.evaluation.rows import Evaluation, plain_estimate
from medseg.intervals import FEWEST_CASES, Draws, difference_draws, terms_of, weights_by_case

ALPHA = 0.05
Pair = tuple[str, str, str]
"""Two rows, and the label that they are compared on."""


def compare(scores: Evaluation, rows: Sequence[str]) -> dict[str, Any]:
    """{"protocol", "labels": {label: {"ranks": {row: …}, "tau", "pairs": {row − other: difference}}}} of the `rows`, by
    mean Dice per image; {} for fewer than two rows.

    A rank has `rank`, its 95 % range over resamples by case (`low`, `high`) and the share of resamples in which it is
    `first`; `tau` is the mean of Kendall's τ between the order in a resample and that of all images. A difference has
    `p`, corrected by Holm, beside its corrected interval.
    """
    if len(rows) < 2:
        return {}
    draws = {
        (row, other, label): difference_draws(
            terms_of(_dice(scores, row, label)), terms_of(_dice(scores, other, label)), scores.cases
        )
        for label in scores.labels
        for row, other in combinations(rows, 2)
    }
    corrected = holm(draws)
    labels = {}
    for label in scores.labels:
        pairs = {f"{row} − {other}": corrected[row, other, of] for row, other, of in draws if of == label}
        labels[label] = {**ranks(scores, rows, label), "pairs": pairs}
    protocol = (
        f"mean Dice per image, paired by image, resampled by case; {len(draws)} differences, corrected by Holm; ranks "
        "over resamples of the images that there are: they can hold in all of them where a difference, whose interval "
        "allows for failures not met, does not"
    )
    return {"protocol": protocol, "labels": labels}


def holm(draws: dict[Pair, Draws]) -> dict[Pair, dict[str, float | None]]:
    """Every difference with its interval and p, corrected for their number.

    The surest difference gets the interval of level 1 − ALPHA / m, the next of 1 − ALPHA / (m − 1), …, and from the
    first that holds 0 on all get that one's. Without intervals (fewer than FEWEST_CASES cases) there is no p either.
    """
    order = sorted(draws, key=lambda pair: (np.nan_to_num(draws[pair].p, nan=2.0), -abs(draws[pair].estimate.mean)))
    corrected: dict[Pair, dict[str, float | None]] = {}
    left, adjusted, stopped = len(order), 0.0, False
    for index, pair in enumerate(order):
        low, high = draws[pair].interval(ALPHA / left)
        adjusted = max(adjusted, min(1.0, draws[pair].p * (len(order) - index)))
        p = adjusted if len(draws[pair].low) else draws[pair].p
        corrected[pair] = plain_estimate(draws[pair].estimate, low=low, high=high, p=p)
        stopped = stopped or not (low > 0 or high < 0)
        left -= not stopped
    return corrected


def ranks(scores: Evaluation, rows: Sequence[str], label: str) -> dict[str, Any]:
    """{"ranks": {row: {rank, low, high, first}}, "tau"}: 1 is best; equals share the mean of their places."""
    dice = np.array([_dice(scores, row, label) for row in rows])
    weights = weights_by_case(scores.cases)
    means = weights @ dice.T / weights.sum(axis=1, keepdims=True)
    places = stats.rankdata(-means, axis=1)
    whole = stats.rankdata(-dice.mean(axis=1).round(12))
    enough = len({*scores.cases}) >= FEWEST_CASES
    ends = np.percentile(places, [2.5, 97.5], axis=0) if enough else np.full((2, len(rows)), np.nan)
    first = (places == places.min(axis=1, keepdims=True)).mean(axis=0)
    by_metric = {
        row: {
            "rank": float(whole[i]),
            "low": float(ends[0, i]) if enough else None,
            "high": float(ends[1, i]) if enough else None,
            "first": float(first[i]) if enough else None,
        }
        for i, row in enumerate(rows)
    }
    return {"ranks": by_metric, "tau": _tau(places, whole) if enough else None}


def _tau(places: np.ndarray, whole: np.ndarray) -> float | None:
    """The mean over resamples of Kendall's τ-a to the order over all images."""
    first, second = np.triu_indices(len(whole), 1)
    signs = np.sign(places[:, first] - places[:, second]) * np.sign(whole[first] - whole[second])
    return float(signs.mean())


def _dice(scores: Evaluation, row: str, label: str) -> np.ndarray:
    return np.array([values["dice"] for values in scores.scores[row][label]])
