"""The command line: `medseg COMMAND …`, also as `python -m medseg`. Research use only, not for diagnosis."""

from __future__ import annotations

import argparse
import os
import shlex
import sys
import warnings
from collections.abc import Sequence
from typing import TextIO

from medseg.commands import app, evaluate, export, fit, inspect, observe, predict, publish, send, train
from medseg.errors import MedsegError, MedsegWarning

_STATUS = (
    "Exit status: 0 done; 1 refused, with a sentence that says why, or something failed, is faulty or differs; "
    "2 the command line was not understood; 130 interrupted."
)


def main(arguments: Sequence[str] | None = None) -> None:
    """Run one command; a refusal is one sentence on stderr and exit status 1."""
    words = sys.argv[1:] if arguments is None else list(arguments)
    if words and words[0] in train.TRAININGS:
        train.run(words[0], words[1:])
        return
    options = parser().parse_args(words, argparse.Namespace(command=shlex.join(["medseg", *words])))
    try:
        with warnings.catch_warnings():
            warnings.showwarning = _note
            options.run(options)
            sys.stdout.flush()
    except BrokenPipeError:  # who reads has enough, as `| head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(128 + 13)  # and the number of SIGPIPE
    except MedsegError as error:
        sys.exit(f"error: {error}")
    except OSError as error:  # a full disk, a folder that may not be written
        sys.exit(f"error: {_in_words(error)}")
    except KeyboardInterrupt:
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


def parser() -> argparse.ArgumentParser:
    """All commands and their options."""
    made = argparse.ArgumentParser(prog="medseg", description=__doc__, epilog=_STATUS)
    commands = made.add_subparsers(required=True, metavar="COMMAND")
    for group in (app, train, inspect, fit, observe, evaluate, predict, export, send, publish):
        group.add(commands)
    return made


if __name__ == "__main__":
    main()
