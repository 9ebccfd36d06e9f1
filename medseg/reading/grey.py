"""Stored values → levels in [0, 1], each step where the DICOM standard puts it.

Grey DICOM: stored values → modality LUT or rescale → VOI LUT or window → inversion for MONOCHROME1 (PS3.4 N.2, PS3.3
C.11.1, C.11.2, C.7.6.3.1.2). Pictures: divided by their white.
"""

from __future__ import annotations

import numpy as np

from medseg.errors import InputError, ReadError
from medseg.reading.stored import Grey, Lut, Stored

Notes = tuple[str, ...]
Extent = tuple[float, float]


def to_grey(stored: np.ndarray, grey: Grey) -> tuple[np.ndarray, Notes, Extent | None]:
    """The `stored` values as float32 grey levels in [0, 1], 1 = white; what the user should know of it; and the lowest
    and highest value after the modality step, in whose units a window is given (None where all is padding).

    A VOI LUT comes before a window. With neither, the values between the lowest and the highest are shown. Padding and
    values that are no numbers are black, in MONOCHROME1 too, and take no part in that range.
    """
    if stored.dtype.kind not in "iu" or stored.dtype.itemsize > 2:
        return _grey_levels(stored, grey)
    # Every step looks at one value at a time, and 16 bits have few values: 4 megapixels take 30 ms instead of 300.
    low = int(stored.min())
    index = stored.astype(np.intp) - low
    present = np.zeros(index.max() + 1, dtype=np.bool_)
    present[index] = True
    table = np.zeros(present.size, dtype=np.float32)
    table[present], notes, extent = _grey_levels(np.flatnonzero(present) + low, grey)
    return table[index], notes, extent


def _grey_levels(stored: np.ndarray, grey: Grey) -> tuple[np.ndarray, Notes, Extent | None]:
    finite = np.isfinite(stored)
    values = _modality(np.where(finite, stored, 0), grey)
    notes, shown = _note_of_gaps(finite), finite & ~_padding(stored, grey)
    if grey.voi_lut is not None:
        levels = _look_up(values, grey.voi_lut) / (2**grey.voi_lut.bits - 1)
    elif grey.window is not None:
        levels = apply_window(values, grey.window, grey.function)
    else:
        levels, low, high = _stretch(values, shown)
        notes += (f"The file gives no window: its values from {low:g} to {high:g} are shown black to white.",)
    if grey.inverted:
        levels = 1 - levels
    return np.where(shown, np.clip(levels, 0, 1), 0).astype(np.float32), notes, _extent(values, shown)


def apply_window(values: np.ndarray, window: tuple[float, float], function: str = "LINEAR") -> np.ndarray:
    """`values` through the window (centre, width): 0 at its lower end, 1 at its upper, clipped to [0, 1].

    `function` is LINEAR, LINEAR_EXACT or SIGMOID (PS3.3 C.11.2.1.2.1, C.11.2.1.3.2, C.11.2.1.3.1). LINEAR measures from
    the middle of the first grey level to that of the last, hence its half and one, and needs a width of at least 1.
    """
    centre, width = window
    if function == "SIGMOID":
        return np.asarray(1 / (1 + np.exp(np.clip(-4 * (values - centre) / width, -60, 60))))
    if function == "LINEAR":
        centre, width = centre - 0.5, width - 1
    if width == 0:
        return (values > centre).astype(np.float64)
    return np.clip((values - centre) / width + 0.5, 0, 1)


def check_window(window: tuple[float, float], function: str) -> tuple[float, float]:
    """`window` as two numbers that `function` can work with. Raises InputError."""
    centre, width = (float(v) for v in window)
    if not np.isfinite([centre, width]).all() or width <= 0 or (function == "LINEAR" and width < 1):
        least = "at least 1" if function == "LINEAR" else "more than 0"
        raise InputError(f"A window is (centre, width) with a width of {least}; ({centre:g}, {width:g}) was given.")
    return centre, width


def to_unit(stored: Stored) -> tuple[np.ndarray, Notes]:
    """The pixels of a picture as float32 in [0, 1], and what the user should know of it.

    They are divided by the white of their bits. Of 16 bits only as many count as the largest value needs (8, 10, 12, 14
    or 16), with a note: 12-bit cameras and detectors write 16-bit files that would be nearly black. DICOM colours are
    exempt, because their header names their bits. Floats within [0, 1] stay as they are. Everything else is stretched
    from its lowest to its highest value, with a note.
    """
    pixels = stored.pixels
    if stored.white is not None:
        bits = _bits_used(stored)
        if bits is None:
            return np.clip(pixels.astype(np.float32) / np.float32(stored.white), 0, 1), ()
        note = f"The file has 16 bits and its values end at {pixels.max()}: it is read as a {bits}-bit picture."
        return pixels.astype(np.float32) / np.float32(2**bits - 1), (note,)
    finite = np.isfinite(pixels)
    notes, values = _note_of_gaps(finite), np.where(finite, pixels, 0)
    if pixels.dtype.kind == "f" and finite.any() and values.min() >= 0 and values.max() <= 1:
        return values.astype(np.float32), notes
    levels, low, high = _stretch(values.astype(np.float64), finite)
    notes += (f"The file does not name its white: its values from {low:g} to {high:g} are shown black to white.",)
    return np.where(finite, levels, 0).astype(np.float32), notes


def _bits_used(stored: Stored) -> int | None:
    """The bits that a 16-bit picture file needs for its largest value; None where all of them or another file."""
    if stored.white != 65535 or stored.kind == "DICOM":
        return None
    largest = int(stored.pixels.max())
    return next((bits for bits in (8, 10, 12, 14) if largest < 2**bits), None)


def _stretch(values: np.ndarray, shown: np.ndarray) -> tuple[np.ndarray, float, float]:
    """`values` with the lowest and highest of those `shown` brought to 0 and 1, and these two. One value is black."""
    if not shown.any():
        raise ReadError("The picture holds no value that is a number and not padding. Export it again.")
    low, high = float(values[shown].min()), float(values[shown].max())
    if not np.isfinite(high - low):
        raise ReadError("The picture's values lie further apart than numbers can say. Export it again.")
    return (values - low) / ((high - low) or 1), low, high


def _extent(values: np.ndarray, shown: np.ndarray) -> Extent | None:
    if not shown.any():
        return None
    low, high = float(values[shown].min()), float(values[shown].max())
    return (low, high) if np.isfinite(high - low) else None


def _modality(values: np.ndarray, grey: Grey) -> np.ndarray:
    if grey.modality_lut is not None:
        return _look_up(values, grey.modality_lut)
    return values.astype(np.float64) * grey.slope + grey.intercept


def _look_up(values: np.ndarray, lut: Lut) -> np.ndarray:
    """Inputs below and above the table give its first and last entry (PS3.3 C.11.1.1.1)."""
    index = np.clip(np.rint(values) - lut.first, 0, len(lut.values) - 1).astype(np.intp)
    return np.asarray(np.asarray(lut.values, dtype=np.float64)[index])


def _padding(stored: np.ndarray, grey: Grey) -> np.ndarray:
    if grey.padding is None:
        return np.zeros(stored.shape, dtype=np.bool_)
    return np.asarray((stored >= grey.padding[0]) & (stored <= grey.padding[1]))


def _note_of_gaps(finite: np.ndarray) -> Notes:
    gaps = finite.size - int(finite.sum())
    return (f"{gaps} pixels hold no finite number and are shown black.",) if gaps else ()
