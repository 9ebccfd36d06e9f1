"""The image's own grid ⇄ a member's input grid: each step beside its inverse. numpy and Pillow alone, no torch."""

from __future__ import annotations

from typing import TypeAlias

import numpy as np
import PIL.Image
from jaxtyping import Bool, Float32

from medseg.arrays import WORKING_SIDE, Masks, Pixels, Probabilities
from medseg.config import Preprocess
from medseg.errors import InputError

Batch: TypeAlias = Float32[np.ndarray, "N C height width"]
Planes: TypeAlias = Float32[np.ndarray, "C height width"]
Size: TypeAlias = tuple[int, int]

_LIT, _FEWEST_LIT = 0.03, 200
"""Pixels above this are not background; of fewer of them a median says nothing."""

_MEDIAN, _FACTORS = 0.2, (0.4, 2.5)
"""What evening brings the median of a channel to, and by which factors at the most; pixels lie in [0, 1]."""

_LUMA = (0.299, 0.587, 0.114)  # ITU-R BT.601, as Pillow's convert("L")


def working_size(size: Size) -> Size:
    """(h, w) of the working grid for an image of `size` (H, W): the same, unless the long side exceeds WORKING_SIDE."""
    scale = min(1.0, WORKING_SIDE / max(size))
    return max(1, round(size[0] * scale)), max(1, round(size[1] * scale))


def to_channels(pixels: Pixels, channels: int) -> Pixels:
    """Grey repeated to three channels, or colour weighted to its luma, where the member's input wants it.

    Raises InputError where neither makes the wanted number of channels.
    """
    if pixels.shape[2] == channels:
        return pixels
    if {pixels.shape[2], channels} != {1, 3}:
        raise InputError(f"This model wants an image of {channels} channels, this one has {pixels.shape[2]}.")
    if pixels.shape[2] == 1:
        return np.repeat(pixels, channels, axis=2)
    return (pixels @ np.array(_LUMA, np.float32))[:, :, np.newaxis]


def to_input_grid(pixels: Pixels, preprocess: Preprocess) -> Planes:
    """The image on the member's input grid, values still in [0, 1]; `to_tensor` without the normalisation.

    Shrinking is antialiased: without it thin structures fall between the sampled pixels.
    """
    planes = _onto_input(to_channels(pixels, preprocess.channels).transpose(2, 0, 1), preprocess)
    return _evened(planes) if preprocess.intensity == "evened" else planes


def masks_to_input_grid(masks: Masks, preprocess: Preprocess) -> Bool[np.ndarray, "K height width"]:
    """Masks moved as `to_input_grid` moves the image; a pixel belongs to a label that covers half of it or more."""
    return _onto_input(masks.astype(np.float32), preprocess) >= np.float32(0.5)


def probabilities_to_input_grid(probabilities: Probabilities, preprocess: Preprocess) -> Planes:
    """Probabilities (K, H, W) moved as `to_input_grid` moves the image."""
    return _onto_input(probabilities, preprocess)


def normalise(batch: Batch, preprocess: Preprocess) -> Batch:
    """(value − mean) / std per channel."""
    mean, std = (np.array(values, np.float32).reshape(1, -1, 1, 1) for values in (preprocess.mean, preprocess.std))
    return np.asarray((batch - mean) / std)


def to_tensor(pixels: Pixels, preprocess: Preprocess) -> Batch:
    """The image (H, W, C) as a member's input (1, C, height, width), resized and normalised."""
    return normalise(to_input_grid(pixels, preprocess)[np.newaxis], preprocess)


def to_working_grid(probabilities: Planes, preprocess: Preprocess, size: Size) -> Float32[np.ndarray, "K h w"]:
    """Undo `to_tensor`'s resize and padding: probabilities for an image of `size` (H, W) on its working grid."""
    height, width, top, left = _placement(size, preprocess)
    inner = probabilities[:, top : top + height, left : left + width]
    return _resize(inner, working_size(size))


def to_image_grid(probabilities: Probabilities, size: Size) -> Probabilities:
    """Probabilities (K, h, w) of the working grid on the image's own grid (K, H, W)."""
    if probabilities.shape[1:] == size:
        return probabilities
    return _resize(probabilities, size)


def _onto_input(planes: Float32[np.ndarray, "C H W"], preprocess: Preprocess) -> Planes:
    height, width, top, left = _placement((planes.shape[1], planes.shape[2]), preprocess)
    placed = np.zeros((len(planes), preprocess.height, preprocess.width), np.float32)
    placed[:, top : top + height, left : left + width] = _resize(planes, (height, width)).clip(0, 1)
    return placed


def _evened(planes: Planes) -> Planes:
    """Each channel times a factor, within bounds, that brings the median of its lit pixels to a common value.

    Source: Nyúl and Udupa, On standardizing the MR image intensity scale, Magnetic Resonance in Medicine 1999, of
    whose landmarks it keeps the median. Of an even number of pixels it is the lower one of the middle two.
    """
    lit = [plane[plane > _LIT] for plane in planes]
    factors = [
        _MEDIAN / np.partition(values, middle := (len(values) - 1) // 2)[middle] if len(values) >= _FEWEST_LIT else 1.0
        for values in lit
    ]
    scale = np.array(factors, np.float32).clip(*_FACTORS)
    return np.asarray((planes * scale.reshape(-1, 1, 1)).clip(0, 1))


def _placement(size: Size, preprocess: Preprocess) -> tuple[int, int, int, int]:
    """(height, width, top, left) of the resized image inside the input grid."""
    if preprocess.resize == "stretch":
        return preprocess.height, preprocess.width, 0, 0
    scale = min(preprocess.height / size[0], preprocess.width / size[1])
    height, width = max(1, round(size[0] * scale)), max(1, round(size[1] * scale))
    return height, width, (preprocess.height - height) // 2, (preprocess.width - width) // 2


def _resize(planes: Float32[np.ndarray, "C H W"], size: Size) -> Planes:
    """Bilinear, antialiased where it shrinks.

    Pillow's filter is the one of `torch.nn.functional.interpolate(…, mode="bilinear", antialias=True)`, and nearer to
    that function's float64 result (2e-7) than its float32 result is (3e-6): `tests/test_preprocess.py`.
    """
    if tuple(planes.shape[1:]) == tuple(size):
        return planes.astype(np.float32)  # a copy: nobody writes into the image
    height, width = size
    resized = np.empty((len(planes), height, width), np.float32)
    for target, plane in zip(resized, planes, strict=True):
        source = PIL.Image.fromarray(np.ascontiguousarray(plane, np.float32))
        target[...] = np.asarray(source.resize((width, height), PIL.Image.Resampling.BILINEAR))
    return resized
