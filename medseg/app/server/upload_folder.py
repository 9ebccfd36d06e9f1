"""Where visitors' files lie: in a folder of this process alone, for a limited time, and never longer than the process.

Gradio keeps what an aborted upload left, and everything when the process is killed; so one janitor looks after the
whole folder, and the next start after those before.
"""

from __future__ import annotations

import atexit
import contextlib
import os
import shutil
import sys
import tempfile
import threading
import time
import weakref
from collections.abc import Collection
from pathlib import Path

if sys.platform != "win32":
    import fcntl

_PREFIX = "medseg-visitors-"


def max_bytes() -> int:
    """Most bytes of one upload, all its files together: MEDSEG_UPLOAD_MB, 200 where it says nothing."""
    return int(float(os.environ.get("MEDSEG_UPLOAD_MB") or 200) * 2**20)


def keep_seconds() -> float:
    """How long a visitor's file is kept: MEDSEG_UPLOAD_MINUTES, an hour where it says nothing."""
    return float(os.environ.get("MEDSEG_UPLOAD_MINUTES") or 60) * 60


def claim_folder() -> str:
    """Gradio's place in a new folder for everything that visitors send or get, which only this user can read.

    That lies in GRADIO_TEMP_DIR, or where temporary files do, and goes when the process ends. Folders of processes that
    were killed are removed.
    """
    base = Path(os.environ.get("GRADIO_TEMP_DIR") or tempfile.gettempdir()).resolve()
    base.mkdir(parents=True, exist_ok=True)
    for left in base.glob(f"{_PREFIX}*"):
        if _is_abandoned(left):
            shutil.rmtree(left, ignore_errors=True)
    new = Path(tempfile.mkdtemp(dir=base))
    _lock(new)
    folder = new.rename(base / f"{_PREFIX}{new.name}")  # by this name only now that it is locked
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return str(folder / "gradio")


def visitors_folder() -> Path:
    """What `claim_folder` made, around Gradio's place."""
    return Path(os.environ["GRADIO_TEMP_DIR"]).parent


def new_folder(owner: object) -> Path:
    """A new folder of a random name for a visitor's work; it goes with its `owner`."""
    folder = Path(tempfile.mkdtemp(dir=visitors_folder()))
    weakref.finalize(owner, shutil.rmtree, folder, ignore_errors=True)
    return folder


def keep_clean() -> None:
    """Start the janitor: from now on a thread removes whatever has lain in the folder too long.

    What is there already stays: the examples' images, which every visitor sees.
    """
    folder, seconds = visitors_folder(), keep_seconds()
    kept = frozenset(folder.rglob("*"))

    def watch() -> None:
        while True:
            time.sleep(min(60.0, seconds / 4))
            sweep(folder, time.time() - seconds, kept)

    threading.Thread(target=watch, name="janitor", daemon=True).start()


def sweep(folder: Path, before: float, kept: Collection[Path] = ()) -> None:
    """Remove what was last changed before that time (seconds since 1970), empty folders too; `kept` stays."""
    for path in sorted(folder.rglob("*"), reverse=True):  # what is in a folder comes before the folder
        with contextlib.suppress(OSError):  # it has gone already, or is a folder that is in use
            if path in kept or path.lstat().st_mtime >= before:
                continue
            path.rmdir() if path.is_dir() and not path.is_symlink() else path.unlink()


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
