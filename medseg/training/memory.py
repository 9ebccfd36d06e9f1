"""Memory that a training step frees, kept for the next one."""

from __future__ import annotations

import ctypes
import sys

_TRIM_THRESHOLD, _MMAP_MAX = -1, -4
"""Of `mallopt` (glibc's malloc.h)."""


def keep_freed_memory() -> None:
    """Let the C library keep what is freed, where it is glibc; elsewhere nothing happens.

    Left alone, it gives every large tensor's memory back to the system at once, and the next step waits while each page
    is handed out and cleared anew: on a CPU that takes more than a third of the time (`benchmarks/allocator.py`).
    """
    if sys.platform != "linux":
        return
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)  # musl has none
    if mallopt:
        mallopt(_MMAP_MAX, 0)  # large blocks from the heap too, where they can be used again
        mallopt(_TRIM_THRESHOLD, -1)  # never give the heap's end back
