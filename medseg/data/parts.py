"""What a mask can be made of, beside a whole mask file: files of one label, polygons, run lengths, boxes.

A sample's mask is a tuple of such parts, each of one label; parts of one label are united, labels may overlap. Parts
are plain data that a manifest holds and gives back: `part_to_json` and `part_from_json` are inverses.

Coordinates are (x, y) = (column, row) on the pixel grid of the file as stored, from its upper left corner: the pixel in
row r and column c covers c <= x < c + 1 and r <= y < r + 1. EXIF orientation is applied after drawing.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias, get_args

import numpy as np
import PIL.Image
import PIL.ImageDraw

from medseg.arrays import Mask
from medseg.data.rle import RleForm, decode_rle
from medseg.errors import ReadError
from medseg.image import Image, to_upright
from medseg.reading.readers import read_masks

_SLACK = 1.0
"""Pixels that a coordinate may lie beyond the picture: annotation tools clamp to the width or to the width + 1."""


@dataclass(frozen=True)
class MaskFile:
    """A binary mask file of one label."""

    label: str
    path: Path

    def read(self, like: Image) -> Mask:
        """(H, W), upright, on the grid of the picture `like`. Raises ReadError as `read_masks` does."""
        return np.asarray(read_masks(self.path, [self.label], like=like)[0])


@dataclass(frozen=True)
class Polygon:
    """A closed outline of three or more points.

    A corner stands for the pixel it lies in, and the pixels of the outline belong to the mask: what Pillow's and
    OpenCV's polygon fill do, and with them the ChestX-Det annotators. Tools that fill by pixel centres (pycocotools)
    mark up to one pixel less on the right and lower side.
    """

    label: str
    points: tuple[tuple[float, float], ...]

    def read(self, like: Image) -> Mask:
        """(H, W), upright, on the grid of `like`. Raises ReadError for points beyond the picture."""
        _check_inside(self.points, like)
        height, width = stored_size(like)
        canvas = PIL.Image.new("1", (width, height))
        PIL.ImageDraw.Draw(canvas).polygon([(math.floor(x), math.floor(y)) for x, y in self.points], fill=1)
        return to_upright(np.asarray(canvas), like.orientation)


@dataclass(frozen=True)
class Runs:
    """Run lengths in one of the forms of `medseg.data.rle`; `size` (height, width) where the file states it."""

    label: str
    text: str
    form: RleForm = "relative"
    size: tuple[int, int] | None = None

    def read(self, like: Image) -> Mask:
        """(H, W), upright, on the grid of `like`. Raises ReadError for runs of a picture of another size."""
        height, width = stored_size(like)
        if self.size not in (None, (height, width)):
            raise ReadError(
                f"The run lengths are for {self.size[1]} × {self.size[0]} pixels (width × height), the picture has "
                f"{width} × {height}. They belong to another picture."
            )
        return to_upright(decode_rle(self.text, (height, width), self.form), like.orientation)


@dataclass(frozen=True)
class Box:
    """A rectangle given by its edges: all of its pixels are marked."""

    label: str
    left: float
    top: float
    right: float
    bottom: float

    def read(self, like: Image) -> Mask:
        """(H, W), upright, on the grid of `like`. Raises ReadError for a box beyond the picture."""
        _check_inside([(self.left, self.top), (self.right, self.bottom)], like)
        mask = np.zeros(stored_size(like), dtype=bool)
        rows = slice(max(0, math.floor(self.top)), max(0, math.ceil(self.bottom)))
        mask[rows, max(0, math.floor(self.left)) : max(0, math.ceil(self.right))] = True
        return to_upright(mask, like.orientation)


Part: TypeAlias = MaskFile | Polygon | Runs | Box
_KINDS = {"file": MaskFile, "polygon": Polygon, "rle": Runs, "box": Box}


def stored_size(like: Image) -> tuple[int, int]:
    """(height, width) of the file's own pixel grid: EXIF orientations 5 to 8 exchange the sides."""
    return like.size[::-1] if like.orientation in (5, 6, 7, 8) else like.size


def part_to_json(part: Part, root: Path) -> dict[str, Any]:
    """`part` as a JSON object; the path of a file relative to `root` where it lies below it."""
    match part:
        case MaskFile():
            return {"label": part.label, "file": relative_to(part.path, root)}
        case Polygon():
            return {"label": part.label, "polygon": [list(point) for point in part.points]}
        case Runs():
            return {"label": part.label, "rle": part.text, "form": part.form, "size": part.size and list(part.size)}
        case Box():
            return {"label": part.label, "box": [part.left, part.top, part.right, part.bottom]}


def part_from_json(entry: dict[str, Any], root: Path) -> Part:
    """The part that `part_to_json` wrote. Raises ValueError, KeyError or TypeError for anything else."""
    kinds = _KINDS.keys() & entry.keys()
    if len(kinds) != 1:
        raise ValueError(f"a mask part is one of {', '.join(_KINDS)}, not {sorted(entry)}")
    label = _text(entry["label"])
    match kinds.pop():
        case "file":
            return MaskFile(label, root / _text(entry["file"]))
        case "polygon":
            return Polygon(label, to_points([value for point in entry["polygon"] for value in point]))
        case "rle":
            form, size = entry.get("form", "relative"), entry.get("size")
            if form not in get_args(RleForm):
                raise ValueError(f"form {form!r}")
            return Runs(label, _text(entry["rle"]), form, (int(size[0]), int(size[1])) if size else None)
        case _:
            left, top, right, bottom = map(_number, entry["box"])
            return Box(label, left, top, right, bottom)


def to_points(flat: Sequence[Any]) -> tuple[tuple[float, float], ...]:
    """[x, y, x, y, …] as the points of a polygon. Raises ValueError where they are not three finite points or more."""
    numbers = [_number(value) for value in flat]
    if len(numbers) < 6 or len(numbers) % 2:
        raise ValueError(f"a polygon needs at least three points x, y; got {len(numbers)} numbers")
    return tuple(zip(numbers[::2], numbers[1::2], strict=True))


def relative_to(path: Path, root: Path) -> str:
    """`path` with forward slashes, relative to `root` where it lies below it, absolute elsewhere."""
    path, root = path.absolute(), root.absolute()
    return (path.relative_to(root) if path.is_relative_to(root) else path).as_posix()


def _check_inside(points: Sequence[tuple[float, float]], like: Image) -> None:
    height, width = stored_size(like)
    for x, y in points:
        if not (-_SLACK <= x <= width + _SLACK and -_SLACK <= y <= height + _SLACK):
            raise ReadError(
                f"An annotation reaches x = {x:g}, y = {y:g}, beyond the picture of {width} × {height} pixels (width × "
                "height). It belongs to a picture of another size."
            )


def _number(value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise ValueError(f"wanted a number, found {value!r}")
    return value


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise TypeError(f"wanted a text, found {value!r}")
    return value
