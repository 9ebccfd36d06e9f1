"""What is maximised, against `medseg.metrics` and by hand."""

import numpy as np
import pytest

from medseg.fitting.measure import Measure
from medseg.metrics import Confusion, pooled_interval

COUNTS = np.array([[[1, 2, 2]], [[30, 40, 40]], [[0, 0, 0]]])  # one label: half found, three quarters, nothing to find
CASES = ["a", "b", "c"]


@pytest.mark.parametrize(
    ("measure", "value"),
    [
        (Measure("dice", "per image"), (1 / 2 + 3 / 4 + 1) / 3),
        (Measure("iou", "per image"), (1 / 3 + 3 / 5 + 1) / 3),
        (Measure("dice", "pooled"), 62 / 84),
        (Measure("iou", "pooled"), 31 / 53),
    ],
)
def test_the_four_measures_by_hand(measure: Measure, value: float) -> None:
    assert measure.mean(COUNTS) == pytest.approx(value)
    estimate = measure.estimate(COUNTS, CASES)
    assert estimate.mean == pytest.approx(value)
    assert (estimate.n, estimate.cases) == (3, 3)
    many = measure.estimate(np.repeat(COUNTS, 4, axis=0), [str(i) for i in range(12)])
    assert many.low < value < many.high


def test_labels_count_alike_however_large_they_are() -> None:
    counts = np.array([[[1, 1, 1], [0, 1000, 1000]]])
    assert Measure("dice", "pooled").mean(counts) == Measure("dice", "per image").mean(counts) == 0.5


def test_the_pooled_interval_is_that_of_the_metrics() -> None:
    rng = np.random.default_rng(0)
    both = rng.integers(50, 100, 60)
    counts = np.stack([both, both + rng.integers(0, 60, 60), both + rng.integers(0, 60, 60)], axis=-1)[:, None]
    cases = [f"case{i // 2}" for i in range(60)]
    ours = Measure("iou", "pooled").estimate(counts, cases)
    theirs = pooled_interval([Confusion(b, p - b, t - b) for ((b, p, t),) in counts.tolist()], cases, "iou")
    assert (ours.mean, ours.n, ours.cases) == pytest.approx((theirs.mean, theirs.n, theirs.cases))
    assert (ours.low, ours.high) == pytest.approx((theirs.low, theirs.high))


@pytest.mark.parametrize("average", ["per image", "pooled"])
def test_a_difference_is_paired(average: str) -> None:
    # every image half found against a quarter: however cases are weighed, the difference is the same
    half, quarter = (np.array([[[n, 4, 4]]] * 40) for n in (2, 1))
    found = Measure("dice", average).difference(half, quarter, [str(i) for i in range(40)])  # type: ignore[arg-type]
    assert (found.mean, found.high, found.error) == pytest.approx((0.25, 0.25, 0))
    assert 0.15 < found.low < 0.25  # the case that nobody saw may go the other way


@pytest.mark.parametrize("average", ["per image", "pooled"])
def test_one_case_has_no_interval(average: str) -> None:
    found = Measure("dice", average).estimate(COUNTS, ["a", "a", "a"])  # type: ignore[arg-type]
    assert np.isnan([found.low, found.high]).all()


def test_an_interval_resamples_cases_not_images() -> None:
    # ten patients, half always found and half never: images resampled alone give a narrower interval
    counts = np.array([[[4, 4, 4]]] * 50 + [[[0, 4, 4]]] * 50)
    by_case = Measure("dice", "pooled").estimate(counts, [str(i // 10) for i in range(100)])
    by_image = Measure("dice", "pooled").estimate(counts, [str(i) for i in range(100)])
    assert by_case.high - by_case.low > 2 * (by_image.high - by_image.low)
