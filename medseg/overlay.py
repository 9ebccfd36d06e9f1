"""What the user sees: masks drawn over an image, and values as a heatmap with its colour bar.

An image of other than three channels is drawn as its first, in grey. Pixels become bytes first; blending is Pillow's,
contours are shifts of boolean arrays inside each mask's bounding box: a slider redraws a 1024 × 1024 image within a
frame or two.
"""

from __future__ import annotations

from typing import TypeAlias

import numpy as np
from jaxtyping import Float, UInt8
from PIL import Image as Pillow
from PIL import ImageDraw, ImageFont

from medseg.arrays import Mask, Masks, Pixels

Rgb: TypeAlias = UInt8[np.ndarray, "H W 3"]
Colour: TypeAlias = tuple[int, int, int]

_OKABE_ITO: tuple[Colour, ...] = (
    (86, 180, 233),  # sky blue first: no tissue and no scanner's grey has its hue
    (240, 228, 66),  # yellow
    (213, 94, 0),  # vermilion
    (0, 158, 115),  # bluish green
    (204, 121, 167),  # reddish purple
    (230, 159, 0),  # orange
    (0, 114, 178),  # blue
)
PALETTE: tuple[Colour, ...] = _OKABE_ITO + tuple(
    (128 + red // 2, 128 + green // 2, 128 + blue // 2) for red, green, blue in _OKABE_ITO
)
"""Colour-blind safe (Okabe and Ito 2008, without black), then each colour half white: 14, as ChestX-Det has 13."""

_DARK: Colour = (16, 16, 16)
_LIGHT: Colour = (230, 230, 230)

_SIDE_PER_LINE_PIXEL = 256
"""Long side of the image for each pixel of contour thickness: 2 px at 512, 4 px at 1024."""

_VIRIDIS = ("440154", "482878", "3e4989", "31688e", "26828e", "1f9e89", "35b779", "6ece58", "b5de2b", "fde725")
"""Ten even steps of viridis (Smith and van der Walt 2015, CC0): perceptually uniform, safe for the colour-blind."""


def _colour_table() -> UInt8[np.ndarray, "256 3"]:
    anchors = np.array([tuple(bytes.fromhex(colour)) for colour in _VIRIDIS])
    places = np.linspace(0, 255, len(anchors))
    channels = [np.interp(np.arange(256), places, channel) for channel in anchors.T]
    return np.stack(channels, axis=1).round().astype(np.uint8)


HEAT = _colour_table()
"""Heatmap colours from value 0 (dark violet) to value 1 (yellow)."""


ERRORS = ("hit", "false alarm", "miss")
"""What `errors` tells apart; in an overlay the first three of PALETTE: sky blue, yellow, vermilion."""


def errors(mask: Mask, truth: Mask) -> Masks:
    """A mask (H, W) against the truth as three masks, in the order of ERRORS; no pixel is in two of them."""
    return np.stack([mask & truth, mask & ~truth, truth & ~mask])


def label_colour(index: int) -> Colour:
    """The colour of label `index`, counted from 0; the palette begins again after its end."""
    return PALETTE[index % len(PALETTE)]


def draw_overlay(pixels: Pixels, masks: Masks, opacity: float = 0.3, thickness: int = 0) -> Rgb:
    """The image with each mask as a tint of `opacity` (0 to 1) under an opaque contour with a dark edge, `thickness`
    pixels wide, or by the size of the image where that is 0.

    The contour runs just inside the mask and its edge just outside, so it is seen on any background and at opacity 0.
    Later labels tint over earlier ones; all contours lie above all tints, so overlapping labels stay countable.
    """
    canvas = _to_pillow(pixels)
    shown = [(label_colour(index), _bounds(mask), mask) for index, mask in enumerate(masks) if mask.any()]
    for colour, (rows, columns), mask in shown:
        alpha = mask[rows, columns] * np.uint8(round(255 * opacity))
        canvas.paste(colour, (columns.start, rows.start), mask=Pillow.fromarray(alpha))
    drawn = np.array(canvas)
    thickness = thickness or max(1, round(max(masks.shape[1:]) / _SIDE_PER_LINE_PIXEL))
    contours = [(colour, _widened(box, thickness), mask) for colour, box, mask in shown]
    for _, box, mask in contours:
        drawn[box][_outer_edge(mask[box], _edge_width(thickness))] = _DARK
    for colour, box, mask in contours:
        drawn[box][_inner_line(mask[box], thickness)] = colour
    return drawn


def draw_lines(image: Rgb, masks: Masks) -> Rgb:
    """`image` with each mask's outermost pixels in the label's colour, half as wide as `draw_overlay`'s contours.

    There is no tint, so that further masks of a label can be shown around the first or inside it.
    """
    drawn = image.copy()
    thickness = max(1, round(max(masks.shape[1:]) / _SIDE_PER_LINE_PIXEL / 2))
    for index, mask in enumerate(masks):
        if mask.any():
            box = _bounds(mask)
            drawn[box][_inner_line(mask[box], thickness)] = label_colour(index)
    return drawn


def draw_heatmap(values: Float[np.ndarray, "H W"], pixels: Pixels | None = None, opacity: float = 0.6) -> Rgb:
    """`values` (0 to 1, no nan) in the colours of `HEAT`; over an image where `pixels` are given.

    Over an image, value 0 is transparent and opacity rises to `opacity` at value 0.5: the anatomy keeps its own
    colours where there is nothing to show.
    """
    levels = Pillow.fromarray(_to_bytes(values))
    heat = levels.copy()
    heat.putpalette(HEAT.tobytes())
    heat = heat.convert("RGB")
    if pixels is None:
        return np.array(heat)
    alpha = levels.point([round(opacity * min(2 * level, 255)) for level in range(256)])
    return np.array(Pillow.composite(heat, _to_pillow(pixels), alpha))


def add_colour_bar(image: Rgb, low: float = 0.0, high: float = 1.0) -> UInt8[np.ndarray, "H wider 3"]:
    """`image` with the colours of `HEAT` from `low` (bottom) to `high` (top) and labelled ticks on its right."""
    height = len(image)
    size = max(10, round(height / 36))
    font = ImageFont.load_default(size)
    ticks = np.linspace(low, high, 5 if height > 12 * size else 2)
    texts = [f"{tick:.3g}" for tick in ticks]
    bar_end = 2 * size
    panel = Pillow.new("RGB", (bar_end + 4 * size, height), _DARK)  # the default font has half its size per digit
    top, length = size, max(height - 2 * size, 1)
    panel.paste(Pillow.fromarray(HEAT[::-1, None]).resize((size, length)), (size, top))
    draw = ImageDraw.Draw(panel)
    for text, row in zip(texts, np.linspace(top + length - 1, top, len(texts)).round(), strict=True):
        draw.line((bar_end, row, bar_end + size // 4, row), fill=_LIGHT, width=1)
        draw.text((bar_end + size // 2, row), text, fill=_LIGHT, font=font, anchor="lm")
    return np.concatenate([image, np.asarray(panel)], axis=1)


def _to_bytes(values: np.ndarray) -> UInt8[np.ndarray, "..."]:
    scaled = values * np.float32(255)
    scaled += np.float32(0.5)  # the cast cuts off: half a step up makes it round
    return np.asarray(scaled.astype(np.uint8))


def _to_pillow(pixels: Pixels) -> Pillow.Image:
    """The colours, or the first channel in grey of an image that has other than three."""
    return Pillow.fromarray(_to_bytes(pixels if pixels.shape[-1] == 3 else pixels[..., 0])).convert("RGB")


def _bounds(mask: Mask) -> tuple[slice, slice]:
    """The rows and columns that hold the mask's pixels, of which there is at least one."""
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    return slice(int(rows[0]), int(rows[-1]) + 1), slice(int(columns[0]), int(columns[-1]) + 1)


def _widened(box: tuple[slice, slice], margin: int) -> tuple[slice, slice]:
    rows, columns = box
    return (
        slice(max(rows.start - margin, 0), rows.stop + margin),
        slice(max(columns.start - margin, 0), columns.stop + margin),
    )


def _edge_width(thickness: int) -> int:
    return (thickness + 1) // 2


def _inner_line(mask: Mask, thickness: int) -> Mask:
    """The mask's outermost pixels; beyond the image is outside, so a mask cut off by the border has a line there."""
    outside = np.pad(~mask, 1, constant_values=True)
    return np.asarray(mask & _grow(outside, thickness)[1:-1, 1:-1])


def _outer_edge(mask: Mask, thickness: int) -> Mask:
    return np.asarray(_grow(mask, thickness) & ~mask)


def _grow(mask: Mask, steps: int) -> Mask:
    """`mask` widened by `steps` pixels: cross and square neighbourhoods in turn make an octagon, nearly a disc."""
    for step in range(steps):
        grown = mask.copy()
        grown[1:] |= mask[:-1]
        grown[:-1] |= mask[1:]
        source = grown if step % 2 else mask
        grown[:, 1:] |= source[:, :-1]
        grown[:, :-1] |= source[:, 1:]
        mask = grown
    return mask
