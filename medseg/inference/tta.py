"""Test-time augmentation: pairs (forward, inverse) over (..., H, W) arrays, with inverse(forward(x)) == x exactly."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Literal, TypeAlias

import numpy as np

from medseg.errors import InputError

Turn: TypeAlias = Callable[[np.ndarray], np.ndarray]
Pair: TypeAlias = tuple[Turn, Turn]

Turns: TypeAlias = Literal["flips", "d4"]
"""flips: the image and its three mirror images; d4: these and the four with rows and columns swapped, which are all
eight ways to lay a square on itself."""

Augmentation: TypeAlias = Literal["flips", "d4", False]
"""What probabilities are averaged over; False: nothing."""


def _flip(*axes: int) -> Pair:
    def turn(array: np.ndarray) -> np.ndarray:
        return np.flip(array, axes)

    return turn, turn  # a flip is its own inverse


def _swap_then_flip(*axes: int) -> Pair:
    def forward(array: np.ndarray) -> np.ndarray:
        return np.flip(array.swapaxes(-1, -2), axes)

    def inverse(array: np.ndarray) -> np.ndarray:
        return np.flip(array, axes).swapaxes(-1, -2)

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


def checked_tta(tta: bool | Turns, upright: Sequence[str] = ()) -> Augmentation:
    """`tta`, with True as "flips"; raises InputError for anything else than False, True, "flips" and "d4", and for all
    but False where members, named `upright`, know no mirror images."""
    if tta is True:
        tta = "flips"
    if tta is not False and tta not in ("flips", "d4"):
        raise InputError(f"tta must be False, True, 'flips' or 'd4', not {tta!r:.80}.")
    if tta and upright:
        raise InputError(f"{', '.join(upright)} learnt from images that all lie one way: leave flips (tta) out.")
    return tta
