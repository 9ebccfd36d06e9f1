"""Stored pixels → the upright image that the networks take. Runs in the worker, so that the process that asks never
holds more of a file than the image itself."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from medseg.errors import InputError
from medseg.image import Image, to_upright
from medseg.reading.grey import Extent, Notes, check_window, measure, to_grey, to_unit
from medseg.reading.stored import Grey, Stored, check_channels

Window = tuple[float, float]


def to_image(stored: Stored, window: Window | None = None) -> Image:
    """The image of one stored frame, through `window` (centre, width) where it is given. Raises InputError for a window
    that makes no sense or that the file has no use for, ReadError for an image of too many values."""
    channels = 3 if stored.palette is not None else stored.pixels.shape[2] if stored.pixels.ndim == 3 else 1
    check_channels(stored.pixels.shape[0], stored.pixels.shape[1], channels)
    pixels, applied, notes, extent = _levels(stored, window)
    return Image(
        np.ascontiguousarray(np.moveaxis(to_upright(np.moveaxis(pixels, -1, 0), stored.orientation), 0, -1)),
        stored.spacing_mm,
        stored.modality,
        stored.frame,
        stored.frames,
        applied,
        stored.orientation,
        (*stored.notes, *notes),
        stored.file_sha256,
        None if stored.affine is None else np.array(stored.affine),
        windows=stored.grey.windows if stored.grey else (),
        extent=extent,
    )


def extents_of(stored: Stored) -> tuple[Extent | None, ...]:
    """The lowest and highest value of each channel, or of a colour image as a whole, after the modality step."""
    if _is_measured(stored):
        return tuple(measure(channel, stored.grey) for channel in np.moveaxis(stored.pixels, -1, 0))
    return (measure(stored.pixels, stored.grey),)


def is_stretched(stored: Stored) -> bool:
    """Whether the file leaves open which values are black and white, so that those of all its frames must be known."""
    if stored.grey is not None:
        return stored.grey.voi_lut is None and stored.grey.window is None
    return stored.white is None


def _is_measured(stored: Stored) -> bool:
    """Whether each channel is a measurement with a range of its own: all but colours and what names its white."""
    several = stored.pixels.ndim == 3
    return several and (stored.grey is not None or (stored.white is None and stored.pixels.shape[2] != 3))


def _levels(stored: Stored, window: Window | None) -> tuple[np.ndarray, Window | None, Notes, Extent | None]:
    """(H, W, C) levels in [0, 1] on the stored grid, the window applied, notes, and the range windows choose from."""
    if _is_measured(stored):
        if window is not None:
            raise InputError("A window applies to one channel, and this image has several. Leave the window out.")
        return _levels_by_channel(stored)
    if stored.grey is not None:
        return _windowed(stored, stored.grey, window)
    if not _is_wide(stored):
        if window is not None:
            raise InputError(
                "A window applies to grey values, of more than 8 bits outside DICOM. Leave the window out."
            )
        return (*_levels_of_8_bits(stored), None)
    if window is not None:
        return _windowed(stored, Grey(function="LINEAR_EXACT", inverted=stored.inverted), window)
    levels, notes = to_unit(stored)
    applied = None if stored.white is None else (stored.white / 2, stored.white)
    return _with_channels(levels), applied, notes, stored.extents[0] if stored.extents else measure(stored.pixels)


def _is_wide(stored: Stored) -> bool:
    """Whether the values are no DICOM colours and have more than the 8 bits that a screen shows."""
    return stored.palette is None and stored.kind != "DICOM" and (stored.white is None or stored.white > 255)


def _windowed(
    stored: Stored, grey: Grey, window: Window | None
) -> tuple[np.ndarray, Window | None, Notes, Extent | None]:
    if window is not None:
        grey = replace(grey, voi_lut=None, window=check_window(window, grey.function))
    levels, notes, extent = to_grey(stored.pixels, grey, stored.extents[0] if stored.extents else None)
    return _with_channels(levels), None if grey.voi_lut else grey.window, notes, extent


def _levels_by_channel(stored: Stored) -> tuple[np.ndarray, None, Notes, None]:
    out, notes = np.empty(stored.pixels.shape, dtype=np.float32), []
    for index, channel in enumerate(np.moveaxis(stored.pixels, -1, 0)):
        extents = None if stored.extents is None else (stored.extents[index],)
        levels, _, own, _ = _levels(replace(stored, pixels=channel, extents=extents), None)
        out[..., index] = levels[..., 0]
        notes += [f"Channel {index + 1}: {note}" for note in own]
    return out, None, tuple(notes), None


def _levels_of_8_bits(stored: Stored) -> tuple[np.ndarray, None, Notes]:
    if stored.palette is None:
        levels, notes = to_unit(stored)
        return _with_channels(levels), None, notes
    colours = np.asarray(stored.palette, dtype=np.float32) / np.float32(255)
    return colours[stored.pixels], None, ()


def _with_channels(levels: np.ndarray) -> np.ndarray:
    return levels if levels.ndim == 3 else levels[..., None]
