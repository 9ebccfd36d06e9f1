"""A visitor's dealings with the owner's archive: what was found, what is about to be sent, what was not stored."""

from __future__ import annotations

import contextlib
import dataclasses
import shutil
import tempfile
import threading
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from medseg.app.server.upload_folder import visitors_folder, work_folder
from medseg.app.state.outgoing import Outgoing, opened
from medseg.app.state.session import Session
from medseg.archive.address import Address
from medseg.archive.client import UIDS, Archive
from medseg.archive.rows import Series as Row
from medseg.archive.rows import Study, text_of
from medseg.errors import InputError, MedsegError, ReadError
from medseg.export.results import without_image, write_results
from medseg.image import Image
from medseg.inference.record import areas
from medseg.reading.readers import read_file, read_source
from medseg.reading.series import Series
from medseg.reading.studies import stack_files

if TYPE_CHECKING:
    from medseg.app.state.view_state import ViewState
    from medseg.export.frames import Areas
    from medseg.inference.ensemble import Ensemble
    from medseg.inference.prediction import Prediction

Progress = Callable[[int, int], None]

MAX_IMAGES = 500
"""Images of a series that are segmented for one result."""

MAX_BYTES = 2**31
"""Bytes of what one visitor fetches at once."""

MAX_PREVIEWS = 24


