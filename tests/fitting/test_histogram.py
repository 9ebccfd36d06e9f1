"""A histogram against the pixels themselves, and what it promises of itself."""

import numpy as np
import pytest

from medseg.config import Task
from medseg.errors import InputError
from medseg.fitting.histogram import LEVELS, MAX_BYTES, Histogram, add, to_histograms
from medseg.fitting.thresholds import THRESHOLDS
from medseg.inference.blend import weighted_mean
from medseg.metrics import confusion
from medseg.postprocess import to_masks

TASKS: tuple[Task, ...] = ("binary", "multilabel", "multiclass")
WEIGHTS = np.array([[1, 0, 0], [0, 0, 1], [0.5, 0.5, 0], [1 / 3, 1 / 3, 1 / 3], [0.7, 0.2, 0.1]])


def drawn(
    task: Task = "binary", members: int = 3, size: tuple[int, int] = (12, 12), values: int | None = None, seed: int = 0
) -> tuple[np.ndarray, np.ndarray]:
    """Random probabilities and truth; with `values` the probabilities take only so many, one for each level."""
    rng = np.random.default_rng(seed)
    labels = 1 if task == "binary" else 2
    stack = rng.random((members, labels, *size))
    if values is not None:
        stack = (np.floor(stack * values) + 0.5) / values
    if task == "multiclass":
        stack /= np.maximum(stack.sum(axis=1, keepdims=True), 1)
    return stack.astype(np.float16), rng.random((labels, *size)) < 0.5


def by_pixels(stack: np.ndarray, truth: np.ndarray, weights: np.ndarray, threshold: float, task: Task) -> np.ndarray:
    """(K, 3) counts as a prediction would give them."""
    masks = to_masks(weighted_mean(stack, weights), threshold, task)
    found = [confusion(mask, true) for mask, true in zip(masks, truth, strict=True)]
    return np.array([(c.tp, c.tp + c.fp, c.tp + c.fn) for c in found])


def counts(histograms: tuple[Histogram, ...], weights: np.ndarray, task: Task) -> np.ndarray:
    return np.concatenate([part.counts(weights, task) for part in histograms], axis=1)


# --- against the pixels


@pytest.mark.parametrize("task", TASKS)
def test_answers_of_one_value_a_level_are_counted_exactly(task: Task) -> None:
    stack, truth = drawn(task, values=LEVELS[0])
    if task == "multiclass":  # normalised probabilities take any value: one pixel a level, then
        stack, truth = stack[..., :2, :2], truth[:, :2, :2]
    found = counts(to_histograms(stack, truth, task), WEIGHTS, task)
    for vector, weights in enumerate(WEIGHTS):
        for t, threshold in enumerate(THRESHOLDS.tolist()):
            assert found[vector, :, t].tolist() == by_pixels(stack, truth, weights, threshold, task).tolist()


def test_a_member_alone_is_counted_exactly_whatever_it_answers() -> None:
    stack, truth = drawn(size=(40, 40))
    found = counts(to_histograms(stack, truth, "binary"), np.eye(3), "binary")
    for member in range(3):
        for t, threshold in enumerate(THRESHOLDS.tolist()):
            assert (
                found[member, :, t].tolist() == by_pixels(stack, truth, np.eye(3)[member], threshold, "binary").tolist()
            )


def test_a_blend_of_any_answers_is_counted_nearly() -> None:
    stack, truth = drawn(size=(100, 100))
    found = counts(to_histograms(stack, truth, "binary"), WEIGHTS, "binary")
    for vector, weights in enumerate(WEIGHTS):
        exact = by_pixels(stack, truth, weights, 0.5, "binary")
        assert found[vector, :, 9] == pytest.approx(exact, abs=100)  # 1 % of the pixels


def test_more_pixels_than_fit_twice_into_one_float_are_counted_exactly() -> None:
    probabilities = np.array([0.25, 0.75], np.float16).reshape(1, 1, 2)
    many = Histogram(probabilities, np.array([2**50 + 1, 2**40 + 1]), np.array([[2**30 + 1, 2**20 + 1]]))
    found = many.counts(np.ones((1, 1)), "binary")
    true = 2**30 + 2**20 + 2
    assert found[0, 0, 0].tolist() == [true, 2**50 + 2**40 + 2, true]
    assert found[0, 0, 9].tolist() == [2**20 + 1, 2**40 + 1, true]


