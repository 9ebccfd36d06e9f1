"""Uncompressed DICOM pixels → the samples of one frame, as unsigned words or floats.

Written here and not taken from pydicom, because its correction of unused bits (PS3.5 8.1.1) takes High Bit for Bits
Stored - 1, and a frame of a long file should cost no more than its own bytes.
"""

from __future__ import annotations

import numpy as np
from pydicom.dataset import Dataset

from medseg.errors import ReadError
from medseg.reading.dicom_header import Geometry, integer, pixel_bytes


def native_frame(header: Dataset, shape: Geometry, frame: int) -> np.ndarray:
    """The words of `frame`, (rows, columns) or (rows, columns, 3): all bits allocated, chroma at full resolution."""
    words = _words(header, shape, frame)
    if shape.photometric == "YBR_FULL_422":
        return _full_chroma(words, shape)
    if shape.samples == 1:
        return words.reshape(shape.rows, shape.columns)
    if integer(header, "PlanarConfiguration") == 1:
        return np.moveaxis(words.reshape(shape.samples, shape.rows, shape.columns), 0, -1)
    return words.reshape(shape.shape)


def check_length(header: Dataset, shape: Geometry) -> tuple[str, ...]:
    """What the user should know of bytes behind the last frame; refused where they, or too few, belie the header.

    Some writers leave padding there (PS3.5 8.1.1, note): zeros, or less than any row or column more would take.
    """
    if shape.samples == 3 and integer(header, "PlanarConfiguration") not in (0, 1):
        raise ReadError("This DICOM's Planar Configuration (0028,0006) is neither 0 nor 1. Export it again.")
    value, wanted = pixel_bytes(header), shape.native_bytes
    excess = len(value) - wanted - wanted % 2
    if excess <= 0 and len(value) >= wanted:
        return ()
    line = min(shape.rows, shape.columns) * shape.samples * shape.allocated / 8
    if excess < 0 or (excess >= line and value[wanted:].strip(b"\0")):
        raise ReadError(
            f"This DICOM contradicts itself: {shape.columns} × {shape.rows} pixels × {shape.frames} frames × "
            f"{shape.samples} samples of {shape.allocated} bits are {wanted} bytes, it holds {len(value)}. "
            "Export it again."
        )
    return (f"The {excess} bytes behind the last pixel are padding and left out.",)


def _words(header: Dataset, shape: Geometry, frame: int) -> np.ndarray:
    value, little = pixel_bytes(header), header.original_encoding[1] is not False
    if not little and shape.allocated <= 8 and header["PixelData"].VR == "OW":
        value = (
            np.frombuffer(value, ">u2").astype("<u2").tobytes()
        )  # bytes lie in words, of the other order (PS3.5 A.3)
    first = frame * shape.frame_bits
    if shape.allocated == 1:
        held = np.frombuffer(value, np.uint8)[first // 8 : (first + shape.frame_bits + 7) // 8]
        return np.unpackbits(held, bitorder="little")[first % 8 :][: shape.frame_bits]
    kind = "f" if shape.floating else "u"
    dtype = np.dtype(f"{'<' if little else '>'}{kind}{shape.allocated // 8}")
    words = np.frombuffer(value, dtype, shape.frame_bits // shape.allocated, offset=first // 8)
    return words.astype(dtype.newbyteorder("="), copy=False)


def _full_chroma(words: np.ndarray, shape: Geometry) -> np.ndarray:
    """Y Y B R for each two pixels → (rows, columns, 3), the chroma of the one given to the other (C.7.6.3.1.2)."""
    if shape.columns % 2:
        raise ReadError("This DICOM holds YBR_FULL_422 pixels in rows of odd length. Export it as RGB.")
    pairs = words.reshape(shape.rows, shape.columns // 2, 4)
    chroma = np.repeat(pairs[..., 2:], 2, axis=1)
    return np.concatenate([pairs[..., :2].reshape(shape.rows, shape.columns, 1), chroma], axis=-1)