class ArchiveDesk:
    """`stack` holds the images that were fetched last, in order; `outgoing` goes back, with `areas` of its images."""

    def __init__(self) -> None:  # no dataclass: Gradio would copy its fields into the page's configuration
        self.studies: list[Study] = []
        self.series: list[Row] = []
        self.study = ""
        self.stack: Series | None = None
        self.outgoing = Outgoing()
        self.areas: list[Areas] = []
        self._folder: Path | None = None
        self._stopped = threading.Event()
        self._previewing = threading.Event()

    def __deepcopy__(self, _: object) -> ArchiveDesk:
        return ArchiveDesk()  # Gradio copies a page's first state for each visitor

    def stop(self) -> None:
        """End what is fetched, previewed or segmented just now."""
        self._stopped.set()
        self._previewing.set()

    def _begin(self) -> Callable[[], bool]:
        """End what runs; what begins now is cancelled where this says so."""
        self.stop()
        self._stopped = threading.Event()
        return self._stopped.is_set

    def find(self, *, patient: str, accession: str, date: str, modality: str) -> None:
        """Search anew. Raises as `Archive.find_studies` does."""
        with opened(self._begin()) as archive:
            self.studies = archive.find_studies(
                patient=patient.strip(), accession=accession.strip(), date=date.strip(), modality=modality.strip()
            )
        self.series = []

    def choose(self, row: int) -> None:
        """List the series of the study in `row` of the last search."""
        self.study = self.studies[row].uid
        self.list_series()

    def list_series(self) -> None:
        """List the series of `study`."""
        self.series = []
        with opened(self._begin()) as archive:
            self.series = archive.find_series(self.study)

    def previews(self) -> Iterator[list[tuple[Image | None, str]]]:
        """A small image of each of the first MAX_PREVIEWS series with its title, more with each step; None where there
        is none. Ends where it is stopped, or another study or series is chosen."""
        mine = self._previewing = threading.Event()
        study, shown = self.study, []
        with opened() as archive:
            for row in self.series[:MAX_PREVIEWS]:
                image = _preview(archive, study, row.uid, mine.is_set)
                if mine.is_set():
                    return
                shown.append((image, " · ".join(filter(None, (row.number, row.modality, row.description)))[:60]))
                yield shown

    def fetch(self, place: Address, progress: Progress) -> str:
        """Fetch the images of a series, or one instance; returns what came and what is left out."""
        cancelled, folder = self._begin(), work_folder(self)
        with opened() as archive:
            fetched = archive.fetch(
                folder,
                place.study,
                place.series,
                place.instance,
                most_bytes=MAX_BYTES,
                progress=progress,
                cancelled=cancelled,
            )
        self.forget_images()
        self._folder = folder
        stacks = stack_files([str(path) for path in fetched.paths])
        self.stack = max(stacks, key=lambda stack: stack.frames)
        return " ".join(_came(self.stack, len(stacks) - 1, fetched.left_out))

    def forget_images(self) -> None:
        """Remove what was fetched."""
        if self._folder is not None:
            shutil.rmtree(self._folder, ignore_errors=True)
        self.stack, self._folder = None, None

    @property
    def frames(self) -> int:
        """How many images are fetched."""
        return 0 if self.stack is None else self.stack.frames

    def open(self, session: Session, number: int, ensemble: Ensemble | None = None) -> None:
        """Open image `number` (from 1) of those fetched in `session`, with the ensemble that is there or this one."""
        path, image = self._read(number - 1)
        session.take(image, path, ensemble or session.view_state.ensemble)

    def image(self, number: int) -> Image:
        """Image `number` (from 1) of those fetched."""
        return self._read(number - 1)[1]

    def _read(self, frame: int) -> tuple[Path, Image]:
        """The file and the image of one slice, which knows nothing of the others but their window."""
        if self.stack is None:
            raise InputError("No series is fetched yet: choose one first.")
        if not 0 <= frame < self.stack.frames:
            raise InputError(f"There is no image {frame + 1}: {self.stack.frames} were fetched.")
        place, own = self.stack.place(frame)
        path = Path(place)
        if not path.exists():
            raise InputError("The series is no longer kept here: fetch it again.")
        image = self.stack.read(frame)
        frames = self.stack.frames if len(self.stack.slices) == 1 else 1
        return path, dataclasses.replace(image, frame=own, frames=frames)

    def prepare(
        self,
        session: Session,
        kinds: Sequence[str],
        whole: bool = False,
        progress: Progress = lambda done, total: None,
    ) -> str:
        """Write the results of the open image, or of the `whole` series at its settings, that are to be sent; returns
        what goes where, for the visitor to confirm."""
        if not kinds:
            raise InputError("Choose at least one kind of result.")
        if whole and "capture" in kinds:
            raise InputError("A capture shows one image: send it for the open image, and SEG or map for the series.")
        view_state = session.view_state
        if view_state.withheld:
            raise InputError("None of the ensembles is made for the open image: ask for its mask first.")
        if not view_state.path.exists():
            raise InputError("The image's file has been deleted here after a while: open it again.")
        with opened() as archive:
            host = archive.settings.host
            if not archive.holds(*_uids(view_state.path)):
                raise InputError(
                    f"The archive at {host} does not hold the open image, so no result of it belongs there."
                )
        stem = work_folder(self) / "medseg"
        if whole:
            stack = self._stack_of(view_state)
            predictions = list(self._segment(view_state, stack, progress))
            written = write_results(predictions, [stack] * len(predictions), stem, kinds)
        else:
            predictions = [view_state.prediction]
            written = write_results(predictions, [view_state.source], stem, kinds)
        self.areas = [areas(prediction.masks, prediction.labels, prediction.image) for prediction in predictions]
        return self.outgoing.prepare(written, host, len(predictions))

    def _stack_of(self, view_state: ViewState) -> Series:
        """The fetched series, where the open image is one of it."""
        stack = self.stack
        if stack is None or str(view_state.path) not in {entry.path for entry in stack.slices}:
            raise InputError("The open image is not of the fetched series: open one of its images first.")
        if stack.frames > MAX_IMAGES:
            most = f"here up to {MAX_IMAGES} are segmented at once: use `medseg predict`"
            raise InputError(f"The series has {stack.frames} images, and {most}.")
        return stack

    def _segment(self, view_state: ViewState, stack: Series, progress: Progress) -> Iterator[Prediction]:
        """Every image of the `stack`, at the settings of the open one."""
        cancelled = self._begin()
        for frame in range(stack.frames):
            progress(frame, stack.frames)
            yield without_image(view_state.segment(stack.read(frame, view_state.window)))
            if cancelled():
                raise InputError("Cancelled: nothing was prepared.")


def _preview(archive: Archive, study: str, series: str, cancelled: Callable[[], bool]) -> Image | None:
    """None for a series without an image, such as a report, or one that cannot be shown."""
    with tempfile.TemporaryDirectory(dir=visitors_folder()) as folder, contextlib.suppress(MedsegError):
        return read_file(archive.fetch_preview(Path(folder), study, series, cancelled))
    return None


def _came(stack: Series, others: int, left_out: int) -> Iterator[str]:
    yield f"{stack.frames} image{'s' * (stack.frames > 1)} fetched."
    if others:
        yield f"Images of {others} other sizes or directions are left out."
    if left_out:
        yield f"{left_out} instances without an image, or of medseg itself, are left out."
    yield from stack.notes


def _uids(path: Path) -> list[str]:
    """Of study, series and instance."""
    try:
        (header,), _ = read_source(path, [0])
    except ReadError as error:
        raise InputError("Results of a DICOM image alone can be sent: open one of the archive.") from error
    return [text_of(header, keyword) for keyword in UIDS]
