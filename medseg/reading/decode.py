"""Bytes → images. `python -m medseg.reading.decode` is the worker that does it for `medseg.reading.readers`.

Decoders are native code that reads what strangers upload, and no Python time-out stops native code. So they run in a
process of their own with limits on memory, CPU time, files and network, whose death costs one upload and nothing else.
The content alone decides the type, never the name. Imports no torch.

Protocol: one JSON line in, {"path", "do", …}. Out comes a header, as four bytes of its length and JSON, followed by the
bytes of the pixels where there are any. `do` is
    "image"    with "frame" (null: where the file opens), "window", "extent": header of the `Image`, levels in [0, 1]
    "stored"   with "frame": header of the `Stored` frame, pixels as they are stored, for masks
    "frames"   → {"frames", "first"}
    "extent"   with "frame" → {"extent"}: lowest and highest value of a grey frame
    "slice"    → {"slice"}: where a DICOM file lies in its series (`dicom_slice.read_slice`)
    "patient"  → {"patient"}: a hash that the DICOM files of one patient share (`dicom_slice.read_patient`)
    "source"   with "frames" → {"source", "file_sha256"}: what a DICOM result repeats of these frames
and whatever cannot be read gives {"error": sentence}, with "input": true where the request and not the file is wrong.
"""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import json
import os
import signal
import stat
import sys
import warnings
from collections.abc import Callable, Iterator, Sequence
from typing import Any, BinaryIO

import numpy as np

from medseg.errors import InputError, ReadError
from medseg.image import Image
from medseg.reading import jpeg2000, raster, sandbox
from medseg.reading.levels import extents_of, is_stretched, to_image
from medseg.reading.signatures import is_bare_dicom, is_nifti, is_part10, is_tiff
from medseg.reading.stored import (
    MAX_BYTES,
    Extents,
    Opened,
    Stored,
    check_frame,
    image_to_header,
    to_header,
)

_KEEP_SECONDS = 30
"""How long the last file stays unpacked for the next of its frames."""

_SAMPLED_PIXELS = 8_000_000
_SAMPLED_FRAMES = 32
"""Of the frames of one file, or the slices of a series, so many show what the darkest and brightest value is."""

_PNG_START = b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR"
_KINDS = "PNG, JPEG, JPEG 2000, TIFF, BMP, GIF, WebP, DICOM, NIfTI"
_Answer = tuple[dict[str, Any], np.ndarray | None]


class File:
    """A file that is open: its header is understood, and its frames can be read."""

    def __init__(self, data: bytes) -> None:
        with sandbox.unhurried():
            self.sha256 = hashlib.sha256(data).hexdigest()
        self.kind, open_it, data = _recognise(data)
        with _named(self.kind):
            self.opened: Opened = open_it(data)
            check_frame(0, self.opened.frames)
        self._extents: Extents | None = None

    def stored(self, frame: int | None) -> Stored:
        """Frame `frame`, the one to begin with for None, as it is stored. Raises ReadError."""
        frame = self.opened.first if frame is None else frame
        check_frame(frame, self.opened.frames)
        with _named(self.kind):
            return dataclasses.replace(self.opened.read(frame), file_sha256=self.sha256)

    def image(self, frame: int | None, window: Sequence[float] | None, extent: Sequence[float] | None) -> Image:
        """The upright image of a frame; of several the values of all of them decide what is black and white."""
        stored = self.stored(frame)
        if extent is not None:
            stored = dataclasses.replace(stored, extents=((extent[0], extent[1]),))
        elif self.opened.frames > 1 and is_stretched(stored):
            stored = self._with_extents(stored)
        with sandbox.unhurried():
            return to_image(stored, None if window is None else (window[0], window[1]))

    def _with_extents(self, stored: Stored) -> Stored:
        notes: tuple[str, ...] = ()
        if self.opened.extents is not None:
            with sandbox.unhurried(), _named(self.kind):
                self._extents = self._extents or self.opened.extents()
        else:
            sample = sampled(self.opened.frames, stored.pixels.size)
            self._extents = self._extents or self._sample_extents(sample)
            if len(sample) < self.opened.frames:
                notes = (f"What is black and white was found in {len(sample)} of the {stored.frames} frames.",)
        extents = self._extents if self._extents and len(self._extents) == len(extents_of(stored)) else None
        return dataclasses.replace(stored, extents=extents, notes=(*stored.notes, *notes))

    def _sample_extents(self, sample: Sequence[int]) -> Extents | None:
        parts = [extents_of(self.stored(frame)) for frame in sample]
        channels = [[end for end in ends if end is not None] for ends in zip(*parts, strict=False)]
        if not channels or not all(channels):
            return None
        return tuple((min(low for low, _ in ends), max(high for _, high in ends)) for ends in channels)


