"""The ways to combine a stack of members, and how far the members are apart."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cache
from typing import TypeAlias

import numpy as np
from jaxtyping import Float32, Float64
from scipy.special import expit, logit

from medseg.arrays import Probabilities, Stack, Weight
from medseg.config import Blend, Task
from medseg.errors import InputError
from medseg.inference.staple import staple
from medseg.postprocess import to_masks

DECISION = 0.5
"""Probability from which a member votes for a pixel, in the majority vote and in STAPLE."""

NEAREST = 2.0**-11
"""A probability counts in the geometric mean as if it were no nearer to 0 or 1, so that no member alone has a veto:
half precision knows no number between 1 − NEAREST and 1."""

_PIECE = 2**14  # pixels whose planes the processor's cache holds

_TIE = 1e-9  # two halves of the weight, summed in different orders, differ by rounding

Planes: TypeAlias = Sequence[np.ndarray]
"""One label's probabilities (n) of the members that take part."""

Shares: TypeAlias = Float64[np.ndarray, "M"]
"""Weights above 0 that sum to 1, one for each of some planes."""


def normalise_weights(
    weights: Sequence[Weight], members: int, labels: int = 1
) -> tuple[float | tuple[float, ...], ...]:
    """`weights` divided by their sum, for each label by itself where they are given for each: the only place where
    that is done.

    Raises InputError unless there is one finite weight >= 0 for each of the `members`, or for each member one for each
    of the `labels`, and one (of every label) is above 0.
    """
    try:
        values = np.asarray(weights, dtype=np.float64)
    except (TypeError, ValueError):
        raise InputError("Weights must be numbers: one for each member, or a list of one per label for each.") from None
    if values.shape not in ((members,), (members, labels)):
        shape = " × ".join(map(str, values.shape)) or "a single number"
        raise InputError(f"Wanted one weight for each of the {members} members, got {shape}.")
    if not np.isfinite(values).all() or (values < 0).any():
        listed = ", ".join(f"{w:g}" for w in values.flat)
        raise InputError(f"Weights must be finite numbers of 0 or more, got {listed}.")
    if not values.any(axis=0).all():
        where = "" if values.ndim == 1 else " for one of the labels"
        raise InputError(f"All weights are 0{where}: raise at least one slider above 0.")
    scaled = values / values.max(axis=0)  # first, or the sum of huge weights overflows and of tiny ones vanishes
    normalised = (scaled / sum(scaled)).tolist()  # NumPy's own sum of eight or more rounds otherwise when alone
    return tuple(tuple(entry) if isinstance(entry, list) else entry for entry in normalised)


def blend(stack: Stack, how: Blend, weights: Sequence[Weight], task: Task = "multilabel") -> Probabilities:
    """Probabilities (K, h, w) from the stack (M, K, h, w), float32 in [0, 1]; weights as `normalise_weights` takes
    them.

    A member with weight 0 has no part in any blend; a weight per label makes this so for each label.

    - weighted mean: Σ weight × probability.
    - geometric: the probability whose logit is the weighted mean of the members' logits. Multiclass: the weighted mean
      of the log-probabilities, background included, renormalised; the background has a member's mean weight.
    - median: the mean of the lower and the upper weighted median, which differ only where the weight splits in exact
      halves. The lower is the least probability that half of the weight does not exceed, the upper the greatest that
      half of the weight reaches. Equal weights: the ordinary median.
    - majority vote: the share of the weight that votes for the pixel, so a threshold acts on that share. A member votes
      with its mask at DECISION.
    - STAPLE: `medseg.inference.staple` of the members' masks at DECISION; weights say only who takes part.

    Multiclass labels whose sum exceeds 1 (medians and STAPLE do not know of each other, weights per label differ) are
    divided by it. Raises InputError for any other `how`: stacking is a network's prediction, which Prediction holds.
    """
    if how not in _WAYS:
        raise InputError(f"Members blend by {', '.join(_WAYS)}, not by {how!r:.80}.")
    shares = _shares(stack, weights)
    if how == "geometric" and task == "multiclass":
        return _pool(stack, shares)
    if how in ("majority vote", "STAPLE"):
        stack = np.stack([to_masks(member.astype(np.float32), DECISION, task) for member in stack])
    blended = _by_label(stack, shares, _WAYS[how])
    return blended / np.maximum(blended.sum(axis=0), 1) if task == "multiclass" else blended


def weighted_mean(stack: Stack, weights: Sequence[Weight]) -> Probabilities:
    """Σ weight × member over the stack (M, K, h, w), float32 in [0, 1]; weights as `normalise_weights` takes them."""
    return _by_label(stack, _shares(stack, weights), _mean)


def disagreement(stack: Stack, weights: Sequence[Weight]) -> Float32[np.ndarray, "h w"]:
    """Twice the weighted standard deviation of the members' probabilities, the largest over labels; in [0, 1].

    0 where all members with weight say the same, 1 where half of the weight says 0 and the other half 1.
    """
    variance = _by_label(stack, _shares(stack, weights), _variance)
    return np.asarray(2 * np.sqrt(variance.max(axis=0)), dtype=np.float32).clip(0, 1)


