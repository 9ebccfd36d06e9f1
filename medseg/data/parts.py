"""What a mask can be made of, beside a whole mask file: files of one label, polygons, run lengths, boxes.

A sample's mask is a tuple of such parts, each of one label; parts of one label are united, labels may overlap. Parts
are plain data that a manifest holds and gives back: `part_to_json` and `part_from_json` are inverses.

Coordinates are (x, y) = (column, row) from the upper left corner: the pixel in row r and column c covers
c <= x < c + 1 and r <= y < r + 1. Whether the grid is that of the file as stored or of the upright image is the
sample's knowledge: `lies_upright`.
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
from medseg.reading.marks import Value

_SLACK = 1.0
"""Pixels that a coordinate may lie beyond the image: annotation tools clamp to the width or to the width + 1."""


ANY: tuple[Value, ...] = (-1,)
"""The `values` of a MaskFile of which everything but 0 is marked, as in a map of numbered instances."""


@dataclass(frozen=True)
class MaskFile:
    """A mask file of one label: a binary mask, or with `values` those pixels of a label map that hold one of them.

    `known` are all values that the label map may hold, () for any: others are refused, since nothing says what they
    mean.
    """

    label: str
    path: Path
    values: tuple[Value, ...] = ()
    known: tuple[Value, ...] = ()


@dataclass(frozen=True)
class Polygon:
    """A closed outline of three or more points; where it crosses itself, what it encloses twice is outside.

    A pixel belongs to the mask where its centre lies inside, as for pycocotools and labelme. With `outlined` a corner
    stands for the pixel it lies in, and the pixels of the outline belong to the mask: what Pillow's and OpenCV's
    polygon fill do, and with them the ChestX-Det annotators. `relative` points are shares of the image's sides.
    """

    label: str
    points: tuple[tuple[float, float], ...]
    outlined: bool = False
    relative: bool = False

    def __post_init__(self) -> None:
        """Raises ValueError for an outline that is a line or a point, unless its own pixels are marked."""
        if not self.outlined and min(len({*side}) for side in zip(*self.points, strict=True)) < 2:
            raise ValueError("a polygon that encloses nothing")

    def draw(self, size: tuple[int, int]) -> Mask:
        """(H, W) of `size`. Raises ReadError for points beyond it."""
        points = self.points_on(size)
        _check_inside(points, size)
        return _fill_outlined(points, size) if self.outlined else _fill(points, size)

    def points_on(self, size: tuple[int, int]) -> tuple[tuple[float, float], ...]:
        """The points in pixels of an image of `size` (height, width)."""
        return tuple((x * size[1], y * size[0]) for x, y in self.points) if self.relative else self.points


@dataclass(frozen=True)
class Runs:
    """Run lengths in one of the forms of `medseg.data.rle`; `size` (height, width) where the file states it."""

    label: str
    text: str
    form: RleForm = "relative"
    size: tuple[int, int] | None = None

    def draw(self, size: tuple[int, int]) -> Mask:
        """(H, W) of `size`. Raises ReadError for runs of an image of another size."""
        if self.size not in (None, size):
            raise ReadError(
                f"The run lengths are for {self.size[1]} × {self.size[0]} pixels (width × height), the image has "
                f"{size[1]} × {size[0]}. They belong to another image, or to this one before it was resized."
            )
        return decode_rle(self.text, size, self.form)


@dataclass(frozen=True)
class Box:
    """A rectangle given by its edges: all of its pixels are marked."""

    label: str
    left: float
    top: float
    right: float
    bottom: float

    def draw(self, size: tuple[int, int]) -> Mask:
        """(H, W) of `size`. Raises ReadError for a box beyond it."""
        _check_inside([(self.left, self.top), (self.right, self.bottom)], size)
        mask = np.zeros(size, dtype=bool)
        rows = slice(max(0, math.floor(self.top)), max(0, math.ceil(self.bottom)))
        mask[rows, max(0, math.floor(self.left)) : max(0, math.ceil(self.right))] = True
        return mask


Drawn: TypeAlias = Polygon | Runs | Box
Part: TypeAlias = MaskFile | Drawn
_KINDS = {"file": MaskFile, "polygon": Polygon, "rle": Runs, "box": Box}


def stored_size(like: Image) -> tuple[int, int]:
    """(height, width) of the file's own pixel grid: EXIF orientations 5 to 8 exchange the sides."""
    return like.size[::-1] if like.orientation in (5, 6, 7, 8) else like.size


