"""Stored pixels: what a decoder takes out of a file, before any of it is turned into a grey level or turned upright.

This is the language between the decode worker and its parent: everything but `Stored.pixels` is plain JSON, so that the
parent never unpickles what a worker, which has read a stranger's file, sends back. The limits live here too, because
every format checks its *declared* size against them before a single pixel is decoded.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from medseg.arrays import Spacing
from medseg.errors import ReadError
from medseg.image import Image

MAX_PIXELS = 40_000_000
"""Most pixels in one frame: a whole-film mammogram has 17 million, the largest flat panel about 25 million."""

MAX_FRAMES = 65_536
"""Most frames, pages or slices in one file or series. Each is decoded when it is asked for, so only bytes cost."""

MAX_BYTES = 512 * 2**20
"""Most bytes of one file, of what it unpacks to, and of one decoded frame."""

MAX_VALUES = 90_000_000
"""Most values (pixels × channels) of one image: as float32 they take less than 400 MB of the process that asks."""

MAX_CHANNELS = 64
"""Most channels of one image: as many as a member's input may have (`medseg.config`)."""

Extents = tuple[tuple[float, float], ...]


@dataclass(frozen=True)
class Lut:
    """A DICOM look-up table (PS3.3 C.11.1.1.1, C.11.2.1.1): inputs from `first` on give `values`, `bits` bits wide."""

    first: int
    values: list[int]
    bits: int


@dataclass(frozen=True)
class Grey:
    """How stored values become grey levels, as the file says: modality step, VOI step, polarity, padding.

    `modality_lut` stands in for `slope` and `intercept` where the file has one, `voi_lut` for `window` (centre, width)
    with its VOI LUT `function`. `inverted` is True where the lowest value is white (MONOCHROME1). `padding` is the
    lowest and highest stored value that is no part of the image (PS3.3 C.7.5.1.1.2). `windows` are all that the file
    offers; `window` is the first of them.
    """

    slope: float = 1.0
    intercept: float = 0.0
    modality_lut: Lut | None = None
    voi_lut: Lut | None = None
    window: tuple[float, float] | None = None
    function: str = "LINEAR"
    inverted: bool = False
    padding: tuple[float, float] | None = None
    windows: tuple[tuple[float, float], ...] = ()


@dataclass(frozen=True, eq=False)
class Stored:
    """One frame as the file stores it, (H, W) or (H, W, channels), and what is needed to show it.

    `white` is the stored value of full brightness, None where the file does not say (floats, wide integers, volumes).
    `palette` holds a row (red, green, blue), each 0 to 255, per stored index. `orientation` is the EXIF code 1 to 8 of
    the grid. `grey` is given for grey DICOM and for NIfTI alone, alike for all channels. `lossy` is True for JPEGs.
    `file_sha256` is the hash of the whole file; `affine` is a NIfTI volume's, in mm, None where the file does not say
    how the patient lies. `inverted` is True where the lowest value is white and the values themselves mean more than
    their shades do, as in the masks of ImageJ: an image of them is inverted, a mask is not. `extents` are the lowest
    and highest value (after the modality step) of each channel over all frames, None where each frame has its own.
    """

    pixels: np.ndarray
    kind: str
    frame: int = 0
    frames: int = 1
    white: float | None = None
    palette: list[list[int]] | None = None
    lossy: bool = False
    orientation: int = 1
    spacing_mm: Spacing | None = None
    modality: str | None = None
    grey: Grey | None = None
    notes: tuple[str, ...] = ()
    file_sha256: str | None = None
    affine: list[list[float]] | None = None
    inverted: bool = False
    extents: Extents | None = None


@dataclass(frozen=True, eq=False)
class Opened:
    """A file whose header is understood: its `kind`, its number of `frames`, and how to `read` one, counted from 0.

    `first` is the frame to begin with, the middle one of a volume. `extents`, where a format has a quick way to them,
    gives those of `Stored` over all frames.
    """

    kind: str
    frames: int
    read: Callable[[int], Stored]
    first: int = 0
    extents: Callable[[], Extents] | None = None


def to_header(stored: Stored) -> dict[str, Any]:
    """`stored` without its pixels, as JSON can carry it; `shape` and `dtype` say how to read the bytes that follow."""
    fields = {name: value for name, value in vars(stored).items() if name not in ("pixels", "grey")}
    grey = asdict(stored.grey) if stored.grey else None
    return {**fields, "grey": grey, "shape": list(stored.pixels.shape), "dtype": stored.pixels.dtype.str}


