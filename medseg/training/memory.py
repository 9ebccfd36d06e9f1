"""Memory that a training step frees, kept for the next one."""

from __future__ import annotations

from medseg.inference.memory import MMAP_MAX, TRIM_THRESHOLD, set_malloc


def keep_freed_memory() -> None:
    """Let the C library keep what is freed, where it is glibc; elsewhere nothing happens.

    Left alone, it gives every large tensor's memory back to the system at once, and the next step waits while each page
    is handed out and cleared anew: on a CPU that takes more than a third of the time (`benchmarks/allocator.py`).
    """
    set_malloc(MMAP_MAX, 0)  # large blocks from the heap too, where they can be used again
    set_malloc(TRIM_THRESHOLD, -1)  # never give the heap's end back
