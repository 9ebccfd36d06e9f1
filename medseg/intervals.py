"""Means and ratios with 95 % intervals, resampled by case.

Two images of one patient are not two independent observations, so whole cases are resampled: every case gets a random
weight, exponential and independent (the Bayesian bootstrap, Rubin 1981). That alone is too narrow where cases are few
and failures rare: half of all sets of 13 cases hold none of a failure that comes once in 20. So one case is added that
nobody saw: at the low end of the metric's scale for the lower limit, at its high end for the upper one. For shares of
hits that is the interval of Clopper and Pearson. `benchmarks/coverage.py` prints how often these intervals hold the
truth.

Source: Gaffke, Three test statistics for a nonparametric one-sided hypothesis on the mean of a nonnegative variable,
Mathematical Methods of Statistics 2005.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence, Sized
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import TypeAlias

import numpy as np
from jaxtyping import Float64

from medseg.errors import InputError

FEWEST_CASES = 10
"""Of fewer cases no interval is given: it would be too wide to help, or too narrow to be true."""

SHARE = (0.0, 1.0)
"""The scale of overlap metrics and shares."""

LEAST_UNSEEN = 0.25
"""By how much two contenders differ at least on the case that nobody saw."""

RESAMPLES = 2000
ALPHA = 0.05
REUSED = 0.02
"""The quantiles of cross-validated figures, for 95 %: each case has part in the choices that others are scored by, so
the cases vary less than what they stand for. Chosen on drawn data sets from 1000 on of `benchmarks/coverage.py nested`.
"""

Scale: TypeAlias = tuple[float, float]
Terms: TypeAlias = Float64[np.ndarray, "n L 2"]
"""Numerator and denominator of each image and label."""


@dataclass(frozen=True)
class Estimate:
    """A mean or pooled ratio with its 95 % interval.

    `n` values from `cases` cases went into it; `infinite` ones were left out. `mean` is nan where n is 0; `low` and
    `high` are nan for fewer than FEWEST_CASES cases. `error` is the standard error of a difference, nan for one case.
    """

    mean: float
    low: float
    high: float
    n: int
    cases: int
    infinite: int = 0
    error: float = np.nan


def mean_interval(values: Sequence[float], cases: Sequence[str], scale: Scale | None = SHARE) -> Estimate:
    """Mean of the finite `values`, one per image, with `cases` naming each one's patient or sequence.

    Every image weighs the same, so a case with more images weighs more. `scale` holds the lowest and the highest value
    possible; None for values without such limits (distances), whose interval rests on the lowest and the highest seen.
    """
    check_same_length(values, cases)
    every = np.asarray(values, dtype=np.float64)
    finite = every[np.isfinite(every)]
    if scale is None and len(finite):
        scale = float(finite.min()), float(finite.max())
    names = np.asarray(cases, dtype=str)[np.isfinite(every)]
    return replace(ratio_interval(terms_of(finite), names, scale or SHARE), infinite=len(every) - len(finite))


def difference_interval(values: Sequence[float], others: Sequence[float], cases: Sequence[str]) -> Estimate:
    """Mean of `values` minus that of `others`, pair by pair: both are of the same images, and lie in [0, 1].

    Pairs of which one is not finite are left out.
    """
    check_same_length(values, others)
    check_same_length(values, cases)
    ours, theirs = np.asarray(values, dtype=np.float64), np.asarray(others, dtype=np.float64)
    finite = np.isfinite(ours - theirs)
    estimate = ratio_difference(terms_of(ours[finite]), terms_of(theirs[finite]), np.asarray(cases, dtype=str)[finite])
    return replace(estimate, infinite=int(np.count_nonzero(~finite)))


def ratio_interval(
    terms: Terms, cases: Sequence[str] | np.ndarray, scale: Scale = SHARE, alpha: float = ALPHA
) -> Estimate:
    """The sum of numerators over the sum of denominators; of several labels, the mean of theirs.

    A label whose denominators are all 0 counts as 1: there was nothing to be wrong about.
    """
    case_of, number = _numbered(terms, cases)
    if not len(terms):
        return Estimate(np.nan, np.nan, np.nan, 0, 0)
    low = high = np.nan
    if number >= FEWEST_CASES:
        per_case, tails = _by_case(terms, case_of), (alpha / 2, 1 - alpha / 2)
        low, high = (_quantile(_resampled(per_case, end), tail) for end, tail in zip(scale, tails, strict=True))
    return Estimate(float(_mean_ratio(terms.sum(axis=0))), low, high, len(terms), number)


@dataclass(frozen=True, eq=False)
class Draws:
    """A difference in every resample, the case that nobody saw lying at its low end and at its high end; () for fewer
    than FEWEST_CASES cases."""

    estimate: Estimate
    low: Float64[np.ndarray, "R"]
    high: Float64[np.ndarray, "R"]

    def interval(self, alpha: float = ALPHA) -> tuple[float, float]:
        """The limits that the true difference lies outside with chance `alpha`; nan where there are none."""
        if not len(self.low):
            return (0.0, 0.0) if self.estimate.error == 0 and not self.estimate.mean else (np.nan, np.nan)
        return _quantile(self.low, alpha / 2), _quantile(self.high, 1 - alpha / 2)

    @property
    def p(self) -> float:
        """The least `alpha` whose interval leaves out 0, to 1 / RESAMPLES; nan where there is none."""
        if not len(self.low):
            return 1.0 if self.estimate.error == 0 and not self.estimate.mean else np.nan
        beyond = min(np.count_nonzero(self.low <= 0), np.count_nonzero(self.high >= 0))
        return float(min(1.0, 2 * (beyond + 1) / (len(self.low) + 1)))


def ratio_difference(terms: Terms, others: Terms, cases: Sequence[str] | np.ndarray, alpha: float = ALPHA) -> Estimate:
    """`ratio_interval` of `terms` minus that of `others`, which are of the same images and lie in [0, 1].

    The case that nobody saw differs as much as the one that differs most, and by LEAST_UNSEEN at least: by the whole
    scale, every difference would drown. Where nothing differs at all, both are the same, and so are both limits.
    """
    draws = difference_draws(terms, others, cases)
    low, high = draws.interval(alpha)
    return replace(draws.estimate, low=low, high=high)


def difference_draws(terms: Terms, others: Terms, cases: Sequence[str] | np.ndarray) -> Draws:
    """The difference of `ratio_difference` in every resample."""
    case_of, number = _numbered(terms, cases)
    none = np.empty(0)
    if not len(terms):
        return Draws(Estimate(np.nan, np.nan, np.nan, 0, 0), none, none)
    mean = float(_mean_ratio(terms.sum(axis=0)) - _mean_ratio(others.sum(axis=0)))
    if np.array_equal(terms, others):
        return Draws(Estimate(mean, 0.0, 0.0, len(terms), number, error=0.0), none, none)
    ours, theirs = _by_case(terms, case_of), _by_case(others, case_of)
    inner = _resampled(ours, None) - _resampled(theirs, None)
    estimate = Estimate(mean, np.nan, np.nan, len(terms), number, error=float(inner.std()) if number > 1 else np.nan)
    if number < FEWEST_CASES:
        return Draws(estimate, none, none)
    unseen = max(LEAST_UNSEEN, float(np.abs(_mean_ratio(ours) - _mean_ratio(theirs)).max()))
    weights, extra = _case_weights(number)
    share = extra / (extra + weights.sum(axis=1))
    draws = Draws(estimate, *(inner + share * (end - inner) for end in (-unseen, unseen)))
    low, high = draws.interval()
    return replace(draws, estimate=replace(estimate, low=low, high=high))


def _resampled(per_case: Float64[np.ndarray, "C L 2"], unseen: float | None) -> Float64[np.ndarray, "R"]:
    """The statistic of every resample; with one case more, as large as the mean of all, whose value is `unseen`."""
    weights, extra = _case_weights(len(per_case))
    sums = np.tensordot(weights, per_case, axes=1)
    if unseen is not None:
        size = extra[:, np.newaxis] * per_case[..., 1].mean(axis=0)
        sums += np.stack([size * unseen, size], axis=-1)
    return _mean_ratio(sums)


def terms_of(values: Float64[np.ndarray, "n"]) -> Terms:
    """One value for each image, all of which weigh the same."""
    return np.stack([values, np.ones(len(values))], axis=-1)[:, np.newaxis]


def _numbered(terms: Terms, cases: Sequence[str] | np.ndarray) -> tuple[np.ndarray, int]:
    """The number of each image's case, and how many there are."""
    check_same_length(terms, cases)
    names, case_of = np.unique(np.asarray(cases, dtype=str), return_inverse=True)
    return case_of, len(names)