def _shares(stack: Stack, weights: Sequence[Weight]) -> Float64[np.ndarray, "M K"]:
    members, labels = stack.shape[:2]
    normalised = np.array(normalise_weights(weights, members, labels))
    return np.broadcast_to(normalised.reshape(members, -1), (members, labels))


def _by_label(
    stack: np.ndarray, shares: Float64[np.ndarray, "M K"], combine: Callable[[Planes, Shares], np.ndarray]
) -> Probabilities:
    """Each label combined by itself, from the members with a share above 0 only: the others cost nothing and cannot
    spread a NaN. In pieces, as whole planes do not stay in the processor's cache; STAPLE weighs all pixels together.
    """
    combined = np.empty(stack.shape[1:], dtype=np.float32)
    for label, share in enumerate(shares.T):
        part = np.flatnonzero(share)
        planes, result = [stack[member, label].ravel() for member in part], combined[label].reshape(-1)
        size = max(1, len(result) if combine is _staple else _PIECE)
        for start in range(0, len(result), size):
            piece = slice(start, start + size)
            result[piece] = combine([plane[piece] for plane in planes], share[part])
    return combined.clip(0, 1, out=combined)


def _mean(planes: Planes, shares: Shares) -> np.ndarray:
    mean = np.zeros(planes[0].shape, dtype=np.float32)
    for share, plane in zip(shares, planes, strict=True):
        mean += np.float32(share) * np.asarray(plane, np.float32)
    return mean


def _variance(planes: Planes, shares: Shares) -> np.ndarray:
    mean = _mean(planes, shares)
    return _mean([np.square(plane.astype(np.float32) - mean) for plane in planes], shares)


def _geometric(planes: Planes, shares: Shares) -> np.ndarray:
    return np.asarray(expit(_mean([_log_odds(plane) for plane in planes], shares)))


def _log_odds(plane: np.ndarray) -> np.ndarray:
    """Of half precision by a table of all its numbers, which takes a tenth of the time of the logarithms."""
    if plane.dtype == np.float16:
        return _log_odds_of_bits().take(plane.view(np.uint16))
    return np.asarray(logit(plane.astype(np.float32).clip(NEAREST, 1 - NEAREST)))


@cache
def _log_odds_of_bits() -> Float32[np.ndarray, "65536"]:
    every = np.arange(2**16, dtype=np.uint16).view(np.float16)
    return _log_odds(np.nan_to_num(every.astype(np.float32)))


def _pool(stack: Stack, shares: Float64[np.ndarray, "M K"]) -> Probabilities:
    """The geometric blend of exclusive labels, with the background as one more label."""
    labels = stack.astype(np.float32)
    with_rest = np.concatenate([labels, 1 - labels.sum(axis=1, keepdims=True)], axis=1)
    of_rest = shares.mean(axis=1, keepdims=True)
    pooled = _by_label(with_rest, np.concatenate([shares, of_rest], axis=1), _log_mean)
    return np.asarray(pooled[:-1] / pooled.sum(axis=0))


def _log_mean(planes: Planes, shares: Shares) -> np.ndarray:
    return np.asarray(np.exp(_mean([np.log(plane.clip(NEAREST, 1)) for plane in planes], shares)))


def _median(planes: Planes, shares: Shares) -> np.ndarray:
    """Numbers of 0 or more are in the order of their bits, so those are sorted, each with its member's number below it.

    By comparing whole planes: numpy's sort of a few numbers at each pixel takes ten times as long.
    """
    half = all(plane.dtype == np.float16 for plane in planes)
    kind, number, wide = (np.float16, np.uint16, np.uint32) if half else (np.float32, np.uint32, np.uint64)
    bits = [np.abs(np.asarray(plane, kind)).view(number).astype(wide) for plane in planes]
    keys = [plane << 16 | member for member, plane in enumerate(bits)]
    for last in range(len(keys) - 1, 0, -1):
        for low in range(last):
            keys[low], keys[low + 1] = np.minimum(keys[low], keys[low + 1]), np.maximum(keys[low], keys[low + 1])
    lower = upper = keys[0]
    reached = shares.take(keys[0] & 0xFFFF)
    for key in keys[1:]:
        lower = np.where(reached < 0.5 - _TIE, key, lower)
        upper = np.where(reached < 0.5 + _TIE, key, upper)
        reached += shares.take(key & 0xFFFF)
    ends = [(key >> 16).astype(number).view(kind).astype(np.float32) for key in (lower, upper)]
    return np.asarray((ends[0] + ends[1]) / 2)


def _staple(planes: Planes, shares: Shares) -> np.ndarray:
    return staple(np.stack(planes))


_WAYS: dict[str, Callable[[Planes, Shares], np.ndarray]] = {
    "weighted mean": _mean,
    "geometric": _geometric,
    "median": _median,
    "majority vote": _mean,
    "STAPLE": _staple,
}
