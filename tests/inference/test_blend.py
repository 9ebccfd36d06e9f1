"""Blending stacks small enough to work out by hand, and its laws as properties."""

import hypothesis
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from medseg.errors import InputError
from medseg.inference.blend import NEAREST, blend, disagreement, normalise_weights, weighted_mean

SHAPES = hnp.array_shapes(min_dims=4, max_dims=4, max_side=4)
STACKS = SHAPES.flatmap(lambda shape: hnp.arrays(np.float16, shape, elements=st.floats(0, 1, width=16)))

AVERAGES = ("weighted mean", "geometric", "median")
WAYS = (*AVERAGES, "majority vote", "STAPLE")
BY_ANY = pytest.mark.parametrize("how", WAYS)


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
        ([[1, 1]], "one weight for each of the 2 members, got 1 × 2"),
        (5, "one weight for each of the 2 members, got a single number"),
        (["much", "little"], "Weights must be numbers"),
        ([None, 1], "must be finite"),
        ([[1], [1, 2]], "Weights must be numbers"),
        ([1, [1, 2]], "Weights must be numbers"),
        ([[1, 2], [1, 2]], "one weight for each of the 2 members, got 2 × 2"),
    ],
)
def test_weights_that_make_no_sense_are_refused(weights: list, sentence: str) -> None:
    with pytest.raises(InputError, match=sentence):
        normalise_weights(weights, 2)


def test_weights_per_label_are_divided_by_their_sum_over_the_members() -> None:
    assert normalise_weights([[1, 0], [3, 2]], 2, 2) == ((0.25, 0), (0.75, 1))


def test_weights_of_many_members_are_divided_alike_for_one_label_and_for_several() -> None:
    weights = np.random.default_rng(0).random((20, 12))
    alone = [normalise_weights(column, 12) for column in weights]
    assert np.array_equal(np.array(normalise_weights(weights.T.tolist(), 12, 20)).T, alone)


def test_a_label_that_no_member_counts_for_is_refused() -> None:
    with pytest.raises(InputError, match="All weights are 0 for one of the labels"):
        normalise_weights([[1, 0], [3, 0]], 2, 2)


# --- by hand: two members who are sure, two who are not, one label of 2 × 2 pixels

STACK = np.array([[[[0, 1], [0.25, 0.5]]], [[[0, 1], [0.75, 1]]], [[[0, 1], [0.5, 0.25]]]], np.float16)


@pytest.mark.parametrize(
    ("how", "weights", "answer"),
    [
        ("weighted mean", [1, 1, 0], [0.5, 0.75]),
        ("weighted mean", [2, 1, 1], [0.4375, 0.5625]),
        ("median", [1, 1, 1], [0.5, 0.5]),
        ("median", [1, 1, 0], [0.5, 0.75]),  # two members: halfway
        ("median", [3, 1, 1], [0.25, 0.5]),  # more than half of the weight decides
        ("median", [2, 1, 1], [0.375, 0.5]),  # exactly half: of the first's 0.25 and the next, 0.5, the mean
        ("majority vote", [1, 1, 1], [2 / 3, 2 / 3]),
        ("majority vote", [2, 1, 1], [0.5, 0.75]),
        ("majority vote", [1, 0, 0], [0, 1]),
        ("geometric", [1, 1, 0], [0.5, None]),  # logits −log 3 and log 3
        ("geometric", [1, 0, 1], [1 / (1 + 3**0.5), 1 / (1 + 3**0.5)]),
    ],
)
def test_blends_by_hand(how: str, weights: list[float], answer: list[float | None]) -> None:
    found = blend(STACK, how, weights)
    assert (found.shape, found.dtype) == ((1, 2, 2), np.float32)
    np.testing.assert_allclose(found[0, 0], [0, 1], atol=NEAREST)
    for value, wanted in zip(found[0, 1], answer, strict=True):
        assert wanted is None or value == pytest.approx(wanted, abs=1e-6)


def test_staple_is_that_of_the_masks_at_one_half() -> None:
    from medseg.inference.staple import staple

    assert np.array_equal(blend(STACK, "STAPLE", [1, 1, 1])[0], staple(STACK[:, 0] >= 0.5))


def test_the_weighted_median_of_a_large_image_is_that_of_as_many_equal_members() -> None:
    stack = np.random.default_rng(0).random((3, 1, 150, 150)).astype(np.float16)  # more pixels than are taken at once
    repeated = np.repeat(stack, [3, 1, 2], axis=0).astype(np.float32)
    assert np.array_equal(blend(stack, "median", [3, 1, 2]), np.median(repeated, axis=0))


def test_one_member_who_is_sure_has_no_veto_in_the_geometric_blend() -> None:
    assert 0.5 < blend(stack_of(0, 0.99, 0.99, 0.99), "geometric", [1, 1, 1, 1]).item() < 0.9


def test_labels_and_pixels_are_blended_each_by_itself() -> None:
    stack = np.array([[[[0, 1]], [[0.5, 0.5]]], [[[1, 1]], [[0, 1]]]], np.float16)  # 2 members, 2 labels, 1 × 2 pixels
    assert weighted_mean(stack, [1, 1]).tolist() == [[[0.5, 1]], [[0.25, 0.75]]]


