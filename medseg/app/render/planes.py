"""What the viewer blends in the browser: the open image and its members' probabilities as planes in PNG.

They go to their own visitor as data: addresses, so nothing of them lies on a disk or under a link.
"""

from __future__ import annotations

import base64
import io
from functools import cache
from typing import TYPE_CHECKING, Any
from zlib import Z_RLE

import numpy as np
import PIL.Image
from jaxtyping import UInt8, UInt16
from scipy.special import logit

from medseg.app.render import images
from medseg.app.state.editing import BEGINNINGS
from medseg.calibration.conformal import inner_outer
from medseg.correct import to_grid
from medseg.image import Image
from medseg.inference.blend import NEAREST
from medseg.inference.record import INSISTED
from medseg.report.html import data_uri

if TYPE_CHECKING:
    from medseg.app.state.editing import Editing
    from medseg.app.state.view_state import ViewState
    from medseg.arrays import Masks, Probabilities, Stack
    from medseg.calibration.conformal import Bounds

LOSSLESS_PIXELS = 400_000
"""A colour image up to this size travels as PNG, without the fringes of JPEG; a larger one would take megabytes."""

BLENDED_HERE = ("STAPLE", "stacking")
"""Blends that need the library: their probabilities travel beside the mask."""


CODES = 1024
"""In so many even steps of the log-odds probabilities travel; the middle of a step stands for all of it."""

EXACT = 1 / 255
"""By so much a blend of what travels is off at most: a mask is the library's but where it is so near to the cut-off."""

FARTHEST = np.log(1 / NEAREST - 1)
"""Log-odds beyond it count as it does, as in the geometric mean."""


def member_planes(members: Stack) -> list[str]:
    """The stack (M, K, h, w) as PNGs of three planes each: plane member × K + label after the other the upper eight
    bits of the codes, then the lower two of four planes a byte, the first lowest."""
    codes = to_codes(members).reshape(-1, *members.shape[2:])
    rest = np.zeros((-len(codes) % 4, *codes.shape[1:]), np.uint16)
    low = np.concatenate([codes & 3, rest]).reshape(-1, 4, *codes.shape[1:])
    shifts = np.arange(0, 8, 2, dtype=np.uint16)[:, None, None]
    return pack(np.concatenate([codes >> 2, (low << shifts).sum(axis=1, dtype=np.uint16)]).astype(np.uint8))


def to_codes(members: Stack) -> UInt16[np.ndarray, "M K h w"]:
    """In which of CODES steps each probability lies; one half begins a step, so a vote at 0.5 is exact.

    Where all members are near 0, or all near 1, no weights bring a pixel near one half, where alone log-odds must be
    exact: there steps are coarser, as their lower bits are noise that does not pack. Where no member reaches EXACT all
    are 0, and likewise at 1: the browser leaves such pixels out.
    """
    codes = _code_of_bits().take(members.astype(np.float16).view(np.uint16))
    most, least = codes.max(axis=0), (CODES - 1) - codes.min(axis=0)
    keeps, middle = _coarse_steps()
    codes &= keeps[most] & keeps[least]
    codes |= middle[most] | np.where(keeps[least] == 0, np.uint16(CODES - 1), middle[least])
    return codes


@cache
def _coarse_steps() -> tuple[UInt16[np.ndarray, "CODES"], UInt16[np.ndarray, "CODES"]]:
    """By the code of a pixel's most probable member: the bits that its codes keep, and the middle of what they lose.

    A blend's log-odds are off by what each member's are, and its probability p by p (1 - p) times that.
    """
    keeps, middle = np.full(CODES, 2**16 - 1, np.uint16), np.zeros(CODES, np.uint16)
    for lost in range(1, 7):
        off = (2 ** (lost - 1) + 0.5) * 2 * FARTHEST / CODES
        bound = int(code_of((1 - np.sqrt(1 - 4 * EXACT / off)) / 2))
        keeps[:bound], middle[:bound] = 2**16 - 2**lost, 2 ** (lost - 1)
    nothing = int(code_of(np.array(EXACT)))
    keeps[:nothing] = middle[:nothing] = 0
    return keeps, middle


def code_of(probabilities: np.ndarray) -> UInt16[np.ndarray, "..."]:
    """The steps of probabilities; NaN, which no loaded member gives, has step 0."""
    odds = logit(np.nan_to_num(probabilities).astype(np.float64).clip(NEAREST, 1 - NEAREST))
    return np.asarray(np.floor((odds / FARTHEST + 1) * CODES / 2).clip(0, CODES - 1), dtype=np.uint16)


@cache
def _code_of_bits() -> UInt16[np.ndarray, "65536"]:
    """The step of every number of half precision, by its bits: a look into a table is quicker than a logarithm."""
    return code_of(np.arange(2**16, dtype=np.uint16).view(np.float16))


