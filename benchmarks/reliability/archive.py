"""The row of the archive: every fault in every operation, under the limits of a hospital's day."""

from __future__ import annotations

import io
import logging
import re
import shutil
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from functools import cache, partial
from pathlib import Path

import pydicom

from benchmarks.reliability.row import Row, Tally
from medseg.archive.client import Archive
from medseg.archive.settings import Settings
from medseg.errors import ArchiveError
from medseg.export.dicom_seg import write_dicom_seg
from tests.archive.archive_server import FAULTS, OPERATIONS, Hospital, make_certificate, running_hospital
from tests.dicom_sources import write_source
from tests.segmented import drawing_ensemble, segment_files

CERTIFICATE = "a certificate of nobody"
MODES = (*FAULTS, CERTIFICATE)
CASES = [(mode, operation) for mode in MODES for operation in OPERATIONS]
_TOKEN = "canary-token"  # noqa: S105 - a made-up one


def run(cases: range) -> Tally:
    tally = Tally()
    for case in cases:
        mode, operation = CASES[case % len(CASES)]
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            certificate, both = make_certificate(folder) if mode == CERTIFICATE else (None, None)
            with running_hospital(both) as hospital:
                hospital.add(*(path for path in _files() if path.name.startswith("ct")))
                hospital.mood[OPERATIONS[operation]] = "" if certificate else mode
                log = _listening()
                ask = _asking(hospital, operation, folder / "in")
                _try(partial(ask, None), tally)
                hospital.mood.clear()
                _check(ask(certificate), hospital, operation, tally)
                tally.counts["TOKEN IN THE LOG"] += _TOKEN in log.getvalue()
    return tally


@cache
def _files() -> list[Path]:
    """A series, a film, and a SEG of that."""
    folder = Path(tempfile.mkdtemp(prefix="medseg-archive-"))
    film = write_source("cr", folder)
    predictions, sources = segment_files(film, drawing_ensemble())
    write_dicom_seg(predictions, sources, folder / "seg.dcm")
    return [*write_source("ct-series", folder), *film, folder / "seg.dcm"]


def _listening() -> io.StringIO:
    """What all loggers say from now on."""
    stream = io.StringIO()
    logging.basicConfig(stream=stream, level=logging.DEBUG, force=True)
    return stream


def _asking(hospital: Hospital, operation: str, folder: Path) -> Callable[[Path | None], object]:
    """The operation, with a certificate to trust: how many studies or images there are, or what became of a file."""

    def ask(trusted: Path | None) -> object:
        archive = Archive(replace(Settings(hospital.url, token=_TOKEN), ca=str(trusted or "")))
        with archive.session:
            if operation == "query":
                return len(archive.find_studies())
            if operation == "store":
                return archive.store(_files()[-1])
            shutil.rmtree(folder, ignore_errors=True)
            folder.mkdir()
            first = pydicom.dcmread(_files()[0])
            return len(archive.fetch(folder, first.StudyInstanceUID, first.SeriesInstanceUID).paths)

    return ask


def _try(ask: Callable[[], object], tally: Tally) -> None:
    begun = time.monotonic()
    try:
        outcome = "stored, though the answer was lost" if ask() == "stored" else "NO ERROR"
    except ArchiveError as error:
        outcome = "refused in a sentence"
        tally.say(re.sub(r":[0-9]+", "", str(error)))  # the port
    except Exception:
        outcome = "WITHOUT A SENTENCE"
    tally.counts[outcome] += 1
    tally.note(slowest_s=time.monotonic() - begun)


def _check(again: object, hospital: Hospital, operation: str, tally: Tally) -> None:
    """What another try brings when all is well again."""
    right = again in {"query": (1,), "retrieve": (3,), "store": ("stored", "already there")}[operation]
    tally.counts["right at the next try" if right else "LOST"] += 1
    tally.counts["DOUBLED"] += max(hospital.arrivals.values(), default=0) > 1


ROWS = (
    Row("archive", "W1", "an archive that is down, silent, slow, refuses or lies: a sentence within 10 s, nothing lost "
        "or doubled, no token in a log", f"times: {len(MODES)} faults, while asked, fetched from and stored to",
        6, len(CASES), 3, run,
        ("refused in a sentence", "stored, though the answer was lost", "right at the next try"),
        ("NO ERROR", "WITHOUT A SENTENCE", "LOST", "DOUBLED", "TOKEN IN THE LOG"), {"slowest s": 10}),
)  # fmt: skip