def from_header(header: Mapping[str, Any], pixels: np.ndarray) -> Stored:
    """The inverse of `to_header`."""
    fields = {name: value for name, value in header.items() if name not in ("shape", "dtype")}
    fields["notes"] = tuple(fields["notes"])
    fields["spacing_mm"] = _pair(fields["spacing_mm"])
    fields["extents"] = None if fields["extents"] is None else tuple((low, high) for low, high in fields["extents"])
    if fields["grey"]:
        fields["grey"] = _grey(fields["grey"])
    return Stored(pixels=pixels, **fields)


def _grey(fields: dict[str, Any]) -> Grey:
    luts = {name: Lut(**fields[name]) if fields[name] else None for name in ("modality_lut", "voi_lut")}
    pairs = {name: _pair(fields[name]) for name in ("window", "padding")}
    windows = tuple((centre, width) for centre, width in fields["windows"])
    return Grey(**{**fields, **luts, **pairs, "windows": windows})


def _pair(values: list[float] | None) -> tuple[float, float] | None:
    return None if values is None else (values[0], values[1])


def image_to_header(image: Image) -> dict[str, Any]:
    """`image` without its pixels, as JSON can carry it."""
    fields = {name: value for name, value in vars(image).items() if name not in ("pixels", "sha256")}
    affine = None if image.affine is None else image.affine.tolist()
    return {**fields, "affine": affine, "shape": list(image.pixels.shape), "dtype": image.pixels.dtype.str}


def image_from_header(header: Mapping[str, Any], pixels: np.ndarray) -> Image:
    """The inverse of `image_to_header`."""
    fields = {name: value for name, value in header.items() if name not in ("shape", "dtype")}
    fields["notes"] = tuple(fields["notes"])
    fields["windows"] = tuple((centre, width) for centre, width in fields["windows"])
    for name in ("spacing_mm", "window", "extent"):
        fields[name] = _pair(fields[name])
    fields["affine"] = None if fields["affine"] is None else np.array(fields["affine"])
    return Image(pixels, **fields)


def check_frame(frame: int, frames: int) -> None:
    """Refuse a file of too many frames, and a `frame` (counted from 0) that it does not have."""
    if frames > MAX_FRAMES:
        raise ReadError(f"The file holds {frames} frames; medseg reads files of up to {MAX_FRAMES}. Split it first.")
    if frames < 1:
        raise ReadError(f"The file declares {frames} frames, so there is no image in it. Export it again.")
    if not 0 <= frame < frames:
        held = "1 frame" if frames == 1 else f"{frames} frames"
        raise ReadError(f"The file holds {held}, counted from 0, so there is no frame {frame}. Choose another frame.")


def check_size(height: int, width: int, bytes_per_pixel: float) -> None:
    """Refuse a declared frame size that is empty or larger than the limits; call it before anything is decoded."""
    if height < 1 or width < 1:
        raise ReadError(f"The file declares an image of {width} × {height} pixels, which is empty. Export it again.")
    if height * width > MAX_PIXELS:
        raise ReadError(
            f"The file declares an image of {width} × {height} pixels; medseg reads up to "
            f"{MAX_PIXELS // 10**6} million. Scale it down first."
        )
    if math.ceil(height * width * bytes_per_pixel) > MAX_BYTES:
        raise ReadError(
            f"The file's pixels unpack to more than {MAX_BYTES // 2**20} MiB. Save it with fewer bits per pixel."
        )


def plausible_spacing(row: float, column: float) -> Spacing | None:
    """(row, column) in mm where both lie between a nanometre and ten metres; None for what no scanner measures."""
    return (row, column) if all(1e-6 <= side <= 1e4 for side in (row, column)) else None


def check_channels(height: int, width: int, channels: int) -> None:
    """Refuse a declared image of too many channels, or of more values than fit into memory once they are levels."""
    if channels > MAX_CHANNELS:
        raise ReadError(
            f"The file holds {channels} values at every place, which would be channels; medseg reads up to "
            f"{MAX_CHANNELS}. Save the ones that are meant."
        )
    check_size(height, width, 1)
    if height * width * channels > MAX_VALUES:
        raise ReadError(
            f"The file declares an image of {width} × {height} pixels in {channels} channels; medseg reads up to "
            f"{MAX_VALUES // channels / 10**6:.0f} million pixels of so many. Scale it down first."
        )
