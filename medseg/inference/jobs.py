"""Which files are segmented: what the inputs of a command name, each once, slices of one series as one stack."""

from __future__ import annotations

import glob
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import takewhile
from pathlib import Path

from medseg.data.left_out import counted
from medseg.data.listing import SUFFIXES, printable, suffix_of
from medseg.errors import InputError
from medseg.image import Image
from medseg.reading.archive import unpack_into
from medseg.reading.decode import is_recognised
from medseg.reading.readers import count_frames, read_file
from medseg.reading.series import Series
from medseg.reading.stored import MAX_FRAMES
from medseg.reading.studies import MOST_UNPACKED, TemporaryFolder, series_among

LONGEST_NAME = 220
"""Bytes of a file's name; file systems take 255, and results have endings and numbers."""


@dataclass(frozen=True)
class Job:
    """A file, or the `series` that several DICOM files make, and the place of its results: `stem` is a path without
    suffix below the output folder. `held` is the folder of an unpacked zip, which lives as long as its jobs."""

    path: Path
    stem: str
    series: Series | None = field(default=None, repr=False)
    held: object = field(default=None, repr=False, compare=False)
    gathered: bool = field(default=False, repr=False, compare=False)
    """Whether a folder or a zip was named, and not the file."""

    @property
    def frames(self) -> int:
        """How many frames, pages or slices there are. Raises ReadError."""
        return count_frames(self.series or self.path)

    @property
    def files(self) -> list[Path]:
        """The file, or those of the slices in their order."""
        return [Path(each.path) for each in self.series.slices] if self.series else [self.path]

    def place(self, frame: int) -> tuple[Path, int]:
        """The file that holds `frame`, and its frame there."""
        return (self.path, frame) if self.series is None else (self.files[frame], 0)

    def read(self, frame: int) -> Image:
        """Frame `frame`; all slices of a series are read through one window. Raises ReadError."""
        return read_file(self.series or self.path, frame=frame)


def find_jobs(inputs: Sequence[str], output: Path, left_out: list[str] | None = None) -> list[Job]:
    """The files that `inputs` name: files, folders (every file below them), zips and patterns, each once, sorted.

    Results keep the place of a file below its folder, and its whole name, so that a.png and a.dcm part. Single-frame
    files that are the slices of one DICOM series are one job, series-N for its number. Hidden files, DICOMDIRs and
    those below `output` are passed over. Files of folders and zips that are no image by ending and content, as a CD's
    viewer, DICOM files without one and files whose names cannot be written are no jobs: their names are put into
    `left_out`. Raises InputError for an input without files, files that all lie below `output`, or files whose results
    would lie in one place.
    """
    jobs: dict[Path, Job] = {}
    left_out = [] if left_out is None else left_out
    for pattern in inputs:
        named = list(_files(pattern))
        if not named:
            raise InputError(f"{pattern} holds no file: wanted files, folders or patterns such as 'films/*.dcm'.")
        for job in named:
            if output.resolve() not in job.path.resolve().parents:
                jobs.setdefault(job.path.resolve(), job)
    if not jobs:
        raise InputError(
            f"All files of {' and '.join(inputs)} lie in {output}, where the results go: name another --output."
        )
    strange = {path for path, job in jobs.items() if not _is_usable(job)}
    left_out += sorted(printable(jobs[path].stem) for path in strange)
    jobs = {path: job for path, job in jobs.items() if path not in strange}
    places: dict[str, Path] = {}
    for job in jobs.values():
        other = places.setdefault(job.stem, job.path)
        if other is not job.path:
            raise InputError(f"{other} and {job.path} have one name: give the folder above both instead.")
    stacked = with_series(list(jobs.values()), left_out)
    if left_out and not stacked:
        count = f"{counted(len(left_out), 'file')}, the first: {left_out[0]}"
        raise InputError(f"{' and '.join(inputs)} holds no image that can be used among its {count}.")
    return stacked


def with_series(jobs: Sequence[Job], left_out: list[str] | None = None) -> list[Job]:
    """`jobs`, sorted, with one for each series of DICOM slices in place of those of its files. Those of a folder that
    are DICOM and no image are put into `left_out` by name, where it is given."""
    by_path = {str(job.path): job for job in jobs}
    stacks: dict[str, Job] = {}
    listed, copies, imageless = series_among([job.path for job in jobs])
    if left_out is not None:
        gone = {path for path in imageless if by_path[str(path)].gathered}
        left_out += sorted(by_path[str(path)].stem for path in gone)
        jobs = [job for job in jobs if job.path not in gone]
    for series in listed:
        slices = [by_path[path] for path in series.files]
        folder = _common_folder([job.stem for job in slices])
        name = "series" if series.number is None else f"series-{series.number}"
        stem = next(s for s in _numbered(f"{folder}{name}") if s not in stacks)
        stacks[stem] = Job(slices[0].path.parent, stem, series, [job.held for job in slices])
    stacked = {path for job in stacks.values() for path in job.files} | {*copies}
    return sorted([*(job for job in jobs if job.path not in stacked), *stacks.values()], key=lambda job: job.stem)


def _common_folder(stems: Sequence[str]) -> str:
    """The folders that all `stems` begin with, with a slash at the end; "" for none."""
    shared = takewhile(lambda parts: len({*parts}) == 1, zip(*(stem.split("/")[:-1] for stem in stems), strict=False))
    return "".join(f"{parts[0]}/" for parts in shared)


def _numbered(stem: str) -> Iterator[str]:
    yield stem
    number = 2
    while True:
        yield f"{stem}-{number}"
        number += 1


def _files(pattern: str) -> Iterator[Job]:
    """Each file with its place in the output folder."""
    place = Path(pattern)
    if place.is_file() and place.name.upper() == "DICOMDIR":
        place = place.parent  # it lists what lies beside it
    if place.is_dir():
        return _in_folder(place, "", None)
    paths = [place] if place.is_file() else [Path(name) for name in glob.glob(pattern, recursive=True)]
    return (job for path in paths if path.is_file() for job in _of_file(path))


def _is_usable(job: Job) -> bool:
    """Whether results can have the file's name, and it may be an image. Raises InputError for the name of a file that
    was itself named."""
    may_be_named = printable(job.stem) == job.stem and all(
        len(part.encode()) <= LONGEST_NAME for part in job.stem.split("/")
    )
    if not may_be_named and not job.gathered:
        raise InputError(
            f"No result can have the name {printable(job.stem)}: wanted UTF-8, and {LONGEST_NAME} bytes at most."
        )
    return may_be_named and (not job.gathered or _may_be_image(job.path))


def _may_be_image(path: Path) -> bool:
    if not path.is_file():  # a link to nothing, a pipe
        return False
    with path.open("rb") as file:
        return suffix_of(path) in SUFFIXES or is_recognised(file.read(4096))


def _in_folder(root: Path, prefix: str, held: object) -> Iterator[Job]:
    visible = (p for p in root.rglob("*") if not any(part.startswith(".") for part in p.relative_to(root).parts))
    for path in visible:
        if not path.is_dir() and path.name.upper() != "DICOMDIR" and "__MACOSX" not in path.parts:
            yield Job(path, prefix + path.relative_to(root).as_posix(), held=held, gathered=True)


def _of_file(path: Path) -> Iterator[Job]:
    """The file itself, or what a zip holds."""
    if path.suffix.lower() != ".zip":
        return iter([Job(path, path.name)])
    folder = TemporaryFolder()
    unpack_into(folder.path / "content", path, MAX_FRAMES, MOST_UNPACKED)
    return _in_folder(folder.path / "content", f"{path.stem}/", folder)
