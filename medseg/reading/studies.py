"""A folder, a zip or a CD of single DICOM files → the series in it.

The files are opened by worker processes only; what is known of each is what `dicom_slice` says. Whatever is left out,
missing or doubled is counted and stands in `Series.notes`.
"""

from __future__ import annotations

import os
import shutil
import stat
import tempfile
import weakref
from collections import defaultdict
from collections.abc import Callable, Hashable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache
from pathlib import Path

from medseg.errors import InputError, ReadError
from medseg.reading.archive import unpack_into
from medseg.reading.order import Slice, ordered
from medseg.reading.series import Series
from medseg.reading.signatures import has_mark
from medseg.reading.stored import MAX_FRAMES
from medseg.reading.workers import POOL_SIZE, absolute, pool

MOST_UNPACKED = 2 * 2**30
"""Bytes of a zip of one study: a thousand slices of CT take half a gigabyte."""

_IMAGELESS = "hold no DICOM image"
_SLICED = ("CT", "MR", "PT", "NM")
_NAMED = 3
"""Files that a sentence names of those that are left out."""


def list_series(path: str | os.PathLike[str]) -> tuple[Series, ...]:
    """The series of the DICOM images in a folder and the folders below it, in a zip, or on a CD (by its DICOMDIR or
    not), by series number. A zip is unpacked to a temporary folder, which is removed with the last of its series.

    Copies of a file are left out; everything that is no DICOM image is counted in the notes of every series. Raises
    ReadError where there is no image, or for a zip that cannot be unpacked or holds more than 2 GiB.
    """
    kind, place = _kind(path), Path(path)
    if kind == "zip":
        status = place.stat()
        return _of_zip(place.absolute(), status.st_size, status.st_mtime_ns)
    if not kind:
        raise ReadError("Series are listed for a folder, a zip or a DICOMDIR, and this is none. Choose one of these.")
    return _of_folder(place if kind == "folder" else place.parent, None)


@lru_cache(maxsize=1)
def _of_zip(place: Path, size: int, changed_ns: int) -> tuple[Series, ...]:
    """The last zip stays unpacked: its slices are asked for one by one."""
    folder = _unpacked(place)
    return _of_folder(folder.path, folder)


def _of_folder(folder: Path, held: object) -> tuple[Series, ...]:
    return stack_files(sorted(_files(folder)), held)


def stack_files(
    paths: Sequence[str], held: object = None, *, films_apart: bool = False, named: bool = True
) -> tuple[Series, ...]:
    """As `list_series`, of these files; with `films_apart` films and photographs of one series are one each. Notes
    count what is left out without its names unless these are `named`."""
    described = list(_described(paths))
    left_out: dict[str, list[str]] = defaultdict(list)
    for path, each in zip(paths, described, strict=True):
        if isinstance(each, str):
            left_out[each].append(Path(path).name)
    notes = tuple(_said(words, names, named) for words, names in sorted(left_out.items()))
    slices = [each for each in described if isinstance(each, Slice)]
    if not slices:
        raise ReadError(
            f"The folder holds no DICOM image among its {len(described)} files. Choose a folder of a study."
        )
    films = [each for each in slices if films_apart and not _is_slice(each)]
    groups = [*_groups([each for each in slices if each not in films]), *([film] for film in films)]
    return _sorted(_series(members, notes, held) for members in groups)


def series_among(paths: Iterable[Path]) -> tuple[tuple[Series, ...], tuple[Path, ...], tuple[Path, ...]]:
    """The stacks of two slices or more that are among the files at `paths`, the copies of their slices, which they
    leave out, and the DICOM files without an image, as reports are, or with masks instead (SEG). Other files are passed
    over: also films and photographs, which lie at no place in the patient and are no stack although they share a
    series."""
    dicom = [path for path in paths if may_be_dicom(path)]
    described = list(_described([str(path) for path in dicom]))
    imageless = tuple(path for path, each in zip(dicom, described, strict=True) if each == _IMAGELESS or _is_seg(each))
    slices = [each for each in described if isinstance(each, Slice) and each.series and each.frames == 1]
    slices = [each for each in slices if not _is_seg(each)]
    groups = _groups([each for each in slices if _is_slice(each)])
    stacks = _sorted(_series(members, (), None) for members in groups)
    stacks = tuple(each for each in stacks if len(each.slices) > 1)
    held = {each.path: each.instance for stack in stacks for each in stack.slices}
    names = {*held.values()} - {None}
    copies = tuple(Path(each.path) for each in slices if each.instance in names and each.path not in held)
    return stacks, copies, imageless


def _is_seg(each: object) -> bool:
    return isinstance(each, Slice) and each.modality == "SEG"


def _is_slice(each: Slice) -> bool:
    """Whether it lies at a place in the patient, or comes from a device that makes slices."""
    return bool(each.position) or each.modality in _SLICED


def _sorted(listed: Iterable[Series]) -> tuple[Series, ...]:
    return tuple(sorted(listed, key=lambda each: (each.number or 0, each.slices[0].path)))


