"""The bound holds for weights that were never searched, and is close."""

import numpy as np
import pytest

from medseg.fitting.certificate import CLOSE, headroom
from medseg.fitting.measure import Measure
from medseg.fitting.search import Objective, simplex
from medseg.fitting.tally import tally
from medseg.scores import Average, FitMetric


def objective(measure: Measure) -> Objective:
    """Four images of three members, each right about most of it and noisy in its own way."""
    rng = np.random.default_rng(0)
    units = []
    for _ in range(4):
        truth = rng.random((1, 30, 30)) < 0.4
        stack = truth * 0.4 + rng.random((3, 1, 30, 30)) * 0.6
        units.append(tally(stack.astype(np.float16), truth, "binary"))
    return Objective(units, range(4), "binary", measure)


@pytest.mark.parametrize("metric", ["dice", "iou"])
@pytest.mark.parametrize("average", ["per image", "pooled"])
def test_no_weights_in_a_triangle_exceed_its_ceiling(metric: FitMetric, average: Average) -> None:
    found = objective(Measure(metric, average))
    triangle = np.array([[0.6, 0.2, 0.2], [0.4, 0.4, 0.2], [0.4, 0.2, 0.4]])
    (ceiling,) = found.ceiling(triangle[None])
    inside = [tuple((np.array(part) @ triangle).tolist()) for part in simplex(3, 8)]
    assert found.without(None)(inside).max() <= ceiling + 1e-6


def test_a_triangle_that_is_a_point_has_its_score_as_ceiling() -> None:
    found = objective(Measure())
    point = (0.5, 0.3, 0.2)
    assert found.ceiling(np.array([[point] * 3])) == pytest.approx(found.without(None)([point]).max(), abs=1e-3)


@pytest.mark.parametrize("average", ["per image", "pooled"])
def test_finer_weights_than_were_searched_stay_below_the_bound(average: Average) -> None:
    found = objective(Measure("dice", average))
    scores = found.without(None)
    best = scores(list(simplex(3, 10))).max()
    bound = headroom(found, best)
    assert bound >= CLOSE
    assert scores(list(simplex(3, 40))).max() <= best + bound + 1e-6


def test_where_all_members_answer_alike_the_bound_is_close() -> None:
    truth = np.zeros((1, 8, 8), bool)
    truth[:, :3] = True
    units = [tally(np.repeat(truth[None], 3, axis=0).astype(np.float16), truth, "binary")]
    assert headroom(Objective(units, [0], "binary", Measure()), 1.0) == CLOSE


def test_a_score_far_below_the_best_has_much_headroom() -> None:
    found = objective(Measure())
    best = found.without(None)(list(simplex(3, 10))).max()
    assert headroom(found, best - 0.2) >= 0.2 - CLOSE