def to_bytes(probabilities: Probabilities | np.ndarray) -> UInt8[np.ndarray, "n h w"]:
    """round(255 p); NaN, which no loaded member gives, would be 0."""
    return np.rint(np.nan_to_num(probabilities.astype(np.float32)) * 255).astype(np.uint8)


def mask_bits(masks: Masks) -> UInt8[np.ndarray, "n h w"]:
    """Masks (K, h, w) as planes of eight labels each: label k is bit k % 8 of plane k // 8."""
    planes = np.zeros((-(-len(masks) // 8), *masks.shape[1:]), np.uint8)
    for label, mask in enumerate(masks):
        planes[label // 8] |= mask.view(np.uint8) << (label % 8)
    return planes


def pack(planes: UInt8[np.ndarray, "n h w"]) -> list[str]:
    """Planes as red, green and blue of PNGs; the last one is grey where one is left, or filled up with zeros."""
    parts = [planes[at : at + 3] for at in range(0, len(planes), 3)]
    filled = [np.concatenate([part, np.zeros_like(part[:1])]) if len(part) == 2 else part for part in parts]
    return [_png(part[0] if len(part) == 1 else part.transpose(1, 2, 0)) for part in filled]


def image_data(image: Image) -> dict[str, Any]:
    """The image itself: `src`, and whether it is `deep`: 16-bit grey, its high bytes above its low bytes.

    Grey travels whole, so that a window set in the browser finds what 8 bits would have lost.
    """
    if image.pixels.shape[2] == 3:
        pixels = images.plain(image)
        small = pixels.shape[0] * pixels.shape[1] <= LOSSLESS_PIXELS
        return {"src": _png(pixels) if small else data_uri(pixels), "deep": False}
    grey = np.rint(image.pixels[..., 0].clip(0, 1) * 65535).astype(np.uint16)
    split = np.concatenate([grey >> 8, grey & 255]).astype(np.uint8)
    return {"src": _png(split), "deep": True}


def opened(view_state: ViewState) -> dict[str, Any]:
    """All that the viewer keeps for an image: the image, the planes, and the names of members and labels; its `size`
    here, and its `own`, (H, W)."""
    view = view_state.view
    return {
        "size": list(view.image.size),
        "own": list(view_state.prediction.image.size),
        "image": image_data(view.image),
        "planes": member_planes(view.members),
        "members": list(view.member_names),
        "labels": list(view.labels),
        "task": view.ensemble.task,
        "name": view_state.name or view_state.called,
    }


def result(view_state: ViewState) -> dict[str, Any]:
    """The library's own masks at the settings of now, and what was asked to be drawn around them."""
    view, bounds = view_state.view, view_state.bounds
    lines = [] if bounds is None else inner_outer(view.probabilities, view.masks, bounds)
    return {
        "masks": pack(mask_bits(view.masks)),
        "field": pack(to_bytes(view.probabilities)) if view.blend in BLENDED_HERE else [],
        "bounds": [pack(mask_bits(masks)) for masks in lines],
        "rates": [bounds.alpha for bounds in view_state.offered_bounds if _differ(view_state, bounds)],
        "truth": [] if view_state.truth is None else pack(mask_bits(_on_view(view_state.truth, view.image.size))),
        "weights": [np.broadcast_to(weight, len(view.labels)).tolist() for weight in view.weights],
        "threshold": view.threshold,
        "blend": view.blend,
        "opacity": view_state.opacity,
        "hidden": sorted(view_state.hidden),
        "withheld": view_state.withheld,
        "mark": INSISTED if INSISTED in view_state.prediction.image.notes else "",
        "alt": "The image; no mask is shown" if view_state.withheld else images.described(view_state),
    }


def drawing(view_state: ViewState, editing: Editing) -> dict[str, Any]:
    """What strokes are made on: the masks that the drawing was begun with, on the grid of the view."""
    masks = pack(mask_bits(_on_view(editing.base.masks, view_state.view.image.size)))
    return {"token": editing.token, "beginning": BEGINNINGS[editing.beginning], "masks": masks}


def _differ(view_state: ViewState, bounds: Bounds) -> bool:
    """Whether the bounds draw anything but the mask's own outline."""
    masks = view_state.view.masks
    inner, outer = inner_outer(view_state.view.probabilities, masks, bounds)
    return bool((inner != masks).any() or (outer != masks).any())


def _on_view(masks: Masks, size: tuple[int, int]) -> Masks:
    return np.stack([to_grid(mask, size) for mask in masks])


def _png(pixels: UInt8[np.ndarray, "h w 3"] | UInt8[np.ndarray, "h w"]) -> str:
    """By run lengths: half the time of PNG's usual way, and of probabilities and films no more bytes."""
    stream = io.BytesIO()
    PIL.Image.fromarray(np.ascontiguousarray(pixels)).save(stream, format="PNG", compress_level=1, compress_type=Z_RLE)
    return "data:image/png;base64," + base64.b64encode(stream.getvalue()).decode("ascii")
