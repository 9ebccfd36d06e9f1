"""How a command ends: done, or refused in one sentence; no traceback for what users and their machines do."""

from __future__ import annotations

import os
import sys
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TextIO

from medseg.errors import MedsegError, MedsegWarning


@contextmanager
def ending(again: Callable[[str], object] = lambda sentence: None, stopped: str = "") -> Iterator[None]:
    """What is raised inside ends the process: a refusal with its sentence and status 1, also what the system refuses (a
    full disk, a folder that may not be written); Ctrl+C with 130, after the sentence `stopped`. `again` gets the
    sentence too. Medseg's warnings become notes."""
    try:
        with warnings.catch_warnings():
            warnings.showwarning = _note
            yield
            sys.stdout.flush()
    except BrokenPipeError:  # who reads has enough, as `| head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(128 + 13)  # and the number of SIGPIPE
    except MedsegError as error:
        again(f"error: {error}")
        sys.exit(f"error: {error}")
    except OSError as error:
        again(f"error: {_in_words(error)}")
        sys.exit(f"error: {_in_words(error)}")
    except KeyboardInterrupt:
        sys.stderr.write(f"{stopped}\n" if stopped else "")
        again(stopped)
        sys.exit(130)  # 128 and the signal's number, as shells count


def _in_words(error: OSError) -> str:
    """What the system refuses, and for which file."""
    if not error.strerror:
        return str(error)
    return f"{error.filename}: {error.strerror}." if error.filename else f"{error.strerror}."


def _note(  # noqa: PLR0917 # as `warnings.showwarning` is called
    message: Warning | str,
    category: type[Warning],
    filename: str,
    lineno: int,
    file: TextIO | None = None,
    line: str | None = None,
) -> None:
    """What medseg left out or substituted is a sentence for the user; other warnings are as Python writes them."""
    if issubclass(category, MedsegWarning):
        sys.stderr.write(f"note: {message}\n")
    else:
        sys.stderr.write(warnings.formatwarning(message, category, filename, lineno, line))