def sampled(frames: int, pixels: int) -> list[int]:
    """Which of so many frames of so many pixels are looked at: all, or some at equal distances, at least three."""
    count = min(frames, max(3, min(_SAMPLED_FRAMES, _SAMPLED_PIXELS // max(1, pixels))))
    return sorted({round(index) for index in np.linspace(0, frames - 1, count)})


def decode(data: bytes, frame: int = 0) -> Stored:
    """Frame `frame` of the image file `data`, as it is stored.

    Raises ReadError, with a sentence for the user, for whatever cannot be read, however the decoder failed.
    """
    return File(data).stored(frame)


def count_frames(data: bytes) -> int:
    """How many frames the image file `data` holds, by its header. Raises ReadError."""
    return File(data).opened.frames


def is_recognised(head: bytes) -> bool:
    """Whether a file begins, by its first 4096 bytes, as one of a format that is read; a gzip archive may."""
    return is_part10(head) or head[:2] == b"\x1f\x8b" or any(fits(head) for _, fits, _ in _FORMATS)


def _recognise(data: bytes) -> tuple[str, Callable[[Any], Opened], Any]:
    """Name and opener for the first bytes of `data`, and `data` itself, unpacked where it is a .nii.gz."""
    if is_part10(data):  # first of all, because the 128 free bytes before it may be a TIFF's header (PS3.10 7.1)
        return "DICOM", _open_dicom, data
    content: bytes | bytearray = data
    if data[:2] == b"\x1f\x8b":
        with _named("gzip archive"), sandbox.unhurried():
            from medseg.reading import nifti

            content = nifti.unpack(data)
    for kind, fits, open_it in _FORMATS:
        if fits(content):
            return kind, open_it, content
    raise ReadError(f"This file's content is none of {_KINDS}. Choose an image of one of these.")


# pydicom, nibabel and tifffile take longer to import than all else here, and most workers need none of them


def _open_dicom(data: Any) -> Opened:
    with sandbox.unhurried():
        from medseg.reading import dicom
    return dicom.open_file(data)


def _open_nifti(data: Any) -> Opened:
    with sandbox.unhurried():
        from medseg.reading import nifti
    return nifti.open_nifti(data)


def _open_tiff(data: Any) -> Opened:
    with sandbox.unhurried():
        from medseg.reading import tiff
    return tiff.open_tiff(data)


_FORMATS: tuple[tuple[str, Callable[[Any], bool], Callable[[Any], Opened]], ...] = (
    ("PNG", lambda data: data[:16] == _PNG_START and len(data) > 33, raster.open_png),
    ("JPEG", lambda data: data[:3] == b"\xff\xd8\xff", raster.open_jpeg),
    ("TIFF", is_tiff, _open_tiff),
    ("JPEG 2000", jpeg2000.is_jpeg2000, jpeg2000.open_jpeg2000),
    ("GIF", lambda data: data[:6] in (b"GIF87a", b"GIF89a"), lambda data: raster.open_other(data, "GIF")),
    (
        "WebP",
        lambda data: data[:4] == b"RIFF" and data[8:12] == b"WEBP",
        lambda data: raster.open_other(data, "WEBP"),
    ),
    ("NIfTI", is_nifti, _open_nifti),
    ("BMP", raster.is_bmp, lambda data: raster.open_other(data, "BMP")),
    ("DICOM", is_bare_dicom, _open_dicom),
)


@contextlib.contextmanager
def _named(kind: str) -> Iterator[None]:
    """Turn whatever a decoder raises into one sentence. Codecs written in Rust panic past `except Exception`."""
    try:
        yield
    except (ReadError, KeyboardInterrupt, SystemExit, GeneratorExit):
        raise
    except MemoryError as error:
        raise ReadError(f"This {kind} needs more memory than medseg allows one file. Make it smaller first.") from error
    except BaseException as error:
        raise ReadError(
            f"This {kind} cannot be decoded: it is damaged, or of a variant that medseg does not read. Export it again."
        ) from error


def read_bytes(path: str) -> bytes:
    """The content of the ordinary file `path`, of up to MAX_BYTES. Raises ReadError, which never repeats the path."""
    try:
        with open(path, "rb", opener=_open_at_once) as file:
            status = os.fstat(file.fileno())
            if not stat.S_ISREG(status.st_mode):
                raise ReadError("This is a folder or a device. Choose an ordinary image file.")
            if status.st_size > MAX_BYTES:
                raise ReadError(
                    f"This file is {status.st_size // 2**20} MiB long; medseg reads up to {MAX_BYTES // 2**20}."
                )
            return file.read(MAX_BYTES)
    except (OSError, ValueError) as error:
        reason = "does not exist" if isinstance(error, FileNotFoundError) else "cannot be opened"
        raise ReadError(f"The file {reason}. Check its name and that you may read it.") from error


def _open_at_once(path: str, flags: int) -> int:
    """Opening a named pipe would otherwise wait until somebody writes into it."""
    return os.open(path, flags | getattr(os, "O_NONBLOCK", 0))


class Desk:
    """Answers requests, and keeps the last file open: the frames of a volume are unpacked once, not once each."""

    def __init__(self) -> None:
        self._key: tuple[object, ...] | None = None
        self._file: File | None = None
        if hasattr(signal, "SIGALRM") and __name__ == "__main__":
            signal.signal(signal.SIGALRM, lambda *_: self.clear())

    def clear(self) -> None:
        """Forget the open file."""
        self._key = self._file = None

    def answer(self, request: dict[str, Any]) -> _Answer:
        """The reply to one `request`: a header and, where an image was asked for and read, its pixels."""
        try:
            return self._answer(request)
        except InputError as error:
            return {"error": str(error), "input": True}, None
        except ReadError as error:
            return {"error": str(error)}, None
        except MemoryError:
            self.clear()
            return {"error": "The file needs more memory than medseg allows. Make it smaller first."}, None

    def _answer(self, request: dict[str, Any]) -> _Answer:
        path, task = request["path"], request["do"]
        if task in ("slice", "patient"):
            with sandbox.unhurried():
                from medseg.reading import dicom_slice
            read = dicom_slice.read_slice if task == "slice" else dicom_slice.read_patient
            with _named("DICOM"):
                return {task: read(path, read_bytes)}, None
        file = self._opened(path)
        if task == "source":
            return {"source": _source(file, path, request["frames"]), "file_sha256": file.sha256}, None
        if task == "frames":
            return {"frames": file.opened.frames, "first": file.opened.first}, None
        if task == "extent":
            return {"extent": extents_of(file.stored(request["frame"]))[0]}, None
        if task == "stored":
            stored = file.stored(request["frame"])
            # The parent reads native byte order and one block of memory, whatever view the decoder left.
            pixels = np.ascontiguousarray(stored.pixels, dtype=stored.pixels.dtype.newbyteorder("="))
            return to_header(dataclasses.replace(stored, pixels=pixels)), pixels
        image = file.image(request["frame"], request.get("window"), request.get("extent"))
        return image_to_header(image), image.pixels

    def _opened(self, path: str) -> File:
        key = _key(path)
        if self._file is None or key is None or key != self._key:
            self.clear()
            with sandbox.unhurried():
                data = read_bytes(path)
            self._file, self._key = File(data), key
        return self._file


def _key(path: str) -> tuple[object, ...] | None:
    """Changes with the file; None where there is none."""
    try:
        status = os.stat(path)
    except (OSError, ValueError):
        return None
    return path, status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns


def _source(file: File, path: str, frames: Sequence[int]) -> list[dict[str, Any]]:
    if file.kind != "DICOM":
        raise ReadError(
            f"A DICOM SEG refers to the DICOM that it was made from, and this image's file is a {file.kind}. "
            "Choose another format."
        )
    with sandbox.unhurried():
        from medseg.reading import dicom_source
    with _named("DICOM"):
        return dicom_source.read_source(read_bytes(path), frames)


def serve(requests: BinaryIO, replies: BinaryIO) -> None:
    """Say with an empty header that the worker is ready, then answer until the parent closes its end or dies."""
    desk = Desk()
    _send(replies, {}, None)
    for line in requests:
        request = json.loads(line)
        sandbox.grant_cpu(request["path"])
        _send(replies, *desk.answer(request))
        if hasattr(signal, "SIGALRM"):
            signal.alarm(_KEEP_SECONDS)


def _send(replies: BinaryIO, header: dict[str, Any], pixels: np.ndarray | None) -> None:
    text = json.dumps(header).encode()
    replies.write(len(text).to_bytes(4, "little") + text)
    if pixels is not None:
        replies.write(pixels.data.cast("B"))
    replies.flush()


def main() -> None:
    """Serve on stdin and on a private copy of stdout: what native code prints to stdout cannot garble a reply."""
    warnings.simplefilter("ignore")
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl+C is for the process that waits, which may finish what runs
    replies = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    sandbox.limit()
    serve(sys.stdin.buffer, replies)


if __name__ == "__main__":
    main()
