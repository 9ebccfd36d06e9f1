"""What members are worth, in games whose shares are known by hand."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from medseg.config import EnsembleConfig, MemberReference, StackerReference
from medseg.evaluation.contributions import SIDE, Contributions, coalition_dice, every_nth, shapley

GAMES = st.integers(1, 4).flatmap(lambda members: hnp.arrays(float, (3, 2**members), elements=st.floats(-1, 1)))
TRUE = np.array([[[True, True, False, False]]])
SEER = np.array([[[1, 1, 0, 0]]], np.float16)
BLIND = np.zeros((1, 1, 4), np.float16)
CONTRARY = 1 - SEER


def settings(names: str, **fields: object) -> EnsembleConfig:
    return EnsembleConfig("x", "binary", ("blob",), tuple(MemberReference(n, "0" * 64, 1) for n in names), **fields)


def worths(stack: list[np.ndarray], weights: list[float], **fields: object) -> dict[str, dict[str, float]]:
    """{member: {column: mean}} of one image, where the baseline reaches a Dice of 0.1."""
    names = "abcdefghi"[: len(stack)]
    collected = Contributions(settings(names, **fields), weights)
    collected.add(np.stack(stack), TRUE)
    found = collected.summary(list(names), {"blob": [0.1]}, ["case"])["blob"]
    return {name: {column: value.mean for column, value in columns.items()} for name, columns in found.items()}


# --- Shapley


def test_shares_of_a_glove_game() -> None:
    """Shapley's textbook case: member 0 has a left glove, 1 and 2 a right one each, and only a pair is worth 1."""
    worth = [[float(s & 1 and s & 6) and 1.0 for s in range(8)]]
    assert shapley(np.array(worth)) == pytest.approx(np.array([[4 / 6, 1 / 6, 1 / 6]]))


@given(GAMES)
def test_shares_add_up_to_what_all_gain_over_nobody(worth: np.ndarray) -> None:
    assert shapley(worth).sum(axis=1) == pytest.approx(worth[:, -1] - worth[:, 0], abs=1e-9)


@given(hnp.arrays(float, 4, elements=st.floats(-1, 1)))
def test_a_member_that_changes_nothing_has_no_share_and_equals_share_alike(without: np.ndarray) -> None:
    idle = np.concatenate([without, without])[np.newaxis]  # member 2 adds nothing to any coalition
    assert shapley(idle)[0, 2] == pytest.approx(0, abs=1e-12)
    by_size = np.array([[without[s.bit_count()] for s in range(8)]])
    assert shapley(by_size)[0] == pytest.approx([(without[3] - without[0]) / 3] * 3, abs=1e-9)


def test_a_coalition_is_worth_the_dice_of_its_equal_weights() -> None:
    dice = coalition_dice(np.stack([SEER, BLIND, CONTRARY]), TRUE, "binary")[:, 0]
    assert math.isnan(dice[0])
    # seer, blind, both (1/2 reaches the threshold); contrary, all pixels at 1/2, contrary and blind, all at 1/3
    assert dice[1:].tolist() == [1, 0, 1, 0, 4 / 6, 0, 0]


def test_the_image_is_shared_from_the_baseline_up() -> None:
    found = worths([SEER, BLIND], [0.5, 0.5])
    # seer: (1 − 0.1) and (1 − 0); blind: (0 − 0.1) and (1 − 1)
    assert found["a"]["Shapley share"] == pytest.approx((0.9 + 1) / 2)
    assert found["b"]["Shapley share"] == pytest.approx(-0.1 / 2)


def test_labels_have_shares_of_their_own() -> None:
    two = EnsembleConfig("x", "multilabel", ("l", "r"), tuple(MemberReference(n, "0" * 64, 1) for n in "ab"))
    collected = Contributions(two, [0.5, 0.5])
    collected.add(
        np.stack([np.concatenate([SEER, BLIND]), np.concatenate([BLIND, SEER])]), np.concatenate([TRUE, TRUE])
    )
    found = collected.summary(["a", "b"], {"l": [0.0], "r": [0.0]}, ["case"])
    shares = {label: [member["Shapley share"].mean for member in found[label].values()] for label in "lr"}
    assert shares == {"l": [1, 0], "r": [0, 1]}


def test_more_than_eight_members_have_no_shares_and_are_told_so() -> None:
    assert list(worths([SEER] * 9, [1 / 9] * 9)["a"]) == ["change without it"]
    assert "at most 8 members" in Contributions(settings("abcdefghi"), [1 / 9] * 9).protocol("empty mask")


# --- leave one out


def test_leaving_out_the_seer_costs_all_and_leaving_out_the_blind_nothing() -> None:
    found = worths([SEER, BLIND], [0.6, 0.4])
    assert [found[name]["change without it"] for name in "ab"] == [-1, 0]


def test_the_other_weights_are_renormalised() -> None:
    # all: 0.4 of the weight sees; without the blind one 0.4 / 0.7 does and reaches the threshold
    found = worths([SEER, BLIND, BLIND], [0.4, 0.3, 0.3])
    assert [found[name]["change without it"] for name in "abc"] == [0, 1, 1]


def test_the_only_member_with_weight_cannot_be_left_out() -> None:
    found = worths([SEER, BLIND], [1.0, 0.0])
    assert math.isnan(found["a"]["change without it"])
    assert found["b"]["change without it"] == 0


def test_the_chosen_blend_and_threshold_are_kept() -> None:
    half = SEER / 2
    # the weighted median of 1/2, 1/2 and 1 is 1/2, under 0.6; without one half it lies between the other two
    found = worths([half, half, SEER], [1 / 3, 1 / 3, 1 / 3], blend="median", threshold=0.6)
    assert [found[name]["change without it"] for name in "abc"] == [1, 1, 0]


def test_a_stacker_is_replaced_by_the_weighted_mean() -> None:
    stacker = StackerReference("stacker", "0" * 64)
    collected = Contributions(settings("ab", blend="stacking", stacker=stacker), [0.5, 0.5])
    assert "the weighted mean by the chosen weights" in collected.protocol("empty mask")


# --- the grid


def test_every_nth_pixel_is_looked_at_so_that_no_side_exceeds_the_limit() -> None:
    stack = np.zeros((2, 1, 2 * SIDE + 1, 30), np.float16)
    truth = np.zeros((1, 2 * SIDE + 1, 30), bool)
    truth[0, ::3] = True
    answers, true = every_nth(stack, truth)
    assert answers.shape == (2, 1, 171, 10)
    assert true.all()


def test_the_truth_is_brought_to_the_working_grid() -> None:
    truth = np.zeros((1, 40, 40), bool)
    truth[:, :20] = True
    _, true = every_nth(np.zeros((1, 1, 20, 20), np.float16), truth)
    assert true.shape == (1, 20, 20)
    assert true[0].sum(axis=1).tolist() == [20] * 10 + [0] * 10
