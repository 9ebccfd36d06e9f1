"""A visitor's dealings with the owner's archive: what was found, what is about to be sent, what was not stored."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

from medseg.app.server.upload_folder import work_folder
from medseg.app.state.session import Session
from medseg.archive.client import Archive, Series, Study, open_archive
from medseg.errors import InputError, MedsegError
from medseg.export.results import write_results


@contextlib.contextmanager
def _opened() -> Iterator[Archive]:
    archive = open_archive()
    with archive.session:
        yield archive


class ArchiveDesk:
    """`images` are the files of the series that was fetched last. `waiting` are results that are written and not stored
    yet; they stay for another try."""

    def __init__(self) -> None:  # no dataclass: Gradio would copy its fields into the page's configuration
        self.studies: list[Study] = []
        self.series: list[Series] = []
        self.study = ""
        self.images: list[Path] = []
        self.waiting: list[Path] = []
        self.stopped = threading.Event()

    def __deepcopy__(self, _: object) -> ArchiveDesk:
        return ArchiveDesk()  # Gradio copies a page's first state for each visitor

    def find(self, *, patient: str, accession: str, date: str, modality: str) -> None:
        """Search anew. Raises as `Archive.find_studies` does."""
        with _opened() as archive:
            self.studies = archive.find_studies(
                patient=patient.strip(), accession=accession.strip(), date=date.strip(), modality=modality.strip()
            )
        self.series = []

    def choose(self, row: int) -> None:
        """List the series of the study in `row` of the last search."""
        self.study = self.studies[row].uid
        with _opened() as archive:
            self.series = archive.find_series(self.study)

    def fetch(self, row: int, progress: Callable[[int, int], None]) -> int:
        """Fetch the series in `row`; returns how many of its instances hold no image and are left out."""
        self.stopped.clear()
        with _opened() as archive:
            fetched = archive.fetch(
                work_folder(self), self.study, self.series[row].uid, progress=progress, cancelled=self.stopped.is_set
            )
        self.images = fetched.paths
        return fetched.left_out

    def open(self, session: Session, number: int) -> None:
        """Open image `number` (from 1) of the fetched series in `session`, with the ensemble that is there."""
        path = self.images[number - 1]
        if not path.exists():
            raise InputError("The series is no longer kept here: fetch it again.")
        session.open(path, session.view_state.ensemble)

    def prepare(self, session: Session, kinds: list[str]) -> str:
        """Write the results that are to be sent; returns what goes where, for the visitor to confirm."""
        if not kinds:
            raise InputError("Choose at least one kind of result.")
        view_state = session.view_state
        if not view_state.path.exists():
            raise InputError("The image's file has been deleted here after a while: open it again.")
        stem = work_folder(self) / "medseg"
        self.waiting = write_results([view_state.prediction], [view_state.path], stem, kinds)
        with _opened() as archive:
            host = archive.settings.host
        return f"{self._listed()} will be stored at {host}, in the study of the image, with its patient's name and ID."

    def send(self) -> str:
        """Store what waits; what fails goes on waiting, and its sentence is returned."""
        left, said = [], []
        with _opened() as archive:
            for path in self.waiting:
                try:
                    said.append(f"{path.name}: {archive.store(path)}.")
                except MedsegError as error:
                    left.append(path)
                    said.append(f"{path.name}: not stored, and kept for another try. {error}")
        self.waiting = left
        return "\n\n".join(said) or "Nothing waits to be sent."

    def _listed(self) -> str:
        return ", ".join(path.name for path in self.waiting)
