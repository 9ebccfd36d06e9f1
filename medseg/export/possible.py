"""Which results an image can have: the reason where it cannot, in the words in which the writer refuses."""

from __future__ import annotations

import functools
import os
from pathlib import Path

from medseg.errors import MedsegError
from medseg.reading.readers import read_source

GONE = "The image's file has been deleted here after a while: open it again for a DICOM result."


def why_not(kind: str, labels: tuple[str, ...], source: str | os.PathLike[str], frame: int = 0) -> str | None:
    """Why the image in the file `source` cannot have the DICOM result `kind` (of `results.KINDS`), None where it can.

    What depends on the masks, as labels that overlap in a label map, is said when it is written.
    """
    if kind == "map" and len(labels) != 1:
        return one_label(labels)
    path = Path(source)
    return _no_source(path, frame, path.stat().st_mtime_ns) if path.exists() else GONE


def one_label(labels: tuple[str, ...]) -> str:
    return f"A parametric map holds one label: choose one of {', '.join(labels)}."


@functools.lru_cache(maxsize=32)
def _no_source(path: Path, frame: int, changed_ns: int) -> str | None:
    try:
        read_source(path, [frame])
    except MedsegError as error:
        return str(error)
    return None
