"""What the C library does with memory that is freed: told where it is glibc, elsewhere nothing happens."""

from __future__ import annotations

import ctypes
import sys

MMAP_THRESHOLD, TRIM_THRESHOLD, MMAP_MAX = -3, -1, -4
"""Of `mallopt` (glibc's malloc.h)."""

_LARGE = 2**20


def set_malloc(option: int, value: int) -> None:
    """`mallopt` of the C library."""
    _call("mallopt", option, value)


def return_holes() -> None:
    """Give the system the pages that lie free between what stays; images of many sizes leave many."""
    _call("malloc_trim", 0)


def _call(name: str, *arguments: int) -> None:
    function = getattr(ctypes.CDLL(None), name, None) if sys.platform == "linux" else None  # musl has none
    if function:
        function(*arguments)


def return_large_blocks() -> None:
    """Give blocks of a megabyte and more back to the system when they are freed.

    Left alone, glibc takes them from its heap as soon as the first was freed. Images of many sizes then leave holes
    between what stays, and a folder of thousands grows the process by a third (`benchmarks/inference.py`).
    """
    set_malloc(MMAP_THRESHOLD, _LARGE)