def _quantile(values: Float64[np.ndarray, "R"], tail: float) -> float:
    return float(np.quantile(values, tail))


def _mean_ratio(sums: Float64[np.ndarray, "*rows L 2"]) -> Float64[np.ndarray, "*rows"]:
    part, whole = sums[..., 0], sums[..., 1]
    return np.asarray(np.where(whole > 0, part / np.where(whole > 0, whole, 1), 1.0).mean(axis=-1))


def _by_case(terms: Float64[np.ndarray, "n L 2"], case_of: np.ndarray) -> Float64[np.ndarray, "C L 2"]:
    sums = np.zeros((case_of.max() + 1, *terms.shape[1:]))
    np.add.at(sums, case_of, terms)
    return sums


@lru_cache(maxsize=16)
def _case_weights(cases: int) -> tuple[Float64[np.ndarray, "R C"], Float64[np.ndarray, "R"]]:
    """The weights of the cases in each resample, and of the case that nobody saw: the same at every call."""
    drawn = np.random.default_rng(cases).exponential(size=(RESAMPLES, cases + 1))
    return drawn[:, :-1], drawn[:, -1]


def interval_by_case(
    statistic: Callable[[np.ndarray], float], cases: Sequence[str], resamples: int = 1000, seed: int = 0
) -> tuple[float, float]:
    """95 % percentile bootstrap of a `statistic` that is no mean, a function of image indices; whole cases are drawn.

    Resamples in which it is nan are left out; (nan, nan) for fewer than FEWEST_CASES cases or where all are.
    """
    names, case_of = np.unique(np.asarray(cases, dtype=str), return_inverse=True)
    own = [np.flatnonzero(case_of == index) for index in range(len(names))]
    rng = np.random.default_rng(seed)
    drawn = (np.concatenate([own[i] for i in rng.integers(len(own), size=len(own))]) for _ in range(resamples))
    values = [value for value in map(statistic, drawn) if np.isfinite(value)] if len(names) >= FEWEST_CASES else []
    return (float(np.percentile(values, 2.5)), float(np.percentile(values, 97.5))) if values else (np.nan, np.nan)


def weights_by_case(cases: Sequence[str]) -> Float64[np.ndarray, "R n"]:
    """The weight of each image in every resample: that of its case."""
    names, case_of = np.unique(np.asarray(cases, dtype=str), return_inverse=True)
    return _case_weights(len(names))[0][:, case_of]


def check_same_length(values: Sized, cases: Sized) -> None:
    """Raises InputError unless there is one case for each value."""
    if len(values) != len(cases):
        raise InputError(f"Each value needs the name of its case: got {len(values)} values and {len(cases)} cases.")