# --- what a histogram promises


@pytest.mark.parametrize("task", TASKS)
def test_every_pixel_and_every_mark_is_in_one_cell(task: Task) -> None:
    stack, truth = drawn(task)
    histograms = to_histograms(stack, truth, task)
    assert [part.total for part in histograms] == [144] * len(histograms)
    assert np.concatenate([part.true for part in histograms]).tolist() == truth.sum(axis=(1, 2)).tolist()
    assert all((part.marked <= part.pixels).all() for part in histograms)


def test_overlapping_labels_are_tallied_alone_and_exclusive_ones_together() -> None:
    assert [len(to_histograms(*drawn(task), task)) for task in TASKS] == [1, 2, 1]
    assert to_histograms(*drawn("multiclass"), "multiclass")[0].probabilities.shape[:2] == (3, 2)


@pytest.mark.parametrize(("members", "labels"), [(1, 1), (3, 1), (8, 1), (32, 1), (3, 14), (5, 64)])
def test_an_image_of_pure_noise_takes_no_more_than_the_limit(members: int, labels: int) -> None:
    rng = np.random.default_rng(0)
    stack = rng.random((members, labels, 128, 128), np.float32).astype(np.float16)
    truth = rng.random((labels, 128, 128)) < 0.5
    for task in ("multilabel", "multiclass"):
        histograms = to_histograms(stack, truth, task)
        assert sum(part.nbytes for part in histograms) <= MAX_BYTES
        assert {part.total for part in histograms} == {128 * 128}


def test_histograms_added_are_the_histogram_of_all_pixels() -> None:
    stack, truth = drawn(values=LEVELS[0], size=(10, 12))
    whole = to_histograms(stack, truth, "binary")[0]
    parts = [to_histograms(stack[:, :, rows], truth[:, rows], "binary")[0] for rows in (slice(0, 3), slice(3, 10))]
    both = add(parts)
    assert np.array_equal(both.pixels, whole.pixels)
    assert np.array_equal(both.marked, whole.marked)
    assert np.array_equal(both.probabilities, whole.probabilities)


def test_added_histograms_answer_with_the_mean_over_all_their_pixels() -> None:
    dark, light = np.full((1, 1, 1, 3), 0.25, np.float16), np.full((1, 1, 1, 1), 0.28125, np.float16)  # one level
    both = add([to_histograms(s, np.ones(s.shape[1:], bool), "binary")[0] for s in (dark, light)])
    assert (both.pixels.tolist(), both.marked.tolist()) == ([4], [[4]])
    assert both.probabilities.ravel().tolist() == [(3 * 0.25 + 0.28125) / 4]


@pytest.mark.parametrize("value", [0.0, 0.03, 0.6, 1.0])
def test_answers_that_are_alike_everywhere_are_one_cell(value: float) -> None:
    stack, truth = np.full((2, 1, 5, 5), value, np.float16), drawn(size=(5, 5))[1]
    (found,) = to_histograms(stack, truth, "binary")
    assert (found.pixels.tolist(), found.true.tolist()) == ([25], [truth.sum()])
    assert found.probabilities.ravel().tolist() == pytest.approx([value, value], abs=1e-3)


@pytest.mark.parametrize("kind", [np.float16, np.float32, np.float64])
def test_any_kind_of_fraction_is_tallied(kind: type) -> None:
    stack, truth = drawn(values=LEVELS[0])
    assert to_histograms(stack.astype(kind), truth, "binary")[0].total == 144


@pytest.mark.parametrize("value", [np.nan, np.inf, -0.25, 1.25])
def test_what_is_no_probability_is_refused(value: float) -> None:
    stack, truth = drawn()
    stack[1, 0, 3, 3] = value
    with pytest.raises(InputError, match="not all probabilities between 0 and 1"):
        to_histograms(stack, truth, "binary")


@pytest.mark.parametrize("truth", [np.zeros((1, 12, 11), bool), np.zeros((2, 12, 12), bool), np.zeros((1, 12, 12))])
def test_a_truth_that_does_not_match_is_refused(truth: np.ndarray) -> None:
    with pytest.raises(InputError, match="Wanted probabilities"):
        to_histograms(drawn()[0], truth, "binary")