def test_each_label_has_its_own_weights_where_they_are_given() -> None:
    stack = np.array([[[[0.0]], [[0.0]]], [[[1.0]], [[1.0]]]], np.float16)
    assert weighted_mean(stack, [[1, 3], [1, 1]]).ravel().tolist() == [0.5, 0.25]
    assert blend(stack, "median", [[1, 0], [0, 1]]).ravel().tolist() == [0, 1]
    assert disagreement(stack, [[1, 0], [0, 1]]).item() == 0


@BY_ANY
def test_a_member_with_weight_0_cannot_spread_nan(how: str) -> None:
    stack = stack_of(1, np.nan)
    assert blend(stack, how, [1, 0]).item() == pytest.approx(1, abs=NEAREST)
    assert disagreement(stack, [1, 0]).item() == 0


def test_stacking_is_no_blend_of_the_members_alone() -> None:
    with pytest.raises(InputError, match=r"Members blend by weighted mean, .*, STAPLE, not by 'stacking'"):
        blend(STACK, "stacking", [1, 1, 1])


# --- laws


@pytest.mark.parametrize("how", AVERAGES)
@given(case=stacks_with_weights())
def test_the_blend_lies_between_the_members(how: str, case: tuple[np.ndarray, list[float]]) -> None:
    stack, weights = case
    part = stack[np.array(weights) > 0].astype(np.float32)
    found = blend(stack, how, weights)
    slack = 1.01 * NEAREST if how == "geometric" else 1e-6
    assert (found >= part.min(axis=0) - slack).all()
    assert (found <= part.max(axis=0) + slack).all()


@BY_ANY
@given(case=stacks_with_weights(), seed=st.integers(0, 99))
def test_the_order_of_members_does_not_matter(how: str, case: tuple[np.ndarray, list[float]], seed: int) -> None:
    stack, weights = case
    order = np.random.default_rng(seed).permutation(len(stack))
    shuffled = blend(stack[order], how, [weights[i] for i in order])
    np.testing.assert_allclose(shuffled, blend(stack, how, weights), atol=1e-5)


@BY_ANY
@given(case=stacks_with_weights(), factor=st.floats(1e-3, 1e3))
def test_only_the_ratio_of_weights_matters(how: str, case: tuple[np.ndarray, list[float]], factor: float) -> None:
    stack, weights = case
    weights = [round(weight, 3) for weight in weights]
    hypothesis.assume(any(weights))
    scaled = [weight * factor for weight in weights]
    np.testing.assert_allclose(blend(stack, how, scaled), blend(stack, how, weights), atol=1e-5)


@BY_ANY
@given(case=stacks_with_weights())
def test_a_member_with_weight_0_is_left_out(how: str, case: tuple[np.ndarray, list[float]]) -> None:
    stack, weights = case
    stranger = np.random.default_rng(0).random((1, *stack.shape[1:])).astype(np.float16)
    with_it = blend(np.concatenate([stack, stranger]), how, [*weights, 0])
    assert np.array_equal(with_it, blend(stack, how, weights))


@BY_ANY
@given(case=stacks_with_weights())
def test_members_who_say_the_same_are_answered_with_it(how: str, case: tuple[np.ndarray, list[float]]) -> None:
    stack, weights = case
    same = np.repeat(stack[:1], len(stack), axis=0)
    said = stack[0] if how in AVERAGES else stack[0] >= 0.5
    np.testing.assert_allclose(blend(same, how, weights), said, atol=1.01 * NEAREST)


@BY_ANY
@given(case=stacks_with_weights())
def test_one_weight_is_that_weight_for_every_label(how: str, case: tuple[np.ndarray, list[float]]) -> None:
    stack, weights = case
    each = [[weight] * stack.shape[1] for weight in weights]
    np.testing.assert_allclose(blend(stack, how, each), blend(stack, how, weights), atol=1e-6)


# --- exclusive labels


@BY_ANY
@given(case=stacks_with_weights(), seed=st.integers(0, 99))
def test_multiclass_stays_a_part_of_1(how: str, case: tuple[np.ndarray, list[float]], seed: int) -> None:
    stack, _ = case
    stack = (stack / np.maximum(stack.astype(np.float32).sum(axis=1, keepdims=True), 1)).astype(np.float16)
    weights = np.random.default_rng(seed).random(stack.shape[:2])  # per label, the harder case
    found = blend(stack, how, weights.tolist(), "multiclass")
    assert (found >= 0).all()
    assert (found.sum(axis=0) <= 1 + 1e-5).all()


def test_the_geometric_blend_of_exclusive_labels_by_hand() -> None:
    """(0.5, 0.25, background 0.25) and (0.25, 0.5, 0.25): geometric means 0.354, 0.354, 0.25, divided by their sum."""
    stack = np.array([[0.5, 0.25], [0.25, 0.5]], np.float16).reshape(2, 2, 1, 1)
    mean = 0.125**0.5
    wanted = mean / (2 * mean + 0.25)
    np.testing.assert_allclose(blend(stack, "geometric", [1, 1], "multiclass").ravel(), [wanted, wanted], atol=1e-6)


def test_an_exclusive_label_gets_the_votes_of_the_members_whose_mask_it_is() -> None:
    """The second member's labels make foreground together, and the first of them is the more probable."""
    stack = np.array([[0.0, 0.625], [0.375, 0.25], [0.25, 0.125]], np.float16).reshape(3, 2, 1, 1)
    found = blend(stack, "majority vote", [1, 2, 1], "multiclass")
    assert found.ravel().tolist() == [0.5, 0.25]


# --- disagreement


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
