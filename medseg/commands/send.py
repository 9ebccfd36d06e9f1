"""The command that stores DICOM results in the archive: send."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterable
from pathlib import Path

from medseg.errors import MedsegError


def add(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    send = commands.add_parser("send", help="store DICOM files in the archive that MEDSEG_DICOMWEB names, each once")
    send.add_argument("files", nargs="+", type=Path, metavar="FILE", help="DICOM file, as predict --dicom writes them")
    send.set_defaults(run=lambda options: send_files(options.files))


def send_files(files: Iterable[Path]) -> None:
    """A line for each file; exit status 1 where one was not stored. The others go on, and all files stay."""
    from medseg.archive.client import open_archive

    archive, failed = open_archive(), 0
    for path in files:
        try:
            print(f"{path}: {archive.store(path)}")
        except MedsegError as error:
            print(f"{path}: not stored. {error}")
            failed += 1
    if failed:
        print(f"{failed} not stored; they are kept: repeat `medseg send` for them.")
        sys.exit(1)
