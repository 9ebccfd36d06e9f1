"""JPEG 2000 codestreams (ISO 15444-1), bare or in a .jp2 file: their declared size, their end, their pixels."""

from __future__ import annotations

import imagecodecs

from medseg.errors import ReadError
from medseg.reading.alpha import without_alpha
from medseg.reading.stored import Opened, Stored, check_channels, check_size

_START = b"\xff\x4f\xff\x51"
_TILE_PART = b"\xff\x90"


def is_jpeg2000(data: bytes) -> bool:
    """Whether `data` begins as a codestream or as a .jp2 file does."""
    return data[:4] == _START or data[:12] == b"\0\0\0\x0cjP  \r\n\x87\n"


def open_jpeg2000(data: bytes) -> Opened:
    """The one image of a .jp2 or .j2k file."""
    return Opened("JPEG 2000", 1, lambda _: _read(data))


def declared(stream: bytes) -> tuple[int, int, int, int]:
    """(rows, columns, components, bits) out of the SIZ segment (A.5.1)."""
    at = stream.find(_START)
    if at < 0 or len(stream) < at + 43:
        raise ReadError("The file holds a frame that is not the JPEG 2000 that its header promises. Export it again.")
    right, bottom, left, top = (int.from_bytes(stream[at + i : at + i + 4], "big") for i in (8, 12, 16, 20))
    components = int.from_bytes(stream[at + 40 : at + 42], "big")
    return bottom - top, right - left, components, (stream[at + 42] & 0x7F) + 1


def check_whole(stream: bytes) -> None:
    """Refuse a codestream whose tile-parts are longer than what is there (A.4.2): some decoders fill in noise."""
    at = stream.find(_TILE_PART, max(0, stream.find(_START)))
    while at >= 0 and stream[at : at + 2] == _TILE_PART:
        length = int.from_bytes(stream[at + 6 : at + 10], "big")
        if length == 0:  # the last tile-part, to the end
            return
        at += length
        if at > len(stream):
            raise ReadError("This JPEG 2000 is incomplete: its data end before its last pixel. Export it again.")


def _read(data: bytes) -> Stored:
    rows, columns, components, bits = declared(data)
    check_size(rows, columns, components * (4 if bits > 16 else 2))
    check_channels(rows, columns, components)
    check_whole(data)
    pixels = imagecodecs.jpeg2k_decode(data, numthreads=1)
    if pixels.shape[:2] != (rows, columns):
        raise ReadError("This JPEG 2000 stores its components on grids of different sizes. Save it as PNG or TIFF.")
    notes: tuple[str, ...] = ()
    if pixels.ndim == 3 and pixels.shape[2] in (2, 4):
        pixels, notes = without_alpha(pixels)
    signed = pixels.dtype.kind == "i"
    white = None if signed or bits > 16 else float(2**bits - 1)
    return Stored(pixels, "JPEG 2000", white=white, lossy=not _is_reversible(data), notes=notes)


def _is_reversible(stream: bytes) -> bool:
    """Whether the wavelet of the COD segment (A.6.1) is the 5-3 one, without which nothing is lossless."""
    at = stream.find(b"\xff\x52", max(0, stream.find(_START)))
    return at >= 0 and stream[at + 13 : at + 14] == b"\x01"
