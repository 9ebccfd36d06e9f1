"""What a run that is continued, or was finished, must still be: alone, made of the same bytes, and what it saved."""

from __future__ import annotations

import hashlib
import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from medseg import schema
from medseg.config import MemberConfig
from medseg.data.manifest import Sample
from medseg.errors import DamagedError, InputError
from medseg.inference.member import file_sha256
from medseg.writing import replacing

_holding: set[int] = set()
if sys.platform != "win32":
    import fcntl

    def _let_go() -> None:
        while _holding:
            os.close(_holding.pop())

    os.register_at_fork(after_in_child=_let_go)


@contextmanager
def held(folder: Path) -> Iterator[int]:
    """Hold `folder`, made where it is missing, by a descriptor that a command begun with it (`pass_fds`) still holds
    when this process is killed; workers, which outlive it by seconds, do not. Windows holds nothing. Raises InputError
    where another process works there."""
    folder.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(os.devnull if sys.platform == "win32" else folder, os.O_RDONLY)
    _holding.add(descriptor)
    try:
        if sys.platform != "win32":
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield descriptor
    except BlockingIOError:
        raise InputError(f"Another process works in {folder}: wait for its end, or stop it.") from None
    finally:
        if descriptor in _holding:  # not in a fork, which has let go of it
            _holding.remove(descriptor)
            os.close(descriptor)


def keep_to_data(samples: Sequence[Sample], output: Path) -> None:
    """Write the hash of all images with their masks with the first run in `output`. Raises InputError where a run that
    is continued would go on with other bytes under the same names."""
    pairs = sorted({" ".join(map(file_sha256, sample.files)) for sample in samples})
    digest, record = hashlib.sha256("\n".join(pairs).encode()).hexdigest(), output / "data.sha256"
    if not (output / "checkpoints").exists():
        with replacing(record) as writing:
            writing.write_text(digest + "\n", encoding="utf-8")
    elif record.is_file() and record.read_text(encoding="utf-8").strip() != digest:
        raise InputError(
            f"Images or masks have changed since the run in {output} began: put them back, or begin another --output."
        )


def check_saved(folder: Path) -> None:
    """Raises DamagedError where a file of the member `folder` is not what the run saved there, or it is gone."""
    if not folder.is_dir():
        raise DamagedError(f"{folder}, which this run saved, is not there any more. Train into another --output.")
    for name, digest in schema.load(MemberConfig, folder / "member.json").files.items():
        if file_sha256(folder / name) != digest:
            raise DamagedError(
                f"{folder / name} is not what this run saved: it was overwritten. Train into another --output."
            )
