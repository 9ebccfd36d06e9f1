"""What the viewer blends in the browser: the open image and its members' probabilities as 8-bit planes in PNG.

They go to their own visitor as data: addresses, so nothing of them lies on a disk or under a link.
"""

from __future__ import annotations

import base64
import io
from typing import TYPE_CHECKING, Any

import numpy as np
import PIL.Image
from jaxtyping import UInt8

from medseg.app.render import images
from medseg.app.state.editing import BEGINNINGS
from medseg.calibration.conformal import inner_outer
from medseg.correct import to_grid
from medseg.image import Image
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


def member_planes(members: Stack) -> list[str]:
    """The stack (M, K, h, w) as PNGs of three planes each, plane member × K + label after the other.

    A probability p is the byte round(255 p), so it is off by 1/510 at most; 0.5 is 128, so a vote at 0.5 is exact.
    """
    return pack(to_bytes(members.reshape(-1, *members.shape[2:])))


def to_bytes(probabilities: Probabilities | np.ndarray) -> UInt8[np.ndarray, "n h w"]:
    """round(255 p); NaN, which no loaded member gives, would be 0."""
    return np.rint(np.nan_to_num(probabilities.astype(np.float32)) * 255).astype(np.uint8)


def mask_bits(masks: Masks) -> UInt8[np.ndarray, "n h w"]:
    """Masks (K, h, w) as planes of eight labels each: label k is bit k % 8 of plane k // 8."""
    padded = np.zeros((-(-len(masks) // 8) * 8, *masks.shape[1:]), dtype=bool)
    padded[: len(masks)] = masks
    return np.packbits(padded.reshape(-1, 8, *masks.shape[1:]), axis=1, bitorder="little")[:, 0]


def pack(planes: UInt8[np.ndarray, "n h w"]) -> list[str]:
    """Planes as red, green and blue of PNGs; the last one is filled up with zeros."""
    rest = -len(planes) % 3
    filled = np.concatenate([planes, np.zeros((rest, *planes.shape[1:]), np.uint8)]) if rest else planes
    return [_png(filled[at : at + 3].transpose(1, 2, 0)) for at in range(0, len(filled), 3)]


def image_data(image: Image) -> dict[str, Any]:
    """The image itself: `src`, and whether it is `deep`: 16-bit grey, its high byte in red and its low byte in green.

    Grey travels whole, so that a window set in the browser finds what 8 bits would have lost.
    """
    if image.pixels.shape[2] == 3:
        pixels = images.plain(image)
        small = pixels.shape[0] * pixels.shape[1] <= LOSSLESS_PIXELS
        return {"src": _png(pixels) if small else data_uri(pixels), "deep": False}
    grey = np.rint(image.pixels[..., 0].clip(0, 1) * 65535).astype(np.uint16)
    split = np.stack([grey >> 8, grey & 255, np.zeros_like(grey)], axis=-1).astype(np.uint8)
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


def _png(pixels: UInt8[np.ndarray, "h w 3"] | np.ndarray) -> str:
    stream = io.BytesIO()
    PIL.Image.fromarray(np.ascontiguousarray(pixels)).save(stream, format="PNG", compress_level=4)
    return "data:image/png;base64," + base64.b64encode(stream.getvalue()).decode("ascii")
