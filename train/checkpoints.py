"""Checkpoints and member folders that survive a kill at any moment: written aside, verified, then renamed."""

from __future__ import annotations

import hashlib
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch


def save(folder: Path, epoch: int, state: dict[str, Any]) -> None:
    """Keep `state` as the checkpoint after `epoch` epochs, beside the one before it.

    A reader sees it whole or not at all: the last step is one rename, to a name that carries the content's hash.
    """
    folder.mkdir(parents=True, exist_ok=True)
    writing = folder / ".writing"
    with writing.open("wb") as stream:
        torch.save(state, stream)
        stream.flush()
        os.fsync(stream.fileno())
    name = f"epoch-{epoch:04d}"
    for path in _all(folder):
        if path.name >= name:  # `load_newest` has passed it over, or this epoch would not have run again
            path.unlink()
    writing.replace(folder / f"{name}-{_digest(writing)}.pt")
    for path in _all(folder)[:-2]:
        path.unlink()


def load_newest(folder: Path) -> dict[str, Any] | None:
    """The newest state whose file is what its name promises; None where there is none.

    Our own file: still only tensors and plain values are unpickled.
    """
    for path in reversed(_all(folder)):
        if path.stem.endswith(_digest(path)):
            return torch.load(path, map_location="cpu", weights_only=True)
        print(f"The checkpoint {path} is damaged and passed over.")
    return None


def replace_folder(folder: Path, write: Callable[[Path], object]) -> None:
    """Put what `write` makes of an empty folder in the place of `folder`, which stays whole until then."""
    writing, old = _beside(folder, "writing"), _beside(folder, "old")
    for left in (writing, old):
        shutil.rmtree(left, ignore_errors=True)
    write(writing)
    if folder.exists():
        folder.rename(old)
    writing.rename(folder)
    shutil.rmtree(old, ignore_errors=True)


def recover_folder(folder: Path) -> None:
    """Undo a `replace_folder` that was killed between its two renames."""
    old = _beside(folder, "old")
    if old.exists() and not folder.exists():
        old.rename(folder)


def _beside(folder: Path, word: str) -> Path:
    return folder.with_name(f".{folder.name}.{word}")


def _all(folder: Path) -> list[Path]:
    return sorted(folder.glob("epoch-*.pt"))


def _digest(path: Path) -> str:
    """The first 64 bits of the content's sha256: enough against damage, which is all that threatens our own file."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()[:16]
