"""What a decode worker may do: so much memory and CPU time, no network, no other process, no change on disk."""

from __future__ import annotations

import contextlib
import os
import signal
import sys
from collections.abc import Iterator
from typing import Any

from PIL import Image

from medseg.reading.stored import MAX_PIXELS

if sys.platform != "win32":
    import resource

_MEMORY_BYTES = 2 * 2**30
_LEAST_CPU_SECONDS = 1.5
_CPU_SECONDS_PER_BYTE = 0.15e-6  # JPEG 2000, the slowest, takes 0.1 s a megabyte
_MOST_CPU_SECONDS = 8.0  # a decoder still busy then is not going to end; the parent's wall limit is longer

_REFUSED = (  # audit events: network, other processes, changes on disk
    *("socket.", "subprocess.", "os.system", "os.exec", "os.fork", "os.posix_spawn", "os.spawn", "os.kill"),
    *("os.remove", "os.rename", "os.rmdir", "os.mkdir", "os.link", "os.symlink", "os.truncate", "shutil.", "ctypes."),
)
_WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND


def limit() -> None:
    """Take from this process all that decoding does not need. On Windows only the audit hook applies."""
    Image.MAX_IMAGE_PIXELS = MAX_PIXELS
    if sys.platform != "win32":
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))  # a core dump would hold the image
        resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))
        with contextlib.suppress(ValueError, OSError):  # macOS refuses it
            resource.setrlimit(resource.RLIMIT_AS, (_MEMORY_BYTES, _MEMORY_BYTES))
    sys.addaudithook(_refuse)


def _refuse(event: str, arguments: tuple[Any, ...]) -> None:
    if event.startswith(_REFUSED) or (event == "open" and arguments[2] & _WRITING):
        raise PermissionError(f"a decode worker does not use {event}")


def grant_cpu(path: str) -> None:
    """Let decoders use CPU time in proportion to the length of the file; beyond, the kernel ends the process (SIGPROF).

    RLIMIT_CPU would count in whole seconds, too coarse for small files.
    """
    if sys.platform != "win32":
        length = os.path.getsize(path) if os.path.exists(path) else 0
        signal.setitimer(
            signal.ITIMER_PROF, min(_LEAST_CPU_SECONDS + length * _CPU_SECONDS_PER_BYTE, _MOST_CPU_SECONDS)
        )


@contextlib.contextmanager
def unhurried() -> Iterator[None]:
    """Stop the clock for work whose time the limits on bytes bound: no codec of a stranger's stream runs in it."""
    if sys.platform == "win32":
        yield
        return
    left, _ = signal.setitimer(signal.ITIMER_PROF, 0)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_PROF, max(left, 0.01) if left else 0)


def ended_for_time(returncode: int | None) -> bool:
    """Whether a worker that ended with `returncode` had used up its CPU time."""
    return sys.platform != "win32" and returncode == -signal.SIGPROF
