"""labelme: one JSON file beside each image."""

from __future__ import annotations

import base64
import binascii
import io
from pathlib import Path
from typing import Any

import numpy as np
import PIL.Image

from medseg.data.left_out import left_out
from medseg.data.listing import is_image, split_of_folders, stem_of, walk
from medseg.data.manifest import DataSet, Sample, read_json, without_spoiled
from medseg.data.parts import Part, Polygon, Runs, to_points
from medseg.data.rle import encode_rle
from medseg.data.shapes import ellipse, rectangle
from medseg.errors import InputError


def is_labelme_json(content: Any) -> bool:
    """Whether parsed JSON is a labelme file."""
    return isinstance(content, dict) and isinstance(content.get("shapes"), list) and "imagePath" in content


def is_labelme(root: Path) -> bool:
    """A folder with at least one labelme file anywhere below it; the first JSON files tell."""
    tables = [path for path in walk(root) if path.suffix.lower() == ".json"][:20]
    return any(_content(path, []) is not None for path in tables)


def read_labelme(root: Path) -> DataSet:
    """labelme's files: polygons, rectangles, circles, ellipses and bitmaps; shapes of a label are united.

    Home page: https://github.com/wkentaro/labelme
    Layout: a.json anywhere below the folder, {"shapes": [{"label", "points", "shape_type"}], "imagePath",
        "imageHeight", "imageWidth"}; the image lies at imagePath, or beside the JSON file under its stem. Coordinates
        are upright, as labelme shows photographs. Folders train/, val/, test/ are the splits. Images without a file
        are left out, since labelme writes none for an image that nobody opened; so are lines and points.
    Licence, citation: those of the data.
    Raises InputError for a folder without such files.
    """
    samples, lines, images, spoiled = [], [], set[Path](), set[Path]()
    broken: list[str] = []
    unread: list[str] = []
    for path in walk(root):
        content = _content(path, unread) if path.suffix.lower() == ".json" else None
        if content is None:
            continue
        parts: list[Part] = []
        before = len(broken)
        for number, shape in enumerate(content["shapes"]):
            try:
                part = _part(shape, (int(content["imageHeight"] or 0), int(content["imageWidth"] or 0)))
                parts.append(part) if part else lines.append(f"shape {number} of {path.name}")
            except (ValueError, KeyError, TypeError, AttributeError, OSError) as error:
                broken.append(f"shape {number} of {path.name}: {error}")
        image = _image(path, str(content["imagePath"]))
        images.add(image.resolve())
        spoiled |= {image} if len(broken) > before or (content["shapes"] and not parts) else set()
        size = (int(content["imageHeight"]), int(content["imageWidth"])) if content.get("imageHeight") else None
        split = split_of_folders(path.relative_to(root))
        samples.append(Sample(image, tuple(parts), stem_of(image), split, size=size, upright=True))
    if not samples:
        raise InputError(f"{root.name} holds no labelme files.")
    entries = left_out("shapes that cannot be drawn", broken) + left_out("lines and points, which mark no area", lines)
    entries += left_out("JSON files that cannot be read", unread)
    unopened = [path.name for path in walk(root) if is_image(path) and path.resolve() not in images]
    entries += left_out("images without a labelme file", unopened)
    samples, gone = without_spoiled(samples, spoiled)
    entries += gone
    labels = tuple(sorted({part.label for sample in samples for part in sample.parts}))
    return DataSet("labelme", labels, samples, entries, "*.json beside the images, masks from shapes")


def _content(path: Path, unread: list[str]) -> dict[str, Any] | None:
    """What a labelme file holds, None for other JSON; a file that is none is named in `unread`."""
    try:
        content = read_json(path)
    except (OSError, ValueError, InputError):
        unread.append(path.name)
        return None
    return content if is_labelme_json(content) else None


def _image(path: Path, named: str) -> Path:
    """Where the image of a labelme file lies; at `named`, beside the file, for `verify` where it is nowhere."""
    stated = path.parent / named.replace("\\", "/")
    beside = [other for other in sorted(path.parent.glob(f"{path.stem}.*")) if other != path and is_image(other)]
    return next((place for place in (stated, path.parent / stated.name, *beside) if place.is_file()), stated)


def _part(shape: dict[str, Any], size: tuple[int, int]) -> Part | None:
    """A shape as a part of a mask; None for lines and points."""
    label, kind = str(shape["label"]), shape.get("shape_type") or "polygon"
    points = [(float(x), float(y)) for x, y in shape["points"]]
    if kind == "polygon":
        return Polygon(label, to_points([value for point in points for value in point]))
    if kind == "rectangle":
        (x0, y0), (x1, y1) = points[0], points[len(points) // 2]  # two corners, or all four
        return Polygon(label, rectangle(min(x0, x1), min(y0, y1), max(x0, x1), max(y0, y1)))
    if kind in ("circle", "ellipse"):
        (x0, y0), (x1, y1) = points
        radius = float(np.hypot(x1 - x0, y1 - y0))
        return Polygon(label, ellipse((x0, y0), (radius, radius) if kind == "circle" else (abs(x1 - x0), abs(y1 - y0))))
    if kind == "mask":
        return _bitmap(label, shape["mask"], points[0], size)
    return None


def _bitmap(label: str, packed: str, corner: tuple[float, float], size: tuple[int, int]) -> Runs:
    """A PNG in base64 whose upper left pixel lies at `corner`."""
    try:
        with PIL.Image.open(io.BytesIO(base64.b64decode(packed)), formats=("PNG",)) as image:
            if image.width * image.height > size[0] * size[1]:
                raise ValueError("a bitmap larger than its image")
            small = np.asarray(image.convert("L")) > 0
    except (binascii.Error, PIL.UnidentifiedImageError, PIL.Image.DecompressionBombError) as error:
        raise ValueError(f"a bitmap that is no PNG ({error})") from None
    left, top = (round(side) for side in corner)
    mask = np.zeros(size, dtype=bool)
    place = mask[max(0, top) : top + small.shape[0], max(0, left) : left + small.shape[1]]
    place[...] = small[max(0, -top) :, max(0, -left) :][: place.shape[0], : place.shape[1]]
    return Runs(label, encode_rle(mask, "counts"), "counts", size)
