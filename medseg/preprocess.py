"""The image's own grid ⇄ a member's input grid: each step beside its inverse."""

from __future__ import annotations

from typing import TypeAlias

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float

from medseg.arrays import WORKING_SIDE, Masks, Pixels, Probabilities
from medseg.config import Preprocess
from medseg.errors import InputError

Batch: TypeAlias = Float[torch.Tensor, "N C height width"]
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


def to_input_grid(pixels: Pixels, preprocess: Preprocess) -> Float[torch.Tensor, "C height width"]:
    """The image on the member's input grid, values still in [0, 1]; `to_tensor` without the normalisation.

    Shrinking is antialiased: without it thin structures fall between the sampled pixels.
    """
    channels_first = to_channels(pixels, preprocess.channels).transpose(2, 0, 1).copy()  # torch wants writable memory
    planes = _onto_input(torch.from_numpy(channels_first), preprocess)
    return _evened(planes) if preprocess.intensity == "evened" else planes


def masks_to_input_grid(masks: Masks, preprocess: Preprocess) -> Bool[torch.Tensor, "K height width"]:
    """Masks moved as `to_input_grid` moves the image; a pixel belongs to a label that covers half of it or more."""
    return _onto_input(torch.from_numpy(masks.astype(np.float32)), preprocess) >= 0.5


def probabilities_to_input_grid(
    probabilities: Probabilities, preprocess: Preprocess
) -> Float[torch.Tensor, "K height width"]:
    """Probabilities (K, H, W) moved as `to_input_grid` moves the picture."""
    return _onto_input(torch.from_numpy(probabilities), preprocess)


def normalise(batch: Batch, preprocess: Preprocess) -> Batch:
    """(value − mean) / std per channel."""
    mean = torch.tensor(preprocess.mean, device=batch.device).view(1, -1, 1, 1)
    std = torch.tensor(preprocess.std, device=batch.device).view(1, -1, 1, 1)
    return (batch - mean) / std


def to_tensor(pixels: Pixels, preprocess: Preprocess) -> Batch:
    """The image (H, W, C) as a member's input (1, C, height, width), resized and normalised."""
    return normalise(to_input_grid(pixels, preprocess).unsqueeze(0), preprocess)


def to_working_grid(
    probabilities: Float[torch.Tensor, "K height width"], preprocess: Preprocess, size: Size
) -> Float[torch.Tensor, "K h w"]:
    """Undo `to_tensor`'s resize and padding: a member's answer for an image of `size` (H, W) on its working grid."""
    height, width, top, left = _placement(size, preprocess)
    inner = probabilities[:, top : top + height, left : left + width]
    return _resize(inner, working_size(size))


def to_image_grid(probabilities: Probabilities, size: Size) -> Probabilities:
    """Probabilities (K, h, w) of the working grid on the image's own grid (K, H, W)."""
    if probabilities.shape[1:] == size:
        return probabilities
    return _resize(torch.from_numpy(probabilities), size).numpy()


def _onto_input(planes: Float[torch.Tensor, "C H W"], preprocess: Preprocess) -> Float[torch.Tensor, "C height width"]:
    height, width, top, left = _placement((planes.shape[1], planes.shape[2]), preprocess)
    resized = _resize(planes, (height, width)).clamp_(0, 1)
    right, bottom = preprocess.width - width - left, preprocess.height - height - top
    return F.pad(resized, (left, right, top, bottom))


def _evened(planes: Float[torch.Tensor, "C height width"]) -> Float[torch.Tensor, "C height width"]:
    """Each channel times a factor, within bounds, that brings the median of its lit pixels to a common value.

    Source: Nyúl and Udupa, On standardizing the MR image intensity scale, Magnetic Resonance in Medicine 1999, of
    whose landmarks it keeps the median.
    """
    factors = [_MEDIAN / lit.median() if len(lit := plane[plane > _LIT]) >= _FEWEST_LIT else 1.0 for plane in planes]
    scale = torch.tensor(factors).clamp_(*_FACTORS).view(-1, 1, 1)
    return (planes * scale).clamp_(0, 1)


def _placement(size: Size, preprocess: Preprocess) -> tuple[int, int, int, int]:
    """(height, width, top, left) of the resized image inside the input grid."""
    if preprocess.resize == "stretch":
        return preprocess.height, preprocess.width, 0, 0
    scale = min(preprocess.height / size[0], preprocess.width / size[1])
    height, width = max(1, round(size[0] * scale)), max(1, round(size[1] * scale))
    return height, width, (preprocess.height - height) // 2, (preprocess.width - width) // 2


def _resize(planes: Float[torch.Tensor, "C H W"], size: Size) -> Float[torch.Tensor, "C height width"]:
    """Bilinear, antialiased where it shrinks."""
    if tuple(planes.shape[1:]) == tuple(size):
        return planes.clone()
    return F.interpolate(planes.unsqueeze(0), size=size, mode="bilinear", antialias=True, align_corners=False)[0]
