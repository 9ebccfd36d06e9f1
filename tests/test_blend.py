"""Blending stacks small enough to work out by hand, and its laws as properties."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from medseg.blend import disagreement, normalise_weights, weighted_mean
from medseg.errors import InputError

SHAPES = hnp.array_shapes(min_dims=4, max_dims=4, max_side=4)
STACKS = SHAPES.flatmap(lambda shape: hnp.arrays(np.float16, shape, elements=st.floats(0, 1, width=16)))


@st.composite
def stacks_with_weights(draw: st.DrawFn) -> tuple[np.ndarray, list[float]]:
    stack = draw(STACKS)
    weights = draw(st.lists(st.floats(0, 100), min_size=len(stack), max_size=len(stack)).filter(any))
    return stack, weights


def stack_of(*values: float) -> np.ndarray:
    """One member per value, which it says at the one pixel of one label."""
    return np.array(values, np.float16).reshape(-1, 1, 1, 1)


def test_weights_are_divided_by_their_sum() -> None:
    assert normalise_weights([1, 3], 2) == (0.25, 0.75)


@pytest.mark.parametrize("weights", [[1e308, 1e308], [5e-324, 5e-324]])
def test_extreme_weights_neither_overflow_nor_vanish(weights: list[float]) -> None:
    assert normalise_weights(weights, 2) == (0.5, 0.5)


@pytest.mark.parametrize(
    ("weights", "sentence"),
    [
        ([0, 0], "All weights are 0"),
        ([-0.1, 1], "0 or more, got -0.1, 1"),
        ([float("nan"), 1], "must be finite"),
        ([float("inf"), 1], "must be finite"),
        ([1], "one weight for each of the 2 members, got 1"),
        ([1, 1, 1], "got 3"),
        ([], "got 0"),
        ([[1, 1]], "one weight for each"),
        (["much", "little"], "flat list of numbers"),
        ([None, 1], "must be finite"),
        ([[1], [1, 2]], "flat list of numbers"),
    ],
)
def test_weights_that_make_no_sense_are_refused(weights: list, sentence: str) -> None:
    with pytest.raises(InputError, match=sentence):
        normalise_weights(weights, 2)


def test_weighted_mean_by_hand() -> None:
    assert weighted_mean(stack_of(0, 1), [1, 3]).item() == 0.75


def test_labels_and_pixels_are_blended_each_by_itself() -> None:
    stack = np.array([[[[0, 1]], [[0.5, 0.5]]], [[[1, 1]], [[0, 1]]]], np.float16)  # 2 members, 2 labels, 1 × 2 pixels
    assert weighted_mean(stack, [1, 1]).tolist() == [[[0.5, 1]], [[0.25, 0.75]]]


def test_a_member_with_weight_0_cannot_spread_nan() -> None:
    stack = stack_of(0.5, np.nan)
    assert weighted_mean(stack, [1, 0]).item() == 0.5
    assert disagreement(stack, [1, 0]).item() == 0


@given(stacks_with_weights())
def test_the_mean_lies_between_the_members(case: tuple[np.ndarray, list[float]]) -> None:
    stack, weights = case
    mean = weighted_mean(stack, weights)
    assert (mean >= stack.min(axis=0).astype(np.float32) - 1e-6).all()
    assert (mean <= stack.max(axis=0).astype(np.float32) + 1e-6).all()


@given(stacks_with_weights(), st.integers(0, 99))
def test_the_order_of_members_does_not_matter(case: tuple[np.ndarray, list[float]], seed: int) -> None:
    stack, weights = case
    order = np.random.default_rng(seed).permutation(len(stack))
    shuffled = weighted_mean(stack[order], [weights[i] for i in order])
    np.testing.assert_allclose(shuffled, weighted_mean(stack, weights), atol=1e-6)


@given(stacks_with_weights(), st.floats(1e-3, 1e3))
def test_only_the_ratio_of_weights_matters(case: tuple[np.ndarray, list[float]], factor: float) -> None:
    stack, weights = case
    scaled = [weight * factor for weight in weights]
    np.testing.assert_allclose(weighted_mean(stack, scaled), weighted_mean(stack, weights), atol=1e-6)


@given(stacks_with_weights())
def test_disagreement_lies_between_0_and_1(case: tuple[np.ndarray, list[float]]) -> None:
    found = disagreement(*case)
    assert found.shape == case[0].shape[2:]
    assert ((found >= 0) & (found <= 1)).all()


def test_members_that_say_the_same_do_not_disagree() -> None:
    assert disagreement(stack_of(0.25, 0.25, 0.25), [1, 2, 3]).item() == 0


def test_half_for_and_half_against_is_disagreement_1() -> None:
    assert disagreement(stack_of(0, 1), [1, 1]).item() == 1
    assert disagreement(stack_of(0, 0, 1), [1, 1, 2]).item() == 1


def test_a_member_with_weight_0_has_no_say_in_the_disagreement() -> None:
    assert disagreement(stack_of(0.5, 0.5, 1), [1, 1, 0]).item() == 0


def test_disagreement_is_that_of_the_label_most_disputed() -> None:
    stack = np.array([[[[0]], [[0.5]]], [[[1]], [[0.5]]]], np.float16)
    assert disagreement(stack, [1, 1]).item() == 1
