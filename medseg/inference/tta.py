"""Test-time augmentation: pairs (forward, inverse) over (..., H, W) tensors, with inverse(forward(x)) == x exactly."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal, TypeAlias

import torch

from medseg.errors import InputError

Turn: TypeAlias = Callable[[torch.Tensor], torch.Tensor]
Pair: TypeAlias = tuple[Turn, Turn]

Turns: TypeAlias = Literal["flips", "d4"]
"""flips: the image and its three mirror images; d4: these and the four with rows and columns swapped, which are all
eight ways to lay a square on itself."""

Augmentation: TypeAlias = Literal["flips", "d4", False]
"""What an answer is averaged over; False: nothing."""


def _flip(*axes: int) -> Pair:
    def turn(tensor: torch.Tensor) -> torch.Tensor:
        return tensor.flip(axes)

    return turn, turn  # a flip is its own inverse


def _swap_then_flip(*axes: int) -> Pair:
    def forward(tensor: torch.Tensor) -> torch.Tensor:
        return tensor.transpose(-1, -2).flip(axes)

    def inverse(tensor: torch.Tensor) -> torch.Tensor:
        return tensor.flip(axes).transpose(-1, -2)

    return forward, inverse


IDENTITY: tuple[Pair, ...] = (_flip(),)
FLIPS: tuple[Pair, ...] = (_flip(), _flip(-1), _flip(-2), _flip(-1, -2))
D4: tuple[Pair, ...] = (
    *FLIPS,
    _swap_then_flip(),
    _swap_then_flip(-1),
    _swap_then_flip(-2),
    _swap_then_flip(-1, -2),
)


def choose_pairs(tta: Augmentation, height: int, width: int) -> tuple[Pair, ...]:
    """The pairs of `tta` for an input grid of `height` × `width`.

    A grid that is not square does not lie on itself with rows and columns swapped: there, "d4" is the flips alone.
    """
    if not tta:
        return IDENTITY
    return D4 if tta == "d4" and height == width else FLIPS


def checked_tta(tta: bool | Turns) -> Augmentation:
    """`tta`, with True as "flips"; raises InputError for anything else than False, True, "flips" and "d4"."""
    if tta is True or tta == "flips":
        return "flips"
    if tta is False or tta == "d4":
        return tta
    raise InputError(f"tta must be False, True, 'flips' or 'd4', not {tta!r:.80}.")