def lies_upright(like: Image, upright: bool | None, stated: tuple[int, int] | None) -> bool:
    """Whether annotations lie on the upright grid of `like`, else on the grid of its file as stored.

    `upright` is what the annotations or their tool say, None where they say nothing; then `stated`, the (height, width)
    that they are for, tells the two grids apart where EXIF orientation exchanges the sides. Raises ReadError where
    nothing tells: half of all tools turn photographs upright, and the other half do not.
    """
    if like.orientation == 1:
        return False
    if upright is not None:
        return upright
    stored = stored_size(like)
    if stored != like.size and stated in (stored, like.size):
        return stated == like.size
    raise ReadError(
        f"The photograph is turned by its EXIF orientation ({like.orientation}), and nothing says whether its "
        'annotations are for the image as stored or upright. Save the photograph upright, or state "upright": true or '
        "false for it."
    )


def draw_upright(part: Drawn, like: Image, *, upright: bool) -> Mask:
    """`part` as a mask (H, W) on the upright grid of `like`. Raises ReadError for what does not fit its size."""
    if upright:
        return part.draw(like.size)
    return to_upright(part.draw(stored_size(like)), like.orientation)


def part_to_json(part: Part, root: Path) -> dict[str, Any]:
    """`part` as a JSON object; the path of a file relative to `root` where it lies below it."""
    match part:
        case MaskFile():
            values = {"values": list(part.values), "known": list(part.known)} if part.values else {}
            return {"label": part.label, "file": relative_to(part.path, root), **values}
        case Polygon():
            said = {name: True for name in ("outlined", "relative") if getattr(part, name)}
            return {"label": part.label, "polygon": [list(point) for point in part.points], **said}
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
            values, known = (tuple(map(_value, entry.get(name, ()))) for name in ("values", "known"))
            return MaskFile(label, root / _text(entry["file"]), values, known)
        case "polygon":
            points = to_points([value for point in entry["polygon"] for value in point])
            return Polygon(label, points, bool(entry.get("outlined")), bool(entry.get("relative")))
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


def _fill(points: Sequence[tuple[float, float]], size: tuple[int, int]) -> Mask:
    """The pixels whose centres lie inside. Each row's crossings with the outline switch it on and off:

    a crossing at x switches all pixels from the first whose centre is not left of x.
    """
    height, width = size
    switches = np.zeros((height, width + 1), dtype=np.int32)
    for (x0, y0), (x1, y1) in zip(points, (*points[1:], points[0]), strict=True):
        if y0 == y1:
            continue
        first, last = sorted((y0, y1))
        rows = np.arange(max(0, math.ceil(first - 0.5)), min(height, math.ceil(last - 0.5)))
        crossings = x0 + (rows + 0.5 - y0) * (x1 - x0) / (y1 - y0)
        columns = np.clip(np.ceil(crossings - 0.5), 0, width).astype(np.int64)
        switches[rows, columns] += 1  # an edge crosses a row once
    return np.asarray(np.cumsum(switches[:, :width], axis=1) % 2 == 1)


def _fill_outlined(points: Sequence[tuple[float, float]], size: tuple[int, int]) -> Mask:
    canvas = PIL.Image.new("1", size[::-1])
    PIL.ImageDraw.Draw(canvas).polygon([(math.floor(x), math.floor(y)) for x, y in points], fill=1)
    return np.asarray(canvas)


def _check_inside(points: Sequence[tuple[float, float]], size: tuple[int, int]) -> None:
    height, width = size
    for x, y in points:
        if not (-_SLACK <= x <= width + _SLACK and -_SLACK <= y <= height + _SLACK):
            raise ReadError(
                f"An annotation reaches x = {x:g}, y = {y:g}, beyond the image of {width} × {height} pixels (width × "
                "height). It belongs to an image of another size."
            )


def _value(value: Any) -> Value:
    if isinstance(value, list | tuple):
        red, green, blue = (int(_number(part)) for part in value)
        return red, green, blue
    return int(_number(value))


def _number(value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise ValueError(f"wanted a number, found {value!r}")
    return value


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise TypeError(f"wanted a text, found {value!r}")
    return value
