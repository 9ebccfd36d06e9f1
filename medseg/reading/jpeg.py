"""JPEG streams (ISO 10918-1): what their frame header declares, whether they are whole, and their pixels.

libjpeg fills what is missing in with grey and keeps its warning to itself. A stream that ends before its last pixel is
found out by giving the decoder more to read: bytes put in behind the last scan change the image of such a stream
alone.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator

import numpy as np

from medseg.errors import ReadError

_FRAME_HEADERS = {*range(0xC0, 0xD0), 0xF7} - {0xC4, 0xC8, 0xCC}  # SOF0 to SOF15 and, JPEG-LS, SOF55
_LOSSLESS = {0xC3, 0xC7, 0xCB, 0xCF}
_PROGRESSIVE = {0xC2, 0xC6, 0xCA, 0xCE}
_SCAN, _END, _FIRST = 0xDA, 0xD9, 0xD8
_NEXT_MARKER = re.compile(rb"\xff[^\x00\xff\xd0-\xd7]")  # in a scan, FF00 is a sample and FFD0 to FFD7 are restarts
_RESTART = re.compile(rb"\xff[\xd0-\xd7]")
_MORE = bytes(range(254, 3, -3))
"""Bits unlike the zeros that the decoder fills in."""
_SMALL = 3_000_000  # values: decoding them again takes less than 20 ms
_FLAT = 4  # grey levels: what the decoder fills in has no structure, what was measured nearly always has more
_CUT = "This JPEG is incomplete: its data end before its last pixel. Copy or export it again."

Decode = Callable[[bytes], np.ndarray]


def declared(stream: bytes) -> tuple[int, int, int, int]:
    """(rows, columns, components, bits) out of the frame header (B.2.2) of a JPEG or JPEG-LS stream."""
    for marker, at in _segments(stream):
        if marker in _FRAME_HEADERS and at + 10 <= len(stream):
            rows, columns = (int.from_bytes(stream[at + i : at + i + 2], "big") for i in (5, 7))
            return rows, columns, stream[at + 9], stream[at + 4]
    raise ReadError("The file holds a frame that is not the JPEG that its header promises. Export it again.")


def ended(stream: bytes) -> bytes:
    """`stream` up to its end marker, without the padding, previews or whatever else follows it; with an end marker of
    ours where it has none."""
    return next((stream[: at + 2] for marker, at in _segments(stream) if marker == _END), stream + b"\xff\xd9")


def is_jfif(stream: bytes) -> bool:
    """Whether the stream says that it is JFIF, and its three components therefore YCbCr (JFIF 1.02, Color Space)."""
    return any(marker == 0xE0 and stream[at + 4 : at + 9] == b"JFIF\0" for marker, at in _segments(stream, scans=False))


def is_adobe(stream: bytes) -> bool:
    """Whether the stream has Adobe's segment, which names its colour space."""
    return any(marker == 0xEE and stream[at + 4 : at + 9] == b"Adobe" for marker, at in _segments(stream, scans=False))


def check_whole(stream: bytes, pixels: np.ndarray, decode: Decode) -> None:
    """Refuse the `stream`, which ends with its end marker and was decoded to `pixels`, where data are missing."""
    scans = [at for marker, at in _segments(stream) if marker == _SCAN]
    kind = next((marker for marker, _ in _segments(stream) if marker in _FRAME_HEADERS), 0)
    if len(_components(stream, scans)) < declared(stream)[2]:
        raise ReadError(_CUT)
    if kind in _PROGRESSIVE and not _is_refined(stream, scans):
        raise ReadError(_CUT)
    one_pass = kind not in _PROGRESSIVE | _LOSSLESS and len(scans) == 1
    if one_pass and pixels.size > _SMALL and not _ends_flat(pixels):
        return
    if not np.array_equal(pixels, decode(stream[:-2] + _more(stream) + stream[-2:])):
        raise ReadError(_CUT)


def _more(stream: bytes) -> bytes:
    """What a decoder would use that is not done before the end marker, also where it waits for the next restart."""
    restarts = _RESTART.findall(stream, stream.rindex(b"\xff\xda"))
    due = 0xD0 | (restarts[-1][1] + 1) % 8 if restarts else 0xD0
    more = _MORE + bytes((0xFF, due)) + _MORE
    return b"\0" + more if stream[-3] == 0xFF else more  # an FF and what follows it would be a marker


def _segments(stream: bytes, *, scans: bool = True) -> Iterator[tuple[int, int]]:
    """(marker, place of its FF) of each segment up to the end marker; without `scans` those before the first scan."""
    at = 2
    while at + 4 <= len(stream) or stream[at : at + 2] == b"\xff\xd9":
        if stream[at] != 0xFF:
            return
        marker = stream[at + 1]
        if marker == 0xFF:  # a fill byte
            at += 1
            continue
        yield marker, at
        if marker == _END or (marker == _SCAN and not scans):
            return
        at += 2 + int.from_bytes(stream[at + 2 : at + 4], "big")
        if marker == _SCAN:
            following = _NEXT_MARKER.search(stream, at)
            if following is None:
                return
            at = following.start()


def _components(stream: bytes, scans: list[int]) -> set[int]:
    """The names of the components that the scans hold (B.2.3)."""
    return {name for at in scans for name in stream[at + 5 : at + 5 + 2 * stream[at + 4] : 2]}


def _is_refined(stream: bytes, scans: list[int]) -> bool:
    """Whether the scans of a progressive stream bring every coefficient of every component to its last bit (G.1.1)."""
    lowest: dict[tuple[int, int], int] = {}
    for at in scans:
        count = stream[at + 4]
        names = stream[at + 5 : at + 5 + 2 * count : 2]
        first, last, approximation = stream[at + 5 + 2 * count : at + 8 + 2 * count]
        lowest |= {(name, k): approximation & 15 for name in names for k in range(first, last + 1)}
    return all(lowest.get((name, k), 1) == 0 for name in _components(stream, scans) for k in range(64))


def _ends_flat(pixels: np.ndarray) -> bool:
    """Whether the last pixels, within one block of 8 × 8, are alike, in all channels or in what sets these apart (the
    chroma, which comes last): missing blocks are, of whole ones only some."""
    rows, columns = (min(4, (side - 1) % 8 + 1) for side in pixels.shape[:2])
    corner = pixels[-rows:, -columns:].astype(np.int64).reshape(rows, columns, -1)
    shades = (corner, np.diff(corner)) if corner.shape[2] > 1 else (corner,)
    return any(bool((np.ptp(each, axis=(0, 1)) <= _FLAT).all()) for each in shades)
