"""Intervals against those that can be worked out, and against the truth that values were drawn with."""

import math

import numpy as np
import pytest
from scipy import stats

from medseg.errors import InputError
from medseg.intervals import (
    FEWEST_CASES,
    REUSED,
    difference_interval,
    interval_by_case,
    mean_interval,
    ratio_difference,
    ratio_interval,
)


def names(count: int) -> list[str]:
    return [str(number) for number in range(count)]


@pytest.mark.parametrize(("hits", "count"), [(12, 12), (0, 12), (9, 12), (47, 50), (3, 100)])
def test_the_interval_of_a_share_is_that_of_clopper_and_pearson(hits: int, count: int) -> None:
    found = mean_interval([1.0] * hits + [0.0] * (count - hits), names(count))
    exact = stats.binomtest(hits, count).proportion_ci(method="exact")
    assert (found.low, found.high) == pytest.approx((exact.low, exact.high), abs=0.015)


def test_fewer_than_ten_cases_have_no_interval() -> None:
    assert math.isnan(mean_interval([0.5] * (FEWEST_CASES - 1), names(FEWEST_CASES - 1)).low)
    assert mean_interval([0.5] * FEWEST_CASES, names(FEWEST_CASES)).low < 0.5
    one_patient = mean_interval([0.5] * 40, ["a"] * 40)
    assert (one_patient.n, one_patient.cases) == (40, 1)
    assert math.isnan(one_patient.high)
    assert math.isnan(mean_interval([], []).mean)


@pytest.mark.parametrize("failures", [0.0, 0.05, 0.2])
@pytest.mark.parametrize("cases", [10, 13, 30])
def test_nine_in_ten_intervals_and_more_hold_the_mean_of_dice_like_values(cases: int, failures: float) -> None:
    rng, true = np.random.default_rng(0), (1 - failures) * 14 / 15.6 + failures * 0.2
    held = 0
    for _ in range(200):
        values = np.where(rng.random(cases) < failures, rng.beta(1, 4, cases), rng.beta(14, 1.6, cases))
        found = mean_interval(values.tolist(), names(cases))
        held += found.low <= true <= found.high
    assert held / 200 >= 0.93


def test_infinite_distances_are_counted_and_left_out() -> None:
    found = mean_interval([1.0, math.inf, 3.0], ["a", "b", "c"], None)
    assert (found.mean, found.n, found.cases, found.infinite) == (2.0, 2, 2, 1)
    assert mean_interval([math.inf], ["a"], None).infinite == 1


def test_distances_stay_between_the_least_and_the_greatest_seen() -> None:
    found = mean_interval([float(i) for i in range(20)], names(20), None)
    assert 0 < found.low < 9.5 < found.high < 19


def test_resampling_cases_gives_wider_intervals_than_resampling_images() -> None:
    rng = np.random.default_rng(0)
    level = rng.random(40)  # 40 patients with 10 nearly equal images each
    values = (0.99 * level[:, None] + 0.01 * rng.random((40, 10))).ravel().tolist()
    by_case = mean_interval(values, [str(i // 10) for i in range(400)])
    by_image = mean_interval(values, names(400))
    assert by_case.mean == pytest.approx(by_image.mean)
    assert by_case.high - by_case.low > 2 * (by_image.high - by_image.low)


def test_an_interval_nears_the_textbook_one_for_many_independent_values() -> None:
    values = np.random.default_rng(1).beta(5, 5, size=2000)
    found = mean_interval(values.tolist(), names(2000))
    half = 1.96 * values.std() / math.sqrt(2000)
    assert (found.low, found.high) == pytest.approx((found.mean - half, found.mean + half), abs=0.002)


def test_the_same_values_give_the_same_interval_in_any_order() -> None:
    values = np.random.default_rng(0).random(12).tolist()
    assert mean_interval(values, names(12)) == mean_interval(values, names(12))
    turned = mean_interval(values[::-1], names(12)[::-1])
    assert turned.low == pytest.approx(mean_interval(values, names(12)).low)


def test_differences_are_paired_and_have_an_error() -> None:
    rng = np.random.default_rng(0)
    level = rng.random(50)
    found = difference_interval((level * 0.9 + 0.05).tolist(), (level * 0.9).tolist(), names(50))
    assert found.mean == pytest.approx(0.05)
    assert found.error == pytest.approx(0, abs=1e-9)
    assert 0 < found.low < 0.05 < found.high < 0.1  # unpaired, 0 would lie deep inside
    noisy = difference_interval((level + rng.normal(0, 0.1, 50)).tolist(), level.tolist(), names(50))
    assert noisy.error == pytest.approx(0.1 / math.sqrt(50), rel=0.3)


def test_what_does_not_differ_has_a_difference_of_exactly_0() -> None:
    values = np.random.default_rng(0).random(5).tolist()
    found = difference_interval(values, values, names(5))
    assert (found.mean, found.low, found.high, found.error) == (0, 0, 0, 0)


def test_pairs_that_are_not_finite_are_left_out_of_a_difference() -> None:
    found = difference_interval([0.5, math.nan, 0.7], [0.4, 0.1, 0.4], names(3))
    assert (found.mean, found.n, found.infinite) == (pytest.approx(0.2), 2, 1)


def test_a_label_that_nobody_marks_counts_as_right() -> None:
    terms = np.zeros((12, 2, 2))
    terms[:, 0] = (1, 2)
    assert ratio_interval(terms, names(12)).mean == 0.75


def test_values_without_cases_are_refused() -> None:
    with pytest.raises(InputError, match="got 2 values and 1 cases"):
        mean_interval([0.1, 0.2], ["a"])


def test_a_statistic_that_is_no_mean_resamples_whole_cases() -> None:
    values = np.repeat([0, 1] * 5, 3)
    cases = [str(i // 3) for i in range(30)]
    low, high = interval_by_case(lambda rows: values[rows].mean(), cases)
    assert 0.1 <= low < 0.5 < high <= 0.9
    assert np.isnan(interval_by_case(lambda rows: values[rows].mean(), ["a"] * 30)).all()
    assert np.isnan(interval_by_case(lambda rows: np.nan, cases)).all()


def test_cases_that_are_used_again_get_a_wider_interval() -> None:
    rng = np.random.default_rng(0)
    ours, theirs = (np.stack([rng.random((40, 1)), np.ones((40, 1))], axis=-1) for _ in range(2))
    for once, again in (
        (ratio_interval(ours, names(40)), ratio_interval(ours, names(40), alpha=REUSED)),
        (ratio_difference(ours, theirs, names(40)), ratio_difference(ours, theirs, names(40), REUSED)),
    ):
        assert again.low < once.low < once.high < again.high
        assert again.mean == once.mean
