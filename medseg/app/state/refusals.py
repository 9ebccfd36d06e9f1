"""An error in one sentence for the user; the log gets its kind and place."""

from __future__ import annotations

import contextlib
import errno
import html
import logging
import traceback
from collections.abc import Iterator
from pathlib import Path

from medseg.errors import MedsegError

log = logging.getLogger(__name__)

GENERIC = "Something went wrong on our side; nothing has changed. Please try again."

_MACHINE = {
    errno.ENOSPC: "The server's disk is full, so the result could not be written. Try again later, or tell its owner.",
    errno.EROFS: "The server cannot write here: its folder is read-only. Tell its owner.",
    errno.EMFILE: "The server has too many files open just now. Try again in a minute.",
    errno.ENOMEM: "The server has not enough memory for this just now. Try again later, or send a smaller image.",
}
_MACHINE |= {
    errno.EDQUOT: _MACHINE[errno.ENOSPC],
    errno.EACCES: _MACHINE[errno.EROFS],
    errno.EPERM: _MACHINE[errno.EROFS],
    errno.ENFILE: _MACHINE[errno.EMFILE],
}

PATH = (
    "A file has to be uploaded first, or sent as data:image/png;base64,…; a path on your machine or on the server "
    "is not read."
)


def sentence_of(error: BaseException) -> str:
    """The sentence for the user: a refusal in its own words, a fault of the machine by name, else a general one.

    The log gets the place of an unexpected error but not its message, which may hold a file name, and so a patient's.
    """
    if isinstance(error, MedsegError):
        return html.escape(str(error), quote=False)  # the page shows messages as HTML
    if type(error).__name__ == "ComponentProcessingError" and error.__cause__ is not None:  # Gradio's, around another
        return sentence_of(error.__cause__)
    if _sent_no_file(error):
        return PATH
    log.error("%s", place_of(error))
    if isinstance(error, MemoryError):
        return _MACHINE[errno.ENOMEM]
    return _MACHINE.get(error.errno or 0, GENERIC) if isinstance(error, OSError) else GENERIC


def is_mistake(error: BaseException) -> bool:
    """Whether what was sent is at fault, and not the server."""
    if type(error).__name__ == "ComponentProcessingError" and error.__cause__ is not None:
        return is_mistake(error.__cause__)
    return isinstance(error, MedsegError) or _sent_no_file(error)


def _sent_no_file(error: BaseException) -> bool:
    """Whether something came where a file was wanted: Gradio's error and pydantic's, and a path that cannot be one."""
    if type(error).__name__ in ("InvalidPathError", "ValidationError", "UnicodeEncodeError"):
        return True
    return getattr(error, "errno", None) == errno.ENAMETOOLONG or str(error) == "embedded null byte"


@contextlib.contextmanager
def naming(file: str) -> Iterator[None]:
    """Let a refusal say of which `file` it is, where that has a name."""
    try:
        yield
    except MedsegError as error:
        raise type(error)(f"{file}: {error}" if file else str(error)) from None


def place_of(error: BaseException) -> str:
    """Kind and place of an error, for the log; never its message."""
    frames = traceback.extract_tb(error.__traceback__)
    place = f"{Path(frames[-1].filename).name}:{frames[-1].lineno}" if frames else "an unknown place"
    return f"{type(error).__name__} at {place}"
