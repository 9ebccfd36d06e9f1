"""The ways to combine a stack of members, and how far the members are apart."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float32

from medseg.arrays import Probabilities, Stack
from medseg.errors import InputError


def normalise_weights(weights: Sequence[float], members: int) -> tuple[float, ...]:
    """`weights` divided by their sum: the only place where that is done.

    Raises InputError unless there is one finite weight >= 0 for each of the `members` and one of them is above 0.
    """
    try:
        values = np.asarray(weights, dtype=np.float64)
    except (TypeError, ValueError):
        raise InputError("Weights must be a flat list of numbers.") from None
    if values.shape != (members,):
        raise InputError(f"Wanted one weight for each of the {members} members, got {values.size}.")
    if not np.isfinite(values).all() or (values < 0).any():
        raise InputError(f"Weights must be finite numbers of 0 or more, got {', '.join(f'{w:g}' for w in values)}.")
    if not values.any():
        raise InputError("All weights are 0: raise at least one slider above 0.")
    scaled = values / values.max()  # first, or the sum of huge weights overflows and of tiny ones vanishes
    return tuple(float(w) for w in scaled / scaled.sum())


def weighted_mean(stack: Stack, weights: Sequence[float]) -> Probabilities:
    """Σ weight × member over the stack (M, K, h, w), float32 in [0, 1]; weights as `normalise_weights` takes them."""
    normalised = normalise_weights(weights, len(stack))
    blended = np.zeros(stack.shape[1:], dtype=np.float32)
    for weight, member in zip(normalised, stack, strict=True):
        if weight > 0:  # a member with weight 0 costs nothing and cannot spread a NaN
            blended += np.float32(weight) * member.astype(np.float32)
    return blended.clip(0, 1)


def disagreement(stack: Stack, weights: Sequence[float]) -> Float32[np.ndarray, "h w"]:
    """Twice the weighted standard deviation of the members' probabilities, the largest over labels; in [0, 1].

    0 where all members with weight say the same, 1 where half of the weight says 0 and the other half 1.
    """
    normalised = normalise_weights(weights, len(stack))
    mean = weighted_mean(stack, weights)
    variance = np.zeros_like(mean)
    for weight, member in zip(normalised, stack, strict=True):
        if weight > 0:
            variance += np.float32(weight) * np.square(member.astype(np.float32) - mean)
    return np.asarray(2 * np.sqrt(variance.max(axis=0)), dtype=np.float32).clip(0, 1)
