"""Faults of a machine that tests and benchmarks cause: a small disk, which is then full or read-only."""

from __future__ import annotations

import contextlib
import os
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path


@contextlib.contextmanager
def small_disk(megabytes: int) -> Iterator[Path | None]:
    """A disk of that size in memory, or None where this machine lets us mount none."""
    with tempfile.TemporaryDirectory() as folder:
        command = ["mount", "-t", "tmpfs", "-o", f"size={megabytes}m", "tmpfs", folder]
        try:
            mounted = subprocess.run(command, capture_output=True, check=False).returncode == 0
        except OSError:
            mounted = False
        try:
            yield Path(folder) if mounted else None
        finally:
            if mounted:
                subprocess.run(["umount", "-l", folder], check=True)


@contextlib.contextmanager
def full(disk: Path) -> Iterator[None]:
    """The disk is full to its last byte, and afterwards has its room again."""
    filler = disk / "filler"
    with filler.open("wb", buffering=0) as file, contextlib.suppress(OSError):
        os.posix_fallocate(file.fileno(), 0, max(1, os.statvfs(disk).f_bavail * os.statvfs(disk).f_frsize))
        file.seek(0, os.SEEK_END)
        while file.write(bytes(4096)):
            pass
    try:
        yield
    finally:
        filler.unlink()


@contextlib.contextmanager
def read_only(disk: Path) -> Iterator[None]:
    """Nothing can be written to the disk, and afterwards it can again. What is being written ends first: until then the
    system refuses."""
    for left in range(100, -1, -1):
        if not subprocess.run(["mount", "-o", "remount,ro", disk], check=not left, capture_output=True).returncode:
            break
        time.sleep(0.1)
    try:
        yield
    finally:
        subprocess.run(["mount", "-o", "remount,rw", disk], check=True, capture_output=True)
