"""Bytes → stored pixels. `python -m medseg.reading.decode` is the worker that does it for `medseg.reading.readers`.

Decoders are native code that reads what strangers upload, and no Python time-out stops native code. So they run in a
process of their own with limits on memory, CPU time, files and network, whose death costs one upload and nothing else.
The content alone decides the type, never the name. Imports no torch.

Protocol: one JSON line in, {"path", "frame"}, or {"path", "frame": null} to count frames, or {"path", "source": [frame,
…]} for what a DICOM SEG of those frames repeats. Out comes a header, as four bytes of its length and JSON, {"error":
sentence}, {"frames": n}, {"source", "file_sha256"} or that of `stored.to_header`, the last followed by the pixels'
bytes.
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
from PIL import Image

from medseg.errors import ReadError
from medseg.reading import dicom, dicom_source, nifti, raster
from medseg.reading.dicom_header import is_bare_dicom, is_part10
from medseg.reading.nifti import is_nifti
from medseg.reading.stored import MAX_BYTES, MAX_PIXELS, Stored, to_header

if sys.platform != "win32":
    import resource

_MEMORY_BYTES = 2 * 2**30
_LEAST_CPU_SECONDS = 1.5
_CPU_SECONDS_PER_BYTE = 0.5e-6
_MOST_CPU_SECONDS = 8.0  # a decoder still busy then is not going to end; the parent's wall limit is a little longer
_TIFF = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")

_REFUSED = (  # audit events: network, other processes, changes on disk
    *("socket.", "subprocess.", "os.system", "os.exec", "os.fork", "os.posix_spawn", "os.spawn", "os.kill"),
    *("os.remove", "os.rename", "os.rmdir", "os.mkdir", "os.link", "os.symlink", "os.truncate", "shutil.", "ctypes."),
)
_WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND

Count = Callable[[bytes], int]
Read = Callable[[bytes, int], Stored]


def decode(data: bytes, frame: int = 0) -> Stored:
    """Frame `frame` of the picture file `data`, as it is stored.

    Raises ReadError, with a sentence for the user, for whatever cannot be read, however the decoder failed.
    """
    kind, _, read, unpacked = _recognise(data)
    with _named(kind):
        return dataclasses.replace(read(unpacked, frame), file_sha256=hashlib.sha256(data).hexdigest())


def count_frames(data: bytes) -> int:
    """How many frames the picture file `data` holds, by its header. Raises ReadError."""
    kind, count, _, data = _recognise(data)
    with _named(kind):
        return count(data)


def describe_source(data: bytes, frames: Sequence[int]) -> list[dict[str, Any]]:
    """What a DICOM result of `frames` repeats of the DICOM `data` (`dicom_source.read_source`). Raises ReadError."""
    kind, *_ = _recognise(data)
    if kind != "DICOM":
        raise ReadError(
            f"A DICOM SEG refers to the DICOM that it was made from, and this picture's file is a {kind}. "
            "Choose another format."
        )
    with _named(kind):
        return dicom_source.read_source(data, frames)


def _recognise(data: bytes) -> tuple[str, Count, Read, bytes]:
    """Name, counter and reader for the first bytes of `data`, and `data` itself, unpacked where it is a .nii.gz."""
    if is_part10(data):  # first of all, because the 128 free bytes before it may be a TIFF's header (PS3.10 7.1)
        return "DICOM", dicom.count_dicom, dicom.read_dicom, data
    if data[:2] == b"\x1f\x8b":
        with _named("gzip archive"):
            data = nifti.unpack(data)
    if data[:16] == b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR" and len(data) > 33:
        return "PNG", raster.count_png, raster.read_png, data
    if data[:3] == b"\xff\xd8\xff":
        return "JPEG", raster.count_jpeg, raster.read_jpeg, data
    if data[:4] in _TIFF:
        return "TIFF", raster.count_tiff, raster.read_tiff, data
    if is_nifti(data):
        return "NIfTI", nifti.count_nifti, nifti.read_nifti, data
    if is_bare_dicom(data):
        return "DICOM", dicom.count_dicom, dicom.read_dicom, data
    raise ReadError("This file's content is none of PNG, JPEG, TIFF, DICOM, NIfTI. Choose a picture of one of these.")


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
                raise ReadError("This is a folder or a device. Choose an ordinary picture file.")
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


def answer(request: dict[str, Any]) -> tuple[dict[str, Any], np.ndarray | None]:
    """The reply to one `request`: a header and, where a picture was asked for and found, its pixels."""
    try:
        data = read_bytes(request["path"])
        if "source" in request:
            source = describe_source(data, request["source"])
            return {"source": source, "file_sha256": hashlib.sha256(data).hexdigest()}, None
        if request["frame"] is None:
            return {"frames": count_frames(data)}, None
        stored = decode(data, request["frame"])
        pixels = stored.pixels
        # The parent reads native byte order and one block of memory, whatever view the decoder left.
        pixels = np.ascontiguousarray(pixels, dtype=pixels.dtype.newbyteorder("="))
        return {**to_header(stored), "shape": pixels.shape, "dtype": pixels.dtype.str}, pixels
    except ReadError as error:
        return {"error": str(error)}, None
    except MemoryError:
        return {"error": "The file needs more memory than medseg allows. Make it smaller first."}, None


def serve(requests: BinaryIO, replies: BinaryIO) -> None:
    """Say with an empty header that all is imported, then answer until the parent closes its end or dies."""
    _send(replies, {}, None)
    for line in requests:
        request = json.loads(line)
        _grant_cpu(request["path"])
        _send(replies, *answer(request))


def _send(replies: BinaryIO, header: dict[str, Any], pixels: np.ndarray | None) -> None:
    text = json.dumps(header).encode()
    replies.write(len(text).to_bytes(4, "little") + text)
    if pixels is not None:
        replies.write(pixels.data.cast("B"))
    replies.flush()


def _limit() -> None:
    """Take from this process all that decoding does not need. On Windows only the audit hook applies."""
    Image.MAX_IMAGE_PIXELS = MAX_PIXELS
    if sys.platform != "win32":
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))  # a core dump would hold the picture
        resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))
        with contextlib.suppress(ValueError, OSError):  # macOS refuses it
            resource.setrlimit(resource.RLIMIT_AS, (_MEMORY_BYTES, _MEMORY_BYTES))
    sys.addaudithook(_refuse)


def _refuse(event: str, arguments: tuple[Any, ...]) -> None:
    if event.startswith(_REFUSED) or (event == "open" and arguments[2] & _WRITING):
        raise PermissionError(f"a decode worker does not use {event}")


def _grant_cpu(path: str) -> None:
    """Let the process use CPU time in proportion to the length of the file; beyond, the kernel ends it (SIGPROF).

    JPEG 2000, the slowest, takes 0.1 s a megabyte. RLIMIT_CPU would count in whole seconds, too coarse for small files.
    """
    if sys.platform != "win32":
        length = os.path.getsize(path) if os.path.exists(path) else 0
        signal.setitimer(
            signal.ITIMER_PROF, min(_LEAST_CPU_SECONDS + length * _CPU_SECONDS_PER_BYTE, _MOST_CPU_SECONDS)
        )


def main() -> None:
    """Serve on stdin and on a private copy of stdout: what native code prints to stdout cannot garble a reply."""
    warnings.simplefilter("ignore")
    replies = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    _limit()
    serve(sys.stdin.buffer, replies)


if __name__ == "__main__":
    main()
