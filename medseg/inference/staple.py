"""STAPLE: what several observers' masks say together, each trusted as far as the others bear it out.

Source: Warfield, Zou, Wells, Simultaneous truth and performance level estimation (STAPLE), IEEE TMI 2004.
"""

from __future__ import annotations

import numpy as np
from jaxtyping import Bool, Float32, Float64, Int, UInt32
from scipy.special import expit

MAX_ROUNDS = 1000
SETTLED = 1e-8
"""No pixel's posterior moves by more in the last round."""

_CLIP = 1e-12  # of sensitivity and specificity: two flawless observers who differ would be 0/0


def staple(decisions: Bool[np.ndarray, "M h w"]) -> Float32[np.ndarray, "h w"]:
    """The posterior probability of foreground, in [0, 1], given the masks of 1 to 32 observers.

    Expectation maximisation over each observer's sensitivity and specificity: from the share of observers who mark a
    pixel, until the posteriors settle or for MAX_ROUNDS. The prior is the foreground's mean share of all masks. Where
    nobody marks anything the result is 0 everywhere, where all mark everything 1; observers who agree, and one alone,
    get their mask back. Two are too few to say who of them errs: the result where they differ depends on the start.

    Pixels with the same decisions have the same posterior, so the work is done on the distinct ones, 2^M at most.
    """
    bits = np.arange(len(decisions), dtype=np.uint32)
    codes = np.zeros(decisions.shape[1:], dtype=np.uint32)
    for bit, mask in zip(bits, decisions, strict=True):
        codes |= mask.astype(np.uint32) << bit
    distinct, index, counts = _patterns(codes, len(decisions))
    said = (distinct[:, np.newaxis] >> bits & 1).astype(bool)
    posterior: np.ndarray = _posterior(said, counts).astype(np.float32)
    return np.asarray(posterior[index].reshape(codes.shape))


def _patterns(codes: UInt32[np.ndarray, "h w"], observers: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The distinct codes, where in them each pixel's lies, and how often each occurs."""
    if observers > 16:
        distinct, place, counts = np.unique(codes, return_inverse=True, return_counts=True)
        return distinct, place, counts
    counts = np.bincount(codes.ravel(), minlength=2**observers)  # a tenth of the time that sorting an image takes
    distinct = np.flatnonzero(counts).astype(np.uint32)
    row = np.zeros(len(counts), dtype=np.intp)
    row[distinct] = np.arange(len(distinct))
    return distinct, row[codes], counts[distinct]


def _posterior(said: Bool[np.ndarray, "P M"], counts: Int[np.ndarray, "P"]) -> Float64[np.ndarray, "P"]:
    """The posterior of each decision pattern, a row of `said` that `counts` pixels share."""
    inside = said.mean(axis=1)
    outside = 1 - inside
    prior = counts @ inside / counts.sum()
    if prior in (0, 1):
        return np.asarray(inside)
    for _ in range(MAX_ROUNDS):
        before = inside
        sensitivity = ((counts * inside) @ said / (counts @ inside)).clip(_CLIP, 1 - _CLIP)
        specificity = ((counts * outside) @ ~said / (counts @ outside)).clip(_CLIP, 1 - _CLIP)
        log_odds = np.log(prior / (1 - prior)) + np.where(
            said, np.log(sensitivity / (1 - specificity)), np.log((1 - sensitivity) / specificity)
        ).sum(axis=1)
        inside, outside = expit(log_odds), expit(-log_odds)  # 1 − inside would round to 0
        if np.abs(inside - before).max() <= SETTLED:
            break
    return np.asarray(inside)
