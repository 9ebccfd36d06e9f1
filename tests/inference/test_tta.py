"""Each turn of test-time augmentation is undone exactly by its inverse."""

import numpy as np
import pytest

from medseg.errors import InputError
from medseg.inference.tta import D4, FLIPS, IDENTITY, Pair, checked_tta, choose_pairs

ARRAY = np.arange(2 * 3 * 4).reshape(2, 3, 4)
SQUARE = np.arange(9).reshape(1, 3, 3)


@pytest.mark.parametrize("pair", D4 + IDENTITY)
@pytest.mark.parametrize("array", [ARRAY, SQUARE])
def test_the_inverse_undoes_the_turn(pair: Pair, array: np.ndarray) -> None:
    forward, inverse = pair
    assert np.array_equal(inverse(forward(array)), array)


@pytest.mark.parametrize("pairs", [FLIPS, D4])
def test_the_turns_differ(pairs: tuple[Pair, ...]) -> None:
    assert len({tuple(forward(SQUARE).flatten().tolist()) for forward, _ in pairs}) == len(pairs)


def test_d4_is_what_a_quarter_turn_and_a_mirror_generate() -> None:
    generated = {
        tuple(np.rot90(start, quarter, (-2, -1)).flatten().tolist())
        for start in (SQUARE, np.flip(SQUARE, -1))
        for quarter in range(4)
    }
    assert {tuple(forward(SQUARE).flatten().tolist()) for forward, _ in D4} == generated


def test_identity_changes_nothing() -> None:
    assert [np.array_equal(forward(ARRAY), ARRAY) for forward, _ in IDENTITY] == [True]


def test_a_flip_moves_rows_and_columns_only() -> None:
    both = FLIPS[3][0](ARRAY)
    assert np.array_equal(both[0], np.flip(np.arange(12)).reshape(3, 4))


@pytest.mark.parametrize(
    ("tta", "width", "pairs"),
    [(False, 64, IDENTITY), ("flips", 64, FLIPS), ("d4", 64, D4), ("d4", 96, FLIPS), ("flips", 96, FLIPS)],
)
def test_rows_and_columns_are_swapped_on_square_grids_only(tta: object, width: int, pairs: tuple[Pair, ...]) -> None:
    assert choose_pairs(tta, 64, width) == pairs


def test_true_means_flips() -> None:
    assert [checked_tta(tta) for tta in (True, "flips", "d4", False)] == ["flips", "flips", "d4", False]


@pytest.mark.parametrize("tta", [True, "flips", "d4"])
def test_members_that_know_no_mirror_images_are_averaged_over_none(tta: object) -> None:
    assert checked_tta(False, ["a", "b"]) is False
    with pytest.raises(InputError, match=r"^a, b learnt from images that all lie one way"):
        checked_tta(tta, ["a", "b"])


@pytest.mark.parametrize("tta", ["D4", "", 1, 0, None, 8])
def test_any_other_augmentation_is_refused(tta: object) -> None:
    with pytest.raises(InputError, match="tta must be False, True, 'flips' or 'd4', not"):
        checked_tta(tta)
