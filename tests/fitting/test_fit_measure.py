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
    assert estimate.low < value < estimate.high


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
    assert (ours.low, ours.high) == pytest.approx((theirs.low, theirs.high), abs=0.003)  # other draws


@pytest.mark.parametrize("average", ["per image", "pooled"])
def test_a_difference_is_paired(average: str) -> None:
    # every image half found against a quarter: however cases are drawn, the difference is the same
    half, quarter = (np.array([[[n, 4, 4]]] * 5) for n in (2, 1))
    found = Measure("dice", average).difference(half, quarter, list("abcde"))  # type: ignore[arg-type]
    assert (found.mean, found.low, found.high) == pytest.approx((0.25, 0.25, 0.25))


@pytest.mark.parametrize("average", ["per image", "pooled"])
def test_one_case_has_no_interval(average: str) -> None:
    found = Measure("dice", average).estimate(COUNTS, ["a", "a", "a"])  # type: ignore[arg-type]
    assert np.isnan([found.low, found.high]).all()


def test_an_interval_resamples_cases_not_images() -> None:
    # two patients, one always found and one never: images resampled alone would give a narrower interval
    counts = np.array([[[4, 4, 4]]] * 10 + [[[0, 4, 4]]] * 10)
    found = Measure("dice", "pooled").estimate(counts, ["a"] * 10 + ["b"] * 10)
    assert (found.low, found.high) == (0, 1)
