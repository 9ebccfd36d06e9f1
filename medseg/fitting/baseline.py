"""What a mask that never looks at the image reaches: the baseline under every member."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from jaxtyping import Bool, Float32, Float64, Int64

from medseg.arrays import Masks
from medseg.fitting.measure import Measure
from medseg.fitting.thresholds import Counts, threshold_counts
from medseg.preprocess import to_image_grid

PRIOR_SIDE = 128


def mean_mask(truths: Sequence[Masks]) -> tuple[Float32[np.ndarray, "K side side"], Float64[np.ndarray, "T"]]:
    """The mean of many images' masks on a grid of PRIOR_SIDE², and its mean Dice on them at each of THRESHOLDS."""
    small = on_square(truths)
    mean = np.asarray(np.mean(small, axis=0), dtype=np.float32)
    return mean, Measure().mean(np.array([threshold_counts(mean, truth) for truth in small]))


def on_square(truths: Sequence[Masks]) -> Bool[np.ndarray, "n K side side"]:
    """The masks on one grid, where images of any size lie above each other."""
    size = (PRIOR_SIDE, PRIOR_SIDE)
    return np.array([to_image_grid(truth.astype(np.float32), size) >= 0.5 for truth in truths])


def prior_counts(small: Bool[np.ndarray, "n K side side"], cases: Sequence[str]) -> Counts:
    """What the mean mask of all other cases marks of each image at each of THRESHOLDS, (n, K, T, 3).

    The others': with its own mask in the mean, or that of the slice beside it, each image of a small split would have
    an unbeatable prior.
    """
    names, case_of = np.unique(np.asarray(cases, dtype=str), return_inverse=True)
    own = np.zeros((len(names), *small.shape[1:]), np.float32)
    np.add.at(own, case_of, small)
    total, numbers = own.sum(axis=0), np.bincount(case_of)
    rest = [(total - own[case]) / np.float32(max(len(small) - numbers[case], 1)) for case in range(len(names))]
    return np.array([threshold_counts(rest[case], mask) for case, mask in zip(case_of, small, strict=True)])


def baseline_score(prior: Counts, constant: Counts, measure: Measure) -> float:
    """The best that one mask for all images reaches: the others' mean mask at any of THRESHOLDS, nothing, everything.

    `prior` (n, K, T, 3) are the counts of the first, `constant` (n, K, 2, 3) those of nothing and everything.
    """
    return float(max(measure.mean(prior).max(), measure.mean(constant).max()))


def constant_counts(pixels: int, true: Int64[np.ndarray, "K"]) -> Int64[np.ndarray, "K 2 3"]:
    """The counts of marking nothing and of marking everything, of an image's `pixels` and each label's `true` ones."""
    nothing = np.stack([np.zeros_like(true), np.zeros_like(true), true], axis=-1)
    everything = np.stack([true, np.full_like(true, pixels), true], axis=-1)
    return np.stack([nothing, everything], axis=1)
