"""Each turn of test-time augmentation is undone exactly by its inverse."""

import pytest
import torch

from medseg.tta import FLIPS, IDENTITY, Pair

TENSOR = torch.arange(2 * 3 * 4).view(2, 3, 4)


@pytest.mark.parametrize("pair", FLIPS + IDENTITY)
def test_the_inverse_undoes_the_turn(pair: Pair) -> None:
    forward, inverse = pair
    assert torch.equal(inverse(forward(TENSOR)), TENSOR)


def test_the_four_flips_differ() -> None:
    assert len({tuple(forward(TENSOR).flatten().tolist()) for forward, _ in FLIPS}) == 4


def test_identity_changes_nothing() -> None:
    assert [torch.equal(forward(TENSOR), TENSOR) for forward, _ in IDENTITY] == [True]


def test_a_flip_moves_rows_and_columns_only() -> None:
    both = FLIPS[3][0](TENSOR)
    assert torch.equal(both[0], torch.arange(12).flip(0).view(3, 4))
