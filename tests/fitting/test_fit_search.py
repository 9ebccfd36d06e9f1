"""The three searches on objectives whose best point is known, and the objective against the pixels."""

import math
from collections.abc import Callable, Sequence

import numpy as np
import pytest

from medseg.fitting.histogram import add, to_histograms
from medseg.fitting.measure import Measure
from medseg.fitting.search import (
    MAX_SEARCHED,
    STEPS,
    Objective,
    Vector,
    choose,
    describe,
    equal,
    grid_steps,
    search,
    simplex,
    subsets,
)
from medseg.fitting.thresholds import THRESHOLDS
from medseg.inference.blend import weighted_mean
from medseg.metrics import confusion
from medseg.scores import FitMethod

METHODS: tuple[FitMethod, ...] = ("grid", "greedy", "local")
HALF = 9  # THRESHOLDS[9] is 0.5


def objective(value: Callable[[Vector], float]) -> Callable[[Sequence[Vector]], np.ndarray]:
    """Scores that do not depend on the threshold."""
    return lambda vectors: np.array([[value(vector)] * len(THRESHOLDS) for vector in vectors])


def hill(*top: float) -> Callable[[Sequence[Vector]], np.ndarray]:
    """1 at the weights `top`, less with the square of the distance."""
    return objective(lambda vector: 1 - sum((a - b) ** 2 for a, b in zip(vector, top, strict=True)))


# --- the methods


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("top", [(1, 0, 0), (0.5, 0.5, 0), (0.2, 0.3, 0.5), (0.1, 0.9, 0)])
def test_every_method_finds_the_top_of_a_hill(method: FitMethod, top: Vector) -> None:
    scores = hill(*top)
    found, _ = search(method, scores, (0, 1, 2), 3)
    assert scores([found]).max() == pytest.approx(1, abs=2e-3)
    assert sum(found) == pytest.approx(1)


@pytest.mark.parametrize("method", METHODS)
def test_members_that_are_not_sound_get_nothing(method: FitMethod) -> None:
    found, _ = search(method, hill(0, 0.5, 0.5, 0), (0, 2), 4)
    assert (found[1], found[3]) == (0, 0)


@pytest.mark.parametrize("method", METHODS)
def test_where_all_weights_are_alike_every_method_stays_with_equal_ones(method: FitMethod) -> None:
    assert search(method, objective(lambda vector: 0.5), (0, 1, 2), 3)[0] == (1 / 3, 1 / 3, 1 / 3)


@pytest.mark.parametrize("method", METHODS)
def test_a_single_member_has_all_the_weight(method: FitMethod) -> None:
    assert search(method, hill(1), (0,), 1)[0] == (1,)


def test_greedy_selection_takes_first_the_best_and_then_what_completes_it() -> None:
    # alone 0.5, 0.4 and 0; the first and the third together 1
    alone = {(1, 0, 0): 0.5, (0, 1, 0): 0.4, (0.5, 0, 0.5): 1.0}
    found, _ = search("greedy", objective(lambda vector: alone.get(vector, 0)), (0, 1, 2), 3)
    assert found == (0.5, 0, 0.5)


def test_greedy_selection_may_take_a_member_again() -> None:
    found, _ = search("greedy", hill(0.75, 0.25), (0, 1), 2)
    assert found == (0.75, 0.25)


def test_local_search_reaches_weights_between_those_of_the_grid() -> None:
    found, _ = search("local", hill(0.53125, 0.46875), (0, 1), 2)
    assert found == pytest.approx((0.53125, 0.46875), abs=1 / 64)
    assert hill(0.53125, 0.46875)([found]).max() > hill(0.53125, 0.46875)([(0.5, 0.5)]).max()


def test_of_equally_good_thresholds_the_one_nearest_to_one_half_is_taken() -> None:
    assert choose(objective(lambda vector: 1), [(1.0,)]) == ((1.0,), HALF)


def test_weights_of_a_better_threshold_win() -> None:
    table = np.zeros((2, len(THRESHOLDS)))
    table[0, 3], table[1, 5] = 0.7, 0.8
    assert choose(lambda vectors: table, [(1.0, 0.0), (0.0, 1.0)]) == ((0.0, 1.0), 5)


