"""Checkpoints and member folders that survive a kill at any moment: written aside, verified, then renamed."""

from __future__ import annotations

import hashlib
import io
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError

from medseg.errors import InputError


def save(folder: Path, epoch: int, state: dict[str, Any], *, step: int = 0) -> None:
    """Keep `state` as the checkpoint after `epoch` epochs and `step` batches, beside the one before it.

    A reader sees it whole or not at all: the last step is one rename, to a name that carries the content's hash.
    Raises InputError where it cannot be written; the one before it then stays.
    """
    content = io.BytesIO()  # written by torch itself, a full disk would be a riddle of its archive's positions
    torch.save(state, content)
    with refusing_full_disk(folder):
        folder.mkdir(parents=True, exist_ok=True)
        writing = folder / ".writing"
        with writing.open("wb") as stream:
            stream.write(content.getbuffer())
            stream.flush()
            os.fsync(stream.fileno())
        name = f"epoch-{epoch:04d}-{step:06d}"
        for path in _all(folder):
            if path.name >= name:  # `load_newest` has passed it over, or this step would not have run again
                path.unlink()
        writing.replace(folder / f"{name}-{_digest(writing)}.pt")
        for path in _all(folder)[:-2]:
            path.unlink()


@contextmanager
def refusing_full_disk(folder: Path) -> Iterator[None]:
    """Turn what goes wrong in writing to `folder` into one sentence that says how to go on."""
    try:
        yield
    except (OSError, SafetensorError) as error:
        reason = error.strerror if isinstance(error, OSError) else str(error)
        raise InputError(
            f"{folder} cannot be written ({reason}): make room, then give the same command again; "
            "the run continues from its last checkpoint."
        ) from error


def load_newest(folder: Path) -> dict[str, Any] | None:
    """The newest state whose file is what its name promises; None where there is none.

    Our own file: still only tensors and plain values are unpickled.
    """
    for path in reversed(_all(folder)):
        if path.stem.endswith(_digest(path)):
            state: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
            return state
        print(f"The checkpoint {path} is damaged and passed over.")
    if _all(folder):
        print(f"No checkpoint in {folder} is whole: the run begins anew, and its first epoch replaces the member.")
    return None


def replace_folder(folder: Path, write: Callable[[Path], object]) -> None:
    """Put what `write` makes of an empty folder in the place of `folder`, which stays whole until then.

    What is written is on the disk before it gets its name, so that a power loss leaves one or the other whole. Raises
    InputError where it cannot be written.
    """
    writing, old = _beside(folder, "writing"), _beside(folder, "old")
    for left in (writing, old):
        shutil.rmtree(left, ignore_errors=True)
    with refusing_full_disk(folder):
        write(writing)
        for path in (*writing.rglob("*"), writing):
            _sync(path)
        if folder.exists():
            folder.rename(old)
        writing.rename(folder)
        _sync(folder.parent)  # the new name, before the old folder goes
    shutil.rmtree(old, ignore_errors=True)


def recover_folder(folder: Path) -> None:
    """Undo a `replace_folder` that was killed between its two renames."""
    old = _beside(folder, "old")
    if old.exists() and not folder.exists():
        old.rename(folder)


def _beside(folder: Path, word: str) -> Path:
    return folder.with_name(f".{folder.name}.{word}")


def _sync(path: Path) -> None:
    """Have the disk hold the file or folder `path`; not on Windows, which syncs only what is open for writing."""
    if os.name == "nt":
        return
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _all(folder: Path) -> list[Path]:
    return sorted(folder.glob("epoch-*.pt"))


def _digest(path: Path) -> str:
    """The first 64 bits of the content's sha256: enough against damage, which is all that threatens our own file."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()[:16]
