"""Files that are whole or not there."""

from __future__ import annotations

import errno
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A neighbour of `path` to write to. It takes the place of `path` at the end, and goes where writing fails, so that
    nobody sees half a file under that name. Raises OSError, before anything is computed for it, where `path` is a
    folder or device, or lies in no folder."""
    if path.exists() and not path.is_file():
        raise OSError(errno.EINVAL, "It is there, and no ordinary file", str(path))
    if not path.parent.is_dir():
        raise FileNotFoundError(errno.ENOENT, "There is no such folder", str(path.parent))
    neighbour = path.with_name(f".{path.name}.{uuid.uuid4().hex[:8]}.writing")
    try:
        yield neighbour
        neighbour.replace(path)
    except BaseException as error:
        neighbour.unlink(missing_ok=True)
        if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
            error.filename = str(path)  # a write that fails names no file
        raise
