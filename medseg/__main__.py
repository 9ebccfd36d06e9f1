"""The command line: `medseg COMMAND …`, also as `python -m medseg`. Research use only, not for diagnosis."""

from __future__ import annotations

import argparse
import shlex
import sys
from collections.abc import Sequence

from medseg.commands import app, evaluate, export, fit, inspect, observe, predict, publish, send, train
from medseg.ending import ending

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
    with ending():
        options.run(options)


def parser() -> argparse.ArgumentParser:
    """All commands and their options."""
    made = argparse.ArgumentParser(prog="medseg", description=__doc__, epilog=_STATUS)
    commands = made.add_subparsers(required=True, metavar="COMMAND")
    for group in (app, train, inspect, fit, observe, evaluate, predict, export, send, publish):
        group.add(commands)
    return made


if __name__ == "__main__":
    main()