def test_the_grid_over_the_simplex_is_complete() -> None:
    weights = list(simplex(3, 10))
    assert len(weights) == len(set(weights)) == 66
    assert all(sum(w) == pytest.approx(1) and min(w) >= 0 for w in weights)


def test_subsets_have_equal_weights_the_largest_first() -> None:
    assert subsets([0, 2], 3) == [(0.5, 0.0, 0.5), (1.0, 0.0, 0.0), (0.0, 0.0, 1.0)]


@pytest.mark.parametrize("members", range(1, 33))
def test_many_members_are_searched_in_wider_steps(members: int) -> None:
    steps = grid_steps(members)
    assert 1 <= steps <= STEPS
    assert math.comb(steps + members - 1, members - 1) <= MAX_SEARCHED
    assert f"steps of 1/{steps}" in describe("grid", members, 60)
    assert "over every subset" in describe("grid", 3, 59)


# --- the objective


def drawn_images(count: int = 6) -> list[tuple[np.ndarray, np.ndarray]]:
    """Answers of one value a level, so that histograms are exact; images of different sizes."""
    rng = np.random.default_rng(0)
    sizes = [(10 + 3 * i, 12) for i in range(count)]
    stacks = [((rng.integers(0, 20, (2, 1, *size)) + 0.5) / 20).astype(np.float16) for size in sizes]
    return [(stack, rng.random((1, *stack.shape[2:])) < stack.mean(axis=0)) for stack in stacks]


def by_pixels(images: Sequence[tuple[np.ndarray, np.ndarray]], weights: Vector, threshold: float) -> list[tuple]:
    found = [confusion((weighted_mean(stack, weights) >= threshold)[0], truth[0]) for stack, truth in images]
    return [(c.tp, c.tp + c.fp, c.tp + c.fn) for c in found]


def dice(both: int, predicted: int, true: int) -> float:
    return 2 * both / (predicted + true)


def test_a_per_image_objective_is_the_mean_over_the_images_of_the_other_folds() -> None:
    images = drawn_images()
    units = [to_histograms(*image, "binary") for image in images]
    scores = Objective(units, [0, 1, 2, 0, 1, 2], "binary", Measure("dice", "per image"))
    vectors = [(0.5, 0.5), (0.3, 0.7), (1.0, 0.0)]
    for fold, kept in ((None, images), (1, [images[i] for i in (0, 2, 3, 5)])):
        table = scores.without(fold)(vectors)
        for found, vector in zip(table, vectors, strict=True):
            each = [[dice(*counts) for counts in by_pixels(kept, vector, t)] for t in THRESHOLDS.tolist()]
            assert found == pytest.approx(np.mean(each, axis=1))


def test_a_pooled_objective_is_the_ratio_over_the_pixels_of_the_other_folds() -> None:
    images = drawn_images()
    units = [[add([to_histograms(*images[i], "binary")[0] for i in (fold, fold + 3)])] for fold in range(3)]
    scores = Objective(units, range(3), "binary", Measure("dice", "pooled"))
    for fold, kept in ((None, images), (1, [images[i] for i in (0, 2, 3, 5)])):
        (found,) = scores.without(fold)([(0.3, 0.7)])
        sums = [np.sum(by_pixels(kept, (0.3, 0.7), t), axis=0) for t in THRESHOLDS.tolist()]
        assert found == pytest.approx([dice(*counts) for counts in sums])


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("average", ["per image", "pooled"])
def test_no_method_falls_behind_the_grid_by_much(method: FitMethod, average: str) -> None:
    images = drawn_images()
    units = [to_histograms(*image, "binary") for image in images]
    scores = Objective(units, range(6), "binary", Measure("iou", average)).without(None)  # type: ignore[arg-type]
    best = scores(list(simplex(2, 10))).max()
    found, threshold = search(method, scores, (0, 1), 2)
    assert scores([found])[0, threshold] >= best - 2e-3


def test_equal_weights_are_shared_by_the_chosen() -> None:
    assert equal((0, 2), 3) == (0.5, 0, 0.5)
