"""What a visitor's upload holds: one image, or series of DICOM files and images to choose from."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from medseg.app.server.upload_folder import work_folder
from medseg.app.state.batch import MAX_UNPACKED
from medseg.app.state.uploaded_files import UploadedFile
from medseg.data.listing import SUFFIXES, stem_of, suffix_of, walk
from medseg.errors import InputError, ReadError
from medseg.reading.archive import unpack_into
from medseg.reading.series import Series
from medseg.reading.stored import MAX_FRAMES
from medseg.reading.studies import is_zip, stack_files

MAX_CHOICES = 200
"""Series and images of one upload that a list offers."""


@dataclass(frozen=True)
class Content:
    """A series, or the file of an image, its `title` for whoever chooses, and what its visitor calls it."""

    source: Path | Series
    title: str
    called: str
    held: object = field(default=None, repr=False, compare=False)
    """Owns the folder of an unpacked zip, which goes with it."""

    @property
    def frames(self) -> int:
        """How many slices a series has; 1 for a file, which is not looked into."""
        return self.source.frames if isinstance(self.source, Series) else 1


class _Owner:
    """Of the folders that the zips of one upload are unpacked to."""


def contents_of(uploads: Sequence[UploadedFile]) -> tuple[Content, ...]:
    """The series of the DICOM files in `uploads`, by their numbers, then the other images by name; zips are unpacked.

    A single file that is no zip is not looked into. What is left out is said in the notes of each series. Raises
    InputError for a zip that cannot be unpacked and for more than MAX_CHOICES, ReadError where there is no image.
    """
    if len(uploads) == 1 and not is_zip(uploads[0].path):
        return (Content(uploads[0].path, uploads[0].name, uploads[0].name),)
    held = _Owner()
    names = {str(path): name for upload in uploads for path, name in _files(upload, held)}
    images = {path: name for path, name in names.items() if suffix_of(Path(name)) in SUFFIXES - {".dcm", ".dicom"}}
    others = [path for path in names if path not in images]
    stem = f"{stem_of(Path(uploads[0].name))}-" if len(uploads) == 1 else ""
    listed = (
        *(Content(each, each.title, _called(each, names, stem)) for each in _series(others, held)),
        *(Content(Path(path), name, name, held) for path, name in images.items()),
    )
    if not listed:
        raise ReadError(f"The upload holds no image among its {len(names)} files. Send images, or a zip of a study.")
    if len(listed) > MAX_CHOICES:
        raise InputError(
            f"The upload holds {len(listed)} series and images, and here one of up to {MAX_CHOICES} is chosen: send "
            "fewer, or all of them in the tab Batch."
        )
    return listed


def _files(upload: UploadedFile, held: object) -> Iterator[tuple[Path, str]]:
    """The file, or those of a zip, each with its name."""
    if not is_zip(upload.path):
        yield upload.path, upload.name
        return
    folder = work_folder(held) / "content"
    try:
        unpack_into(folder, upload.path, MAX_FRAMES, MAX_UNPACKED)
    except InputError as error:
        raise InputError(str(error).replace(upload.path.name, "The zip")) from None
    for path in walk(folder):
        if path.name.upper() != "DICOMDIR":
            yield path, path.name


def _series(paths: Sequence[str], held: object) -> tuple[Series, ...]:
    """Those of the files, none where no file is a DICOM image."""
    try:
        return stack_files(paths, held, films_apart=True, named=False) if paths else ()
    except ReadError:
        return ()


def _called(series: Series, names: dict[str, str], stem: str) -> str:
    """A file's own name; of several files that of their zip, with the series' number."""
    if len(series.slices) == 1:
        return names[series.files[0]]
    return f"{stem}series" if series.number is None else f"{stem}series-{series.number}"
