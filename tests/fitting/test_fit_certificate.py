"""The bound holds for weights that were never searched, and is close."""

import numpy as np
import pytest

from benchmarks.certificate import CLOSE, ceiling, headroom
from medseg.fitting.histogram import Histogram, to_histograms
from medseg.fitting.measure import Measure
from medseg.fitting.search import Objective, Scores, simplex
from medseg.scores import Average, FitMetric


def drawn() -> list[tuple[Histogram, ...]]:
    """Four images of three members, each right about most of it and noisy in its own way."""
    rng = np.random.default_rng(0)
    units = []
    for _ in range(4):
        truth = rng.random((1, 30, 30)) < 0.4
        stack = truth * 0.4 + rng.random((3, 1, 30, 30)) * 0.6
        units.append(to_histograms(stack.astype(np.float16), truth, "binary"))
    return units


def scores_of(units: list[tuple[Histogram, ...]], measure: Measure) -> Scores:
    return Objective(units, range(len(units)), "binary", measure).without(None)


@pytest.mark.parametrize("metric", ["dice", "iou"])
@pytest.mark.parametrize("average", ["per image", "pooled"])
def test_no_weights_in_a_triangle_exceed_its_ceiling(metric: FitMetric, average: Average) -> None:
    measure = Measure(metric, average)
    triangle = np.array([[0.6, 0.2, 0.2], [0.4, 0.4, 0.2], [0.4, 0.2, 0.4]])
    (highest,) = ceiling(drawn(), measure, triangle[None])
    inside = [tuple((np.array(part) @ triangle).tolist()) for part in simplex(3, 8)]
    assert scores_of(drawn(), measure)(inside).max() <= highest + 1e-6


def test_a_triangle_that_is_a_point_has_its_score_as_ceiling() -> None:
    point = (0.5, 0.3, 0.2)
    highest = ceiling(drawn(), Measure(), np.array([[point] * 3]))
    assert highest == pytest.approx(scores_of(drawn(), Measure())([point]).max(), abs=1e-3)


@pytest.mark.parametrize("average", ["per image", "pooled"])
def test_finer_weights_than_were_searched_stay_below_the_bound(average: Average) -> None:
    measure = Measure("dice", average)
    scores = scores_of(drawn(), measure)
    best = scores(list(simplex(3, 10))).max()
    bound = headroom(drawn(), measure, best)
    assert bound >= CLOSE
    assert scores(list(simplex(3, 40))).max() <= best + bound + 1e-6


def test_where_all_members_answer_alike_the_bound_is_close() -> None:
    truth = np.zeros((1, 8, 8), bool)
    truth[:, :3] = True
    units = [to_histograms(np.repeat(truth[None], 3, axis=0).astype(np.float16), truth, "binary")]
    assert headroom(units, Measure(), 1.0) == CLOSE


def test_a_score_far_below_the_best_has_much_headroom() -> None:
    best = scores_of(drawn(), Measure())(list(simplex(3, 10))).max()
    assert headroom(drawn(), Measure(), best - 0.2) >= 0.2 - CLOSE
