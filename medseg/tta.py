"""Test-time augmentation: pairs (forward, inverse) over (..., H, W) tensors, with inverse(forward(x)) == x exactly."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

import torch

Turn: TypeAlias = Callable[[torch.Tensor], torch.Tensor]
Pair: TypeAlias = tuple[Turn, Turn]


def _flip(*axes: int) -> Pair:
    def turn(tensor: torch.Tensor) -> torch.Tensor:
        return tensor.flip(axes)

    return turn, turn  # a flip is its own inverse


IDENTITY: tuple[Pair, ...] = (_flip(),)
FLIPS: tuple[Pair, ...] = (_flip(), _flip(-1), _flip(-2), _flip(-1, -2))
