"""Label Studio: polygons and brush strokes."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

import numpy as np

from medseg.data.left_out import left_out
from medseg.data.listing import is_image, stem_of, walk
from medseg.data.manifest import DataSet, Sample, read_json, unlisted, without_spoiled
from medseg.data.parts import Part, Polygon, Runs
from medseg.data.rle import encode_rle
from medseg.data.shapes import ellipse, rectangle
from medseg.errors import InputError

_KINDS = ("polygonlabels", "brushlabels", "rectanglelabels", "ellipselabels")
_OF_IMAGES = ("choices", "textarea", "rating", "number", "taxonomy", "datetime")
"""Results that say something of the image as a whole, such as that it is normal."""
_MOST_PIXELS = 40_000_000


def is_label_studio(content: Any) -> bool:
    """Whether parsed JSON is an export: a list of tasks with annotations, or with labelled shapes (JSON-MIN)."""
    if not isinstance(content, list) or not content or not isinstance(content[0], dict):
        return False
    return ("data" in content[0] and "annotations" in content[0]) or any(
        True for task in content for _ in _shapes_min(task)
    )


def read_label_studio(path: Path) -> DataSet:
    """Label Studio's JSON and JSON-MIN exports: polygons, brush strokes, rectangles, ellipses; a label's are united.

    Home page: https://labelstud.io/guide/export and, for the brush, label_studio_sdk/converter/brush.py
    Layout: one JSON file, [{"data": {"image": path or address}, "annotations": [{"result": [{"type", "value",
        "original_width", "original_height"}]}]}]; images anywhere below its folder, under the name that the task gives,
        with or without the "1a2b3c4d-" that Label Studio puts before it. Coordinates are in percent of the upright
        image. Of several annotations of a task the first counts, the others are left out, as are tasks without any.
    Licence, citation: those of the data.
    Raises InputError for a file that does not hold together.
    """
    try:
        tasks = read_json(path)
        if not is_label_studio(tasks):
            raise ValueError("no list of tasks")
    except (OSError, ValueError) as error:
        raise InputError(f"{path.name} is no export of Label Studio ({error}).") from None
    images = {place.name: place for place in walk(path.parent) if is_image(place)}
    samples, other, more, untouched, spoiled, named = [], [], [], [], set[Path](), set[Path]()
    broken: list[str] = []
    for number, task in enumerate(tasks):
        name = _image_name(task)
        image = next((images[n] for n in (name, re.sub(r"^[0-9a-f]{8}-", "", name)) if n in images), path.parent / name)
        named.add(image)
        results, further = _results(task)
        more += [f"{count} of {name}" for count in ([further] if further else [])]
        if results is None:
            untouched.append(name or f"task {number}")
            continue
        parts: list[Part] = []
        size, before = None, len(broken)
        for result in results:
            try:
                size = (int(result["original_height"]), int(result["original_width"]))
                drawn = _parts(result, size)
                parts += drawn
                other += [] if drawn else [f"{result.get('type')} of {name}"]
            except (ValueError, KeyError, TypeError, AttributeError, IndexError) as error:
                broken.append(f"a shape of {name}: {error}")
        shapes = [result for result in results if not (isinstance(result, dict) and result.get("type") in _OF_IMAGES)]
        spoiled |= {image} if len(broken) > before or (shapes and not parts) else set()
        samples.append(Sample(image, tuple(parts), stem_of(image), "", size=size, upright=True))
    samples, gone = without_spoiled(samples, spoiled)
    entries = left_out("shapes that cannot be drawn", broken)
    entries += left_out("results that mark no area", other) + left_out("tasks without annotations", untouched)
    entries += left_out("further annotations of a task", more) + gone + unlisted(named)
    labels = tuple(sorted({part.label for sample in samples for part in sample.parts}))
    taken = f"images as the tasks of {path.name} name them, masks from polygons, brush strokes, rectangles and ellipses"
    return DataSet("label-studio", labels, samples, entries, taken)


def _results(task: dict[str, Any]) -> tuple[list[dict[str, Any]] | None, int]:
    """The results of the first annotation that counts, None where there is none, and the number of further ones."""
    if "annotations" not in task:
        shapes = list(_shapes_min(task))
        return (shapes or None), 0
    made = [entry for entry in task["annotations"] if isinstance(entry, dict) and not entry.get("was_cancelled")]
    return (made[0].get("result") or [], len(made) - 1) if made else (None, 0)


def _shapes_min(task: Any) -> Iterator[dict[str, Any]]:
    """JSON-MIN keeps the values alone, under the name of the tag."""
    for value in task.values() if isinstance(task, dict) else ():
        for shape in value if isinstance(value, list) else ():
            kind = next((kind for kind in _KINDS if isinstance(shape, dict) and kind in shape), None)
            if kind is not None:
                yield {**shape, "type": kind, "value": shape}


def _image_name(task: dict[str, Any]) -> str:
    """The file name in a task's address of its image, also where that stands in a query (/data/local-files/?d=…)."""
    fields = task["data"] if isinstance(task.get("data"), dict) else task
    texts = [value for value in fields.values() if isinstance(value, str)]
    text = str(fields.get("image") or next((text for text in texts if "." in text.rpartition("/")[2]), ""))
    address = urlsplit(text)
    inside = parse_qs(address.query).get("d", [address.path])[0]
    return unquote(inside.replace("\\", "/")).rpartition("/")[2]


