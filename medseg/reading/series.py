"""A folder, a zip or a CD of single DICOM files → the series in it, each a stack of slices in the order of position.

The files are opened by worker processes only; what is known of each is what `dicom_slice` says. Whatever is left out,
missing or doubled is counted and stands in `Series.notes`.
"""

from __future__ import annotations

import operator
import os
import shutil
import stat
import tempfile
import weakref
from collections import Counter, defaultdict
from collections.abc import Callable, Hashable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from functools import cached_property, lru_cache
from pathlib import Path

from medseg.errors import InputError, ReadError
from medseg.image import Image
from medseg.reading.archive import unpack_into
from medseg.reading.order import Slice, ordered
from medseg.reading.stored import MAX_FRAMES, check_frame, image_from_header
from medseg.reading.workers import POOL_SIZE, absolute, pool

_SAMPLED_SLICES = 48
"""So many slices, at equal distances, show the darkest and brightest value of a series that names no window."""

_MOST_UNPACKED = 2 * 2**30
"""Bytes of a zip of one study: a thousand slices of CT take half a gigabyte."""

Window = tuple[float, float]
Extent = tuple[float, float]


@dataclass(frozen=True, eq=False)
class Series:
    """One series of DICOM files of equal size and direction, or one file of several frames.

    `description` is the file's own text, "" where it has none; `size` is (height, width) in pixels. `slices` are in the
    order in which frames are counted: by position along their common normal from the feet (from the right, from the
    front) on, else as `notes` say. `distance_mm` lies between neighbours, None where it is not known.
    """

    description: str
    modality: str | None
    size: tuple[int, int]
    slices: tuple[Slice, ...]
    distance_mm: float | None = None
    notes: tuple[str, ...] = ()
    held: object = field(default=None, repr=False)
    """The temporary folder of an unpacked zip, which lives as long as its series."""

    @property
    def frames(self) -> int:
        """How many slices, or frames of the one file, the series has."""
        return self.slices[0].frames if len(self.slices) == 1 else len(self.slices)

    def place(self, frame: int) -> tuple[str, int]:
        """The file that holds `frame` of the series, and its frame there. Raises ReadError where there is none."""
        check_frame(frame, self.frames)
        return (self.slices[0].path, frame) if len(self.slices) == 1 else (self.slices[frame].path, 0)

    def read(self, frame: int | None = None, window: Window | None = None) -> Image:
        """Slice `frame`, the middle one where it is not named; all slices through one window. See `read_image`."""
        if len(self.slices) == 1:
            image = ask_image(absolute(self.slices[0].path), frame, window)
            return replace(image, notes=(*image.notes, *self.notes))
        frame = self.frames // 2 if frame is None else operator.index(frame)
        path, own = self.place(frame)
        common, extent, said = self._look
        image = ask_image(absolute(path), own, window or common, extent)
        notes = (*image.notes, *self.notes, *(said if window is None else ()))
        return replace(image, frame=frame, frames=self.frames, notes=notes)

    @cached_property
    def _look(self) -> tuple[Window | None, Extent | None, tuple[str, ...]]:
        """The window of all slices, or the values that are black and white in all, and how that was chosen."""
        if any(each.lut or each.samples == 3 for each in self.slices):
            return None, None, ()
        middle = self.frames // 2
        named = [index for index, each in enumerate(self.slices) if each.window]
        if named:
            index = min(named, key=lambda index: abs(index - middle))
            window = self.slices[index].window
            if all(each.window == window for each in self.slices):
                return None, None, ()
            return window, None, (f"The slices name different windows: that of slice {index} is used for all.",)
        step = max(1, -(-self.frames // _SAMPLED_SLICES))
        sample = self.slices[::step]
        ends = [end for end in map(_extent, sample) if end]
        if not ends:
            return None, None, ()
        said = f"What is black and white was found in {len(sample)} of the {self.frames} slices."
        extent = min(low for low, _ in ends), max(high for _, high in ends)
        return None, extent, (said,) if step > 1 else ()


def list_series(path: str | os.PathLike[str]) -> tuple[Series, ...]:
    """The series of the DICOM images in a folder and the folders below it, in a zip, or on a CD (by its DICOMDIR or
    not), by series number. A zip is unpacked to a temporary folder, which is removed with the last of its series.

    Copies of a file are left out; everything that is no DICOM image is counted in the notes of every series. Raises
    ReadError where there is no image, or for a zip that cannot be unpacked or holds more than 2 GiB.
    """
    place = Path(path)
    kind = _kind(place)
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


def stack_files(paths: Sequence[str], held: object = None) -> tuple[Series, ...]:
    """As `list_series`, of these files."""
    described = list(_described(paths))
    left_out = Counter(each for each in described if isinstance(each, str))
    notes = tuple(f"Of the folder's files {count} {words}." for words, count in sorted(left_out.items()))
    slices = [each for each in described if isinstance(each, Slice)]
    if not slices:
        raise ReadError(
            f"The folder holds no DICOM image among its {len(described)} files. Choose a folder of a study."
        )
    listed = [_series(members, notes, held) for members in _groups(slices)]
    return tuple(sorted(listed, key=lambda each: (each.slices[0].series_number or 0, each.slices[0].path)))


def one_series(path: str | os.PathLike[str] | Series) -> Series | None:
    """The one series that `path` is or holds; None for any other file. Raises ReadError for several series, and for a
    folder, a zip or a DICOMDIR without one."""
    if isinstance(path, Series):
        return path
    if not _kind(Path(path)):
        return None
    listed = list_series(path)
    if len(listed) == 1:
        return listed[0]
    names = "; ".join(f"{each.modality or 'unknown modality'}, {each.frames} slices" for each in listed[:8])
    raise ReadError(
        f"The folder holds {len(listed)} series ({names}{'; …' if len(listed) > 8 else ''}): list_series names them, "
        "and read_image takes one of them. Choose one."
    )


def ask_image(path: str, frame: int | None, window: Window | None, extent: Extent | None = None) -> Image:
    """A worker's image of `frame` in the file at `path` from the root, `extent` shown black to white where neither the
    file nor `window` says more. Raises ReadError, InputError."""
    request = {"do": "image", "path": path, "frame": frame, "window": window, "extent": extent}
    header, pixels = pool.ask(request)
    if pixels is None:
        raise ReadError("The file could not be decoded. Export it again.")
    return image_from_header(header, pixels)


class _Temporary:
    """A folder that goes when nothing refers to this object any more."""

    def __init__(self) -> None:
        self.path = Path(tempfile.mkdtemp(prefix="medseg-series-"))
        weakref.finalize(self, shutil.rmtree, self.path, ignore_errors=True)


def _unpacked(place: Path) -> _Temporary:
    folder = _Temporary()
    try:
        unpack_into(folder.path / "content", place, MAX_FRAMES, _MOST_UNPACKED)
    except InputError as error:
        raise ReadError(str(error).replace(place.name, "The zip")) from error
    return folder


def _kind(place: Path) -> str:
    """ "folder", "zip" or "DICOMDIR"; "" for every other file, and where there is none."""
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
            return "cannot be read as DICOM and are left out"
        return Slice(path, **header["slice"]) if header["slice"] else "are no DICOM images and are left out"

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


def _extent(each: Slice) -> Extent | None:
    try:
        header, _ = pool.ask({"do": "extent", "path": absolute(each.path), "frame": 0})
    except (ReadError, InputError):  # said when this slice itself is read
        return None
    ends = header["extent"]
    return (ends[0], ends[1]) if ends else None
