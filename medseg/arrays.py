"""Names for the arrays that medseg passes around: axis order, value range and dtype, said once.

Axes: M members, K labels, C channels; H, W the image's own grid; h, w the working grid, which is the image's own grid
scaled down only where its long side exceeds `WORKING_SIDE`. Spacing is (row, column) in millimetres. "Probabilities"
are past the sigmoid or softmax and lie in [0, 1]; "logits" are not.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeAlias

import numpy as np
from jaxtyping import Bool, Float16, Float32, Float64

WORKING_SIDE = 1024
"""Longest side of the working grid in pixels: above it a screen shows no more, and five members still fit the cache."""

Pixels: TypeAlias = Float32[np.ndarray, "H W C"]
"""An upright image, values in [0, 1], C = 1 (grey), 3 (RGB), or as many channels as the file measures."""

Mask: TypeAlias = Bool[np.ndarray, "H W"]
Masks: TypeAlias = Bool[np.ndarray, "K H W"]
"""One boolean mask per label; labels may overlap (multilabel) or not (multiclass)."""

Probabilities: TypeAlias = Float32[np.ndarray, "K H W"]
Stack: TypeAlias = Float16[np.ndarray, "M K h w"]
"""Every member's probabilities on the working grid: what the cache keeps and every blend starts from."""

Affine: TypeAlias = Float64[np.ndarray, "4 4"]
"""Voxel indices (i, j, k, 1) of a volume to millimetres (right, front, up, 1), as NIfTI has them."""

Weight: TypeAlias = float | Sequence[float]
"""How much a member counts, >= 0: one number, or one for each label; `blend` alone normalises them."""

Threshold: TypeAlias = float | tuple[float, ...]
"""The probability from which a pixel counts, in (0, 1): one for all labels, or for each of several decided alone."""

Spacing: TypeAlias = tuple[float, float]
"""(row, column) distance between pixel centres in millimetres."""
