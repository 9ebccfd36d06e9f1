"""What a visitor sends to the owner's archive: shown first, sent once, and kept where it was not stored."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from medseg.archive.client import Archive, open_archive
from medseg.errors import ArchiveError, MedsegError


@contextlib.contextmanager
def opened(cancelled: Callable[[], bool] = lambda: False) -> Iterator[Archive]:
    """The owner's archive, whose connections are closed after, and while it is asked where `cancelled` says so."""
    archive = open_archive()
    archive.session.cancelled = cancelled
    with archive.session:
        yield archive


class Outgoing:
    """`prepared` are results that the visitor is to confirm, by the sentence `announced`; `waiting` those that were
    sent and not stored: they stay for another try."""

    def __init__(self) -> None:
        self.announced = ""
        self.prepared: list[Path] = []
        self.waiting: list[Path] = []
        self._lock = threading.Lock()

    def prepare(self, files: Sequence[Path], host: str, images: int) -> str:
        """Take the results of so many `images` in place of others that nobody confirmed; returns what goes where."""
        with self._lock:
            self.prepared = list(files)
            listed = ", ".join(f"{path.name} ({_size(path)})" for path in [*self.waiting, *files] if path.exists())
            of = "one image" if images == 1 else f"{images} images of the series"
            place = f"at {host}, in the study of the image, with its patient's name and ID"
            self.announced = f"{listed}: results of {of}. Stored {place}."
            return self.announced

    def send(self) -> str:
        """Store what is prepared or waits; what fails goes on waiting, and its sentence is returned."""
        said = []
        with self._lock, opened() as archive:  # a second click waits, and finds nothing left
            asked, self.prepared, self.waiting = [*self.waiting, *self.prepared], [], []
            for path in asked:
                try:
                    said.append(f"{path.name}: {_stored(archive, path)}.")
                except MedsegError as error:
                    self.waiting += [path] if path.exists() else []
                    said.append(f"{path.name}: not stored. {error}")
        if self.waiting:
            said.append("What was not stored is kept for another try.")
        return "\n\n".join(said) or "Nothing waits to be sent."


def _stored(archive: Archive, path: Path) -> str:
    if not path.exists():
        raise ArchiveError("It is no longer kept here: prepare it again.")
    return archive.store(path)


def _size(path: Path) -> str:
    return f"{path.stat().st_size / 1024:,.0f} kB"
