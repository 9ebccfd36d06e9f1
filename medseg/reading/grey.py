"""Stored values → levels in [0, 1], each step where the DICOM standard puts it.

Grey DICOM: stored values → modality LUT or rescale → VOI LUT or window → inversion for MONOCHROME1 (PS3.4 N.2, PS3.3
C.11.1, C.11.2, C.7.6.3.1.2). Other images: divided by their white. Large arrays go through in bands of rows, so that
what a step needs in between never takes more memory than the image itself.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np

from medseg.errors import InputError, ReadError
from medseg.reading.stored import Grey, Lut, Stored

Notes = tuple[str, ...]
Extent = tuple[float, float]
Step = Callable[[np.ndarray], np.ndarray]

_BAND = 2**20
"""Values in one band: its float64 copies stay in the cache of a core."""


def to_grey(stored: np.ndarray, grey: Grey, extent: Extent | None = None) -> tuple[np.ndarray, Notes, Extent | None]:
    """The `stored` values as float32 grey levels in [0, 1], 1 = white; what the user should know of it; and the lowest
    and highest value after the modality step, in whose units a window is given (None where all is padding).

    A VOI LUT comes before a window. With neither, the values of `extent` are shown, that of all frames where the file
    has several, else those between the lowest and the highest. Padding and values that are no numbers are black, in
    MONOCHROME1 too, and take no part in that range.
    """
    extent = extent or measure(stored, grey)
    show, notes = _shades(grey, extent)
    finite = extent is not None and np.isfinite(extent[1] - extent[0])
    return _by_table(stored, show), (*_note_of_gaps(stored), *notes), extent if finite else None


def measure(stored: np.ndarray, grey: Grey | None = None) -> Extent | None:
    """The lowest and highest value after the modality step, without padding and what is no number; None of nothing."""
    grey = grey or Grey()
    if _is_narrow(stored):
        values = _modality(_present(stored), grey)[~_padding(_present(stored), grey)]
        return _extent([values])
    if grey.modality_lut is None and grey.padding is None:  # a straight line keeps the ends, or exchanges them
        return _extent([_modality(np.array(ends), grey) for ends in _finite_ends(stored)])
    return _extent(_modality(band[shown], grey) for band, shown in _shown(stored, grey))


def _finite_ends(stored: np.ndarray) -> Iterator[tuple[float, float]]:
    """The lowest and highest number of each band."""
    for band, _ in _bands(stored):
        low, high = band.min(), band.max()
        if not (np.isfinite(low) and np.isfinite(high)):  # rare, and three times as slow
            numbers = band[np.isfinite(band)]
            if not numbers.size:
                continue
            low, high = numbers.min(), numbers.max()
        yield low, high


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
    """The pixels of an image that is no grey DICOM as float32 in [0, 1], and what the user should know of it.

    They are divided by the white of the file's own bits, never by what the values of one image happen to need: the same
    value is the same grey in every image of a series. Floats within [0, 1] stay as they are. Everything else is
    stretched from its lowest to its highest value, those of all frames where there are several, with a note.
    """
    pixels, notes = stored.pixels, _note_of_gaps(stored.pixels)
    if stored.white is not None:
        white = np.float32(stored.white)
        levels = _each_band(pixels, lambda band: np.clip(band / white, 0, 1))
        return _turned(levels, stored.inverted), _note_of_dark(stored)
    extent = stored.extents[0] if stored.extents else measure(pixels)
    if pixels.dtype.kind == "f" and extent is not None and extent[0] >= 0 and extent[1] <= 1:
        extent = (0.0, 1.0)
    else:
        low, high = _checked(extent)
        notes += (f"The file does not name its white: its values from {low:g} to {high:g} are shown black to white.",)
    show, _ = _shades(Grey(inverted=stored.inverted), extent)
    return _by_table(pixels, show), notes


def entry_bits(lut: Lut) -> int:
    """The bits of a table's entries: as declared, unless the largest entry needs more, or leaves the highest of more
    than 8 unused. Agfa's and others' tables declare 16 bits, hold 12, and would come out 16 times too dark."""
    needed = max(lut.values, default=0).bit_length()
    return max(needed, min(lut.bits, 8)) if needed else lut.bits


def _shades(grey: Grey, extent: Extent | None) -> tuple[Step, Notes]:
    """From stored values to levels, and how that was chosen."""
    notes: Notes = ()
    if grey.voi_lut is not None:
        lut, white = grey.voi_lut, 2 ** entry_bits(grey.voi_lut) - 1

        def shade(values: np.ndarray) -> np.ndarray:
            return np.asarray(_look_up(values, lut) / white)
    elif grey.window is not None:
        window, function = grey.window, grey.function

        def shade(values: np.ndarray) -> np.ndarray:
            return apply_window(values, window, function)
    else:
        low, high = _checked(extent)
        notes = (f"The file gives no window: its values from {low:g} to {high:g} are shown black to white.",)

        def shade(values: np.ndarray) -> np.ndarray:
            return np.asarray((values - low) / ((high - low) or 1))

    def show(stored: np.ndarray) -> np.ndarray:
        absent = ~np.isfinite(stored) | _padding(stored, grey)
        levels = shade(_modality(np.where(absent, 0, stored) if absent.any() else stored, grey))
        np.clip(levels, 0, 1, out=levels)
        levels = _turned(levels, grey.inverted)
        levels[absent] = 0
        return levels

    return show, notes


def _checked(extent: Extent | None) -> Extent:
    """The ends of a stretch, refused where there are none or numbers cannot say how far they lie apart."""
    if extent is None:
        raise ReadError("The image holds no value that is a number and not padding. Export it again.")
    if not np.isfinite(extent[1] - extent[0]):
        raise ReadError("The image's values lie further apart than numbers can say. Export it again.")
    return extent


def _extent(bands: Iterator[np.ndarray] | list[np.ndarray]) -> Extent | None:
    ends = [(float(band.min()), float(band.max())) for band in bands if band.size]
    return (min(low for low, _ in ends), max(high for _, high in ends)) if ends else None


# Every step looks at one value at a time, and 16 bits have few values: 4 megapixels take 15 ms instead of 300.


def _is_narrow(stored: np.ndarray) -> bool:
    return stored.dtype.kind in "iu" and stored.dtype.itemsize <= 2


def _codes(stored: np.ndarray) -> np.ndarray:
    return stored.view(f"u{stored.dtype.itemsize}")


def _present(stored: np.ndarray) -> np.ndarray:
    """The values that occur in an array of integers of 8 or 16 bits."""
    present = np.zeros(256**stored.dtype.itemsize, dtype=np.bool_)
    for band, _ in _bands(_codes(stored)):
        present[band] = True
    return np.flatnonzero(present).astype(f"u{stored.dtype.itemsize}").view(stored.dtype)


def _by_table(stored: np.ndarray, show: Step) -> np.ndarray:
    if not _is_narrow(stored):
        return _each_band(stored, show)
    every = np.arange(256**stored.dtype.itemsize, dtype=f"u{stored.dtype.itemsize}").view(stored.dtype)
    table = show(every).astype(np.float32)
    return _each_band(_codes(stored), lambda band: table[band])


def _each_band(array: np.ndarray, step: Step) -> np.ndarray:
    """`step` of each band of rows, together as float32."""
    out = np.empty(array.shape, dtype=np.float32)
    for band, rows in _bands(array):
        out[rows] = step(band)
    return out


def _bands(array: np.ndarray) -> Iterator[tuple[np.ndarray, slice]]:
    height = max(1, _BAND // max(1, array[:1].size))
    for top in range(0, len(array), height):
        rows = slice(top, top + height)
        yield array[rows], rows


def _shown(stored: np.ndarray, grey: Grey) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    for band, _ in _bands(stored):
        yield band, np.isfinite(band) & ~_padding(band, grey)


def _turned(levels: np.ndarray, inverted: bool) -> np.ndarray:
    return np.subtract(1, levels, out=levels) if inverted else levels


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


def _note_of_gaps(stored: np.ndarray) -> Notes:
    if stored.dtype.kind != "f":
        return ()
    gaps = sum(band.size - int(np.isfinite(band).sum()) for band, _ in _bands(stored))
    return (f"{gaps} values are no finite numbers (NaN or infinite) and are shown black.",) if gaps else ()


def _note_of_dark(stored: Stored) -> Notes:
    """What a 16-bit image that uses few of its bits leaves open: 12-bit cameras write such files, nearly black."""
    if stored.white != 65535 or stored.kind == "DICOM":
        return ()
    largest = int(stored.pixels.max())
    bits = next((bits for bits in (8, 10, 12, 14) if largest < 2**bits), 16)
    if bits == 16:
        return ()
    white = 2**bits - 1
    return (
        f"The file has 16 bits and the values of this image end at {largest}: it is dark. If {bits} bits are meant, "
        f"give the window ({white / 2:g}, {white}).",
    )