def _said(words: str, names: Sequence[str], named: bool) -> str:
    words = words.replace("hold ", "holds ") if len(names) == 1 else words
    verb, more = ("is", "") if len(names) == 1 else ("are", ", …" if len(names) > _NAMED else "")
    those = f": {', '.join(names[:_NAMED])}{more}" if named else ""
    return f"Of the folder's files {len(names)} {words} and {verb} left out{those}."


def may_be_dicom(path: Path) -> bool:
    """By the mark at byte 128, or a name that says nothing else."""
    return path.suffix.lower() in (".dcm", ".dicom", ".ima") or has_mark(path)


def is_zip(path: str | os.PathLike[str]) -> bool:
    """Whether the ordinary file at `path` begins as a zip."""
    return _kind(path) == "zip"


def one_series(path: str | os.PathLike[str] | Series) -> Series | None:
    """The one series that `path` is or holds; None for any other file. Raises ReadError for several series, and for a
    folder, a zip or a DICOMDIR without one."""
    if isinstance(path, Series):
        return path
    if not _kind(path):
        return None
    listed = list_series(path)
    if len(listed) == 1:
        return listed[0]
    names = "; ".join(f"[{index}] {each.summary}" for index, each in enumerate(listed[:8]))
    raise ReadError(
        f"The folder holds {len(listed)} series: {names}{'; …' if len(listed) > 8 else ''}. Choose one: "
        "read_image(list_series(folder)[0]) reads the first."
    )


class TemporaryFolder:
    """A folder that goes when nothing refers to this object any more."""

    def __init__(self) -> None:
        self.path = Path(tempfile.mkdtemp(prefix="medseg-series-"))
        weakref.finalize(self, shutil.rmtree, self.path, ignore_errors=True)


def _unpacked(place: Path) -> TemporaryFolder:
    folder = TemporaryFolder()
    try:
        unpack_into(folder.path / "content", place, MAX_FRAMES, MOST_UNPACKED)
    except InputError as error:
        raise ReadError(str(error).replace(place.name, "The zip")) from error
    return folder


def _kind(path: str | os.PathLike[str]) -> str:
    """ "folder", "zip" or "DICOMDIR"; "" for every other file, and where there is none."""
    if not os.fspath(path):  # which Path would take for the current folder
        raise InputError("The path is empty: wanted that of a file, a folder or a zip.")
    place = Path(path)
    try:
        mode = place.stat().st_mode
        if stat.S_ISDIR(mode):
            return "folder"
        if not stat.S_ISREG(mode):
            return ""
        with place.open("rb") as file:
            packed = file.read(4) == b"PK\3\4"
    except (OSError, ValueError):
        return ""
    return "zip" if packed else "DICOMDIR" if place.name.upper() == "DICOMDIR" else ""


def _files(folder: Path) -> Iterable[str]:
    """The ordinary files below `folder`, without the DICOMDIR that lists them and what systems hide there."""
    count = 0
    for parent, _, names in os.walk(folder):
        for name in names:
            path = os.path.join(parent, name)
            if name.upper() == "DICOMDIR" or name.startswith(".") or not os.path.isfile(path):
                continue
            count += 1
            if count > MAX_FRAMES:
                raise ReadError(f"The folder holds more than {MAX_FRAMES} files. Choose the folder of one study.")
            yield path


def _described(paths: Sequence[str]) -> Iterable[Slice | str]:
    """For each file its slice, or why it is left out, as the end of a sentence about several."""

    def describe(path: str) -> Slice | str:
        try:
            header, _ = pool.ask({"do": "slice", "path": absolute(path)})
        except ReadError:
            return "cannot be read as DICOM"
        return Slice(path, **header["slice"]) if header["slice"] else _IMAGELESS

    with ThreadPoolExecutor(POOL_SIZE) as threads:
        yield from threads.map(describe, paths)


def _groups(slices: Sequence[Slice]) -> list[list[Slice]]:
    """Slices that make one stack: of one series, size and, where all say it, direction; a file of frames by itself."""
    stacks = _by(
        slices, lambda each: (each.series, each.rows, each.columns, each.samples, each.frames > 1 and each.path)
    )
    return [
        group
        for stack in stacks
        for group in (
            _by(stack, lambda each: each.direction) if all(each.place is not None for each in stack) else [stack]
        )
    ]


def _by(slices: Iterable[Slice], key: Callable[[Slice], Hashable]) -> list[list[Slice]]:
    groups: dict[Hashable, list[Slice]] = defaultdict(list)
    for each in slices:
        groups[key(each)].append(each)
    return list(groups.values())


def _series(members: list[Slice], notes: tuple[str, ...], held: object) -> Series:
    slices, distance, said = ordered(members)
    first = slices[0]
    size = first.rows or 0, first.columns or 0
    return Series(first.description, first.modality, size, slices, distance, (*said, *notes), held)
