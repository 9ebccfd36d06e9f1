"""Where visitors' files lie: in a folder of this process alone that never outlives the process.

Gradio serves what lies in its own place inside that folder, and nothing else of it.
"""

from __future__ import annotations

import atexit
import contextlib
import os
import secrets
import shutil
import sys
import tempfile
import weakref
from pathlib import Path

from medseg.errors import InputError

if sys.platform != "win32":
    import fcntl

_PREFIX = "medseg-visitors-"


def claim_folder() -> str:
    """Gradio's place in a new folder for everything that visitors send or get, which only this user can read.

    That lies in GRADIO_TEMP_DIR, or where temporary files do, and goes when the process ends. Folders of processes that
    were killed are removed. Raises InputError where no folder can be made there.
    """
    base = Path(os.environ.get("GRADIO_TEMP_DIR") or tempfile.gettempdir()).resolve()
    try:
        base.mkdir(parents=True, exist_ok=True)
        for left in base.glob(f"{_PREFIX}*"):
            if _is_abandoned(left):
                shutil.rmtree(left, ignore_errors=True)
        new = Path(tempfile.mkdtemp(dir=base))
        _lock(new)
        folder = new.rename(base / f"{_PREFIX}{new.name}")  # by this name only now that it is locked
    except OSError as error:
        raise InputError(
            f"No folder for uploads can be made in {base} ({error.strerror}): let GRADIO_TEMP_DIR name another place."
        ) from None
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return str(folder / "gradio")


def visitors_folder() -> Path:
    """The folder that `claim_folder` made, around Gradio's place; made again where a cleaner of temporary files, as
    many a system has, took it or that place."""
    place = Path(os.environ["GRADIO_TEMP_DIR"])
    if not place.is_dir():
        is_lost = not place.parent.is_dir()
        place.parent.mkdir(0o700, parents=True, exist_ok=True)
        place.mkdir(exist_ok=True)
        if is_lost:
            with contextlib.suppress(OSError):  # another thread was first
                _lock(place.parent)
    return place.parent


def work_folder(owner: object) -> Path:
    """A new folder for a visitor's work, which is never served; it goes with its `owner`."""
    return _owned(Path(tempfile.mkdtemp(dir=visitors_folder())), owner)


def result_path(name: str, owner: object) -> Path:
    """The place of a new result called `name`: a folder of its own in Gradio's place, under 128 random bits, which are
    all that protects it; it goes with its `owner`."""
    folder = Path(os.environ["GRADIO_TEMP_DIR"]) / secrets.token_hex(16)
    folder.mkdir(parents=True, mode=0o700)
    return _owned(folder, owner) / name


def _owned(folder: Path, owner: object) -> Path:
    weakref.finalize(owner, shutil.rmtree, folder, ignore_errors=True)
    return folder


def _is_abandoned(folder: Path) -> bool:
    """Whether no process holds its lock, which ends with the process, however that ends."""
    try:
        lock = _lock(folder)
    except OSError:
        return False
    os.close(lock)
    return True


def _lock(folder: Path) -> int:
    """Hold `folder` until the process ends or the descriptor is closed. Raises OSError where another process does."""
    descriptor = os.open(folder, os.O_RDONLY)
    if sys.platform != "win32":
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            os.close(descriptor)
            raise
    return descriptor