def _parts(result: dict[str, Any], size: tuple[int, int]) -> list[Part]:
    """A result as parts, one for each of its labels; [] for what marks no area."""
    kind, value = result["type"], result["value"]
    if kind not in _KINDS:
        return []
    if result.get("image_rotation"):
        raise ValueError("drawn on an image that was turned in Label Studio")
    labels = [str(label) for label in value[kind]]
    if kind == "brushlabels":
        runs = encode_rle(_brush(value["rle"], size), "counts")
        return [Runs(label, runs, "counts", size) for label in labels]
    points = tuple((x * size[1] / 100, y * size[0] / 100) for x, y in _percent(kind, value, size))
    return [Polygon(label, points) for label in labels]


def _percent(kind: str, value: dict[str, Any], size: tuple[int, int]) -> tuple[tuple[float, float], ...]:
    """The outline in percent of the image's sides. Shapes are turned in pixels, whose sides are equal."""
    if kind == "polygonlabels":
        if len(value["points"]) < 3:
            raise ValueError(f"a polygon of {len(value['points'])} points")
        return tuple((float(x), float(y)) for x, y in value["points"])
    wide, high = size[1] / 100, size[0] / 100
    left, top, turned = value["x"] * wide, value["y"] * high, float(value.get("rotation", 0.0))
    if kind == "ellipselabels":
        points = ellipse((left, top), (value["radiusX"] * wide, value["radiusY"] * high), turned)
    else:  # a rectangle turns about its upper left corner
        points = _about_corner(left, top, value["width"] * wide, value["height"] * high, turned)
    return tuple((x / wide, y / high) for x, y in points)


def _about_corner(
    left: float, top: float, width: float, height: float, degrees: float
) -> tuple[tuple[float, float], ...]:
    corner = complex(left, top)
    turn = complex(np.cos(np.radians(degrees)), np.sin(np.radians(degrees)))
    shifts = [complex(x, y) * turn for x, y in rectangle(0, 0, width, height)]
    return tuple(((corner + shift).real, (corner + shift).imag) for shift in shifts)


def _brush(numbers: list[int], size: tuple[int, int]) -> np.ndarray:
    """The bits of Label Studio's run lengths as a mask (H, W): four channels a pixel, the last is the mask.

    32 bits hold the count of values, 5 the bits of a value less 1, four times 4 the bits of a length less 1. Then,
    until all values are there: a bit that says whether one value repeats, two that choose the bits of the length, the
    length less 1, and the value, or the values one by one.
    """
    bits = "".join(f"{int(number) & 255:08b}" for number in numbers)
    at = 0

    def take(count: int) -> int:
        nonlocal at
        at += count
        return int(bits[at - count : at], 2)

    total = take(32)
    if total != size[0] * size[1] * 4 or total > _MOST_PIXELS * 4:
        raise ValueError(f"a brush stroke of {total // 4} pixels on an image of {size[1]} × {size[0]}")
    word, lengths = take(5) + 1, [take(4) + 1 for _ in range(4)]
    values = np.zeros(total, dtype=np.uint8)
    done = 0
    while done < total:
        repeated = take(1)
        end = min(total, done + 1 + take(lengths[take(2)]))
        if repeated:
            values[done:end] = take(word)
        else:
            values[done:end] = [take(word) for _ in range(end - done)]
        done = end
    return values.reshape(size[0], size[1], 4)[..., 3] > 0
