"""Many images of one visitor through the ensemble of the page, and their results as one zip."""

from __future__ import annotations

import itertools
import shutil
import tempfile
import threading
import zipfile
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from medseg.app.render.batch_table import Row, row_of, write_table
from medseg.app.server.upload_folder import result_path, work_folder
from medseg.app.state.refusals import sentence_of
from medseg.app.state.uploaded_files import UploadedFile, unique
from medseg.errors import InputError, MedsegError
from medseg.reading.archive import unpack_into

if TYPE_CHECKING:
    from medseg.app.state.view_state import ViewState
    from medseg.export.tables import Entry
    from medseg.inference.jobs import Job
    from medseg.inference.prediction import Prediction

MAX_IMAGES = 500
MAX_UNPACKED = 2**30
"""Most bytes that one zip unpacks to."""


class Batch:
    """The files that one visitor sent together, and their rows so far. `cancelled` ends a run, which keeps those."""

    def __init__(self) -> None:
        self._rows: list[Row] = []
        self._entries: list[Entry] = []
        self._folder: Path | None = None
        self.cancelled = threading.Event()

    def __deepcopy__(self, memo: object) -> Batch:
        """A new one: Gradio makes each visitor's state as a copy of the page's."""
        return Batch()

    @property
    def rows(self) -> list[Row]:
        """The most doubtful first, the files without a result last."""
        return sorted(self._rows, key=lambda row: row.worth)

    @property
    def arrived(self) -> tuple[Row, ...]:
        """The same in the order in which they came."""
        return tuple(self._rows)

    def run(
        self, uploads: Sequence[UploadedFile], view_state: ViewState, *, named: bool = True
    ) -> Iterator[tuple[int, int]]:
        """Segment the files at the settings of `view_state`; gives (files done, files) after each image and failure.
        COCO and run lengths call the images by their files where they are to be `named`, else by the heads of hashes.

        A file that fails is a row with its reason, and the others go on. Ends early when it is cancelled, and after
        MAX_IMAGES images. Raises InputError without files, or for more than that.
        """
        from medseg.export.tables import Entry
        from medseg.inference.batch import segment_job
        from medseg.inference.pipeline import ahead

        self.cancelled.clear()
        self._rows, self._entries = [], []
        folder = self._new_folder()
        jobs = self._find(uploads, folder)

        images: list[Job] = []

        def is_over() -> bool:
            return self.cancelled.is_set() or len(images) >= MAX_IMAGES

        def rows(done: int, job: Job) -> Iterator[tuple[int, Row, Entry | None, int]]:
            if is_over():
                return
            try:
                settings, own = view_state.settings, view_state.valid_calibration
                for prediction in segment_job(view_state.ensemble, job, folder / "results", settings, own):
                    images.append(job)
                    entry = Entry.of(prediction, _name(prediction, job.stem) if named else prediction.image.sha256[:16])
                    row = row_of(prediction, view_state, job.stem, *job.place(prediction.image.frame))
                    yield done, row, entry, prediction.image.pixels.nbytes
                    if is_over():
                        return
            except Exception as error:
                yield done, Row(job.stem, job.path, reason=_reason(error)), None, 0

        # what was begun comes to its end: its files are in the zip, and so its rows belong into the table
        sources = itertools.starmap(rows, enumerate(jobs, start=1))
        for done, row, entry, _ in ahead(sources, lambda item: item[3], view_state.ensemble.at_once):
            self._rows.append(row)
            self._entries += [entry] if entry is not None else []
            yield done, len(jobs)

    def write(self) -> Path:
        """A zip of all masks (PNG, COCO, run lengths) and reports, and results.csv. Raises InputError before there are
        any."""
        if self._folder is None or not self._rows:
            raise InputError("There are no results yet: segment some images first.")
        from medseg.export.tables import write_entries

        results = self._folder / "results"
        results.mkdir(exist_ok=True)
        write_table(self.rows, results / "results.csv")
        if self._entries:
            write_entries(self._entries, rle=results / "run-lengths.csv", coco=results / "coco.json")
        target = result_path("medseg-results.zip", self)
        with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED) as archive:
            for path in sorted(results.rglob("*")):
                if path.is_file() and not path.name.endswith((".error.json", ".writing")):
                    archive.write(path, path.relative_to(results))
        return target

    def _find(self, uploads: Sequence[UploadedFile], folder: Path) -> list[Job]:
        """The files, those in zips too; a zip that is refused becomes a row."""
        from medseg.inference.jobs import Job, with_series

        jobs: list[Job] = []
        for upload, name in zip(uploads, unique([upload.name for upload in uploads]), strict=True):
            if not name.lower().endswith(".zip"):
                jobs.append(Job(upload.path, name))
                continue
            try:
                jobs += [replace(job, stem=f"{name[:-4]}/{job.stem}") for job in _unpacked(upload.path, folder)]
            except MedsegError as error:
                self._rows.append(Row(name, upload.path, reason=str(error).replace(upload.path.name, "It")))
        jobs = with_series(jobs)
        if not jobs and not self._rows:
            raise InputError("There is nothing to segment yet: drop images or a zip first.")
        if len(jobs) > MAX_IMAGES:
            raise InputError(
                f"These are {len(jobs)} files, and here up to {MAX_IMAGES} are segmented at once: send them in "
                "parts, or use `medseg predict`."
            )
        return jobs

    def _new_folder(self) -> Path:
        """For this run alone: what came of the run before goes, and this goes with the visitor."""
        if self._folder is not None:
            shutil.rmtree(self._folder, ignore_errors=True)
        self._folder = work_folder(self)
        return self._folder


def _unpacked(path: Path, folder: Path) -> list[Job]:
    from medseg.inference.jobs import find_jobs

    place = Path(tempfile.mkdtemp(dir=folder)) / "content"
    unpack_into(place, path, MAX_IMAGES, MAX_UNPACKED)
    try:
        return find_jobs([str(place)], folder / "results")
    except InputError:
        raise InputError("It holds no file.") from None


def _name(prediction: Prediction, file: str) -> str:
    """As the mask beside it in the zip."""
    return file if prediction.image.frames == 1 else f"{file}-frame{prediction.image.frame:03d}"


def _reason(error: Exception) -> str:
    return str(error) if isinstance(error, MedsegError) else sentence_of(error)
