"""A series of DICOM files: a stack of slices in the order of position, read through one window."""

from __future__ import annotations

import operator
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path

from medseg.errors import InputError, ReadError
from medseg.image import Image
from medseg.reading.order import Slice
from medseg.reading.stored import check_frame, image_from_header
from medseg.reading.workers import absolute, pool

_SAMPLED_SLICES = 48
"""So many slices, at equal distances, show the darkest and brightest value of a series that names no window."""

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
    def number(self) -> int | None:
        """The series' number in its study."""
        return self.slices[0].series_number

    @property
    def title(self) -> str:
        """The series in words, so that a person can choose one."""
        named = f"“{self.description}”, " if self.description else ""
        return f"{named}{self.summary}"

    @property
    def summary(self) -> str:
        """The series in words that are not the file's: nobody's name can stand in them."""
        number = "series without a number" if self.number is None else f"series {self.number}"
        frames = "1 slice" if self.frames == 1 else f"{self.frames} slices"
        return f"{number}, {self.modality or 'unknown modality'}, {frames} of {self.size[1]} × {self.size[0]}"

    @property
    def files(self) -> list[str]:
        """The files of all its slices, in their order."""
        return [each.path for each in self.slices]

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
        try:
            image = ask_image(absolute(path), own, window or common, extent)
        except ReadError as error:
            raise ReadError(f"Slice {frame} ({Path(path).name}): {error}") from None
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


def ask_image(path: str, frame: int | None, window: Window | None, extent: Extent | None = None) -> Image:
    """A worker's image of `frame` in the file at `path` from the root, `extent` shown black to white where neither the
    file nor `window` says more. Raises ReadError, InputError."""
    request = {"do": "image", "path": path, "frame": frame, "window": window, "extent": extent}
    header, pixels = pool.ask(request)
    if pixels is None:
        raise ReadError("The file could not be decoded. Export it again.")
    return image_from_header(header, pixels)


def _extent(each: Slice) -> Extent | None:
    try:
        header, _ = pool.ask({"do": "extent", "path": absolute(each.path), "frame": 0})
    except (ReadError, InputError):  # said when this slice itself is read
        return None
    ends = header["extent"]
    return (ends[0], ends[1]) if ends else None
