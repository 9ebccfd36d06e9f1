"""VIA, the VGG Image Annotator."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

from medseg.data.coco import find_image
from medseg.data.left_out import left_out
from medseg.data.listing import stem_of
from medseg.data.manifest import DataSet, Sample, read_json, unlisted, without_spoiled
from medseg.data.parts import Part, Polygon, to_points
from medseg.data.shapes import ellipse, rectangle
from medseg.errors import InputError

UNNAMED = "marked"
_NAMES = ("label", "name", "class", "type", "category")


def is_via(content: Any) -> bool:
    """Whether parsed JSON is a VIA 2 project, or its export of annotations."""
    if not isinstance(content, dict) or not content:
        return False
    if isinstance(content.get("_via_img_metadata"), dict):
        return True
    first = next(iter(content.values()))
    return isinstance(first, dict) and {"filename", "regions"} <= first.keys()


def read_via(path: Path) -> DataSet:
    """VIA's annotations: polygons, rectangles, circles and ellipses; regions of a label are united.

    Home page: https://www.robots.ox.ac.uk/~vgg/software/via/
    Layout: via_region_data.json, {key: {"filename", "regions": [{"shape_attributes", "region_attributes"}]}}, or a
        project with these under "_via_img_metadata"; images beside it or in images/. The label is the region's
        attribute label, name, class, type or category, else its first; a region without one is `marked`. Polylines and
        points are left out.
    Licence, citation: those of the data.
    Raises InputError for a file that does not hold together.
    """
    try:
        content = read_json(path)
        entries = list(content.get("_via_img_metadata", content).values())
        names = [str(entry["filename"]) for entry in entries]
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise InputError(f"{path.name} is no file of VIA ({error!r}).") from None
    samples, lines, spoiled = [], [], set[Path]()
    broken: list[str] = []
    for entry, name in zip(entries, names, strict=True):
        parts: list[Part] = []
        before = len(broken)
        regions = entry.get("regions") or []
        for number, region in enumerate(regions.values() if isinstance(regions, dict) else regions):
            try:
                drawn = _parts(region)
                parts += drawn
                lines += [] if drawn else [f"region {number} of {name}"]
            except (ValueError, KeyError, TypeError, AttributeError) as error:
                broken.append(f"region {number} of {name}: {error}")
        image = find_image(path, name)
        spoiled |= {image} if len(broken) > before or (regions and not parts) else set()
        samples.append(Sample(image, tuple(parts), stem_of(Path(name)), ""))
    others = unlisted(sample.image for sample in samples)
    samples, gone = without_spoiled(samples, spoiled)
    left = left_out("regions that cannot be drawn", broken) + left_out(
        "polylines and points, which mark no area", lines
    )
    left += gone + others
    labels = Counter(part.label for sample in samples for part in sample.parts)
    taken = f"images as {path.name} names them, masks from its regions"
    return DataSet("via", tuple(sorted(labels)), samples, left, taken)


def _parts(region: dict[str, Any]) -> list[Part]:
    points = _points(region["shape_attributes"])
    return [Polygon(label, points) for label in _labels(region.get("region_attributes") or {})] if points else []


def _labels(attributes: dict[str, Any]) -> list[str]:
    """One label, or those that are ticked where the attribute is a set of boxes."""
    lower = {name.lower(): value for name, value in attributes.items()}
    value = next((lower[name] for name in _NAMES if name in lower), next(iter(attributes.values()), None))
    if isinstance(value, dict):
        return [str(name) for name, ticked in value.items() if ticked] or [UNNAMED]
    return [str(value)] if value not in (None, "") else [UNNAMED]


def _points(shape: dict[str, Any]) -> tuple[tuple[float, float], ...]:
    """The outline of a region; () for what marks no area."""
    match shape["name"]:
        case "polygon":
            if len(shape["all_points_x"]) != len(shape["all_points_y"]):
                raise ValueError("not as many x as y")
            pairs = zip(shape["all_points_x"], shape["all_points_y"], strict=True)
            return to_points([value for pair in pairs for value in pair])
        case "rect":
            left, top, width, height = (float(shape[side]) for side in ("x", "y", "width", "height"))
            return rectangle(left, top, left + width, top + height)
        case "circle":
            return ellipse((float(shape["cx"]), float(shape["cy"])), (float(shape["r"]),) * 2)
        case "ellipse":
            radii = (float(shape["rx"]), float(shape["ry"]))
            theta = float(shape.get("theta", 0.0))  # radians
            return ellipse((float(shape["cx"]), float(shape["cy"])), radii, theta * 57.29577951308232)
    return ()
