"""CVAT for images 1.1: annotations.xml."""

from __future__ import annotations

from pathlib import Path
from xml.etree import ElementTree

import numpy as np

from medseg.data.coco import find_image
from medseg.data.left_out import left_out
from medseg.data.listing import files_in, seems_split, split_of, split_of_folders, stem_of
from medseg.data.manifest import DataSet, Sample, unlisted, without_spoiled
from medseg.data.named_splits import refuse_unknown
from medseg.data.parts import Part, Polygon, Runs, to_points
from medseg.data.rle import encode_rle
from medseg.data.shapes import ellipse, rectangle
from medseg.errors import InputError

_HEAD = 4096


def is_cvat(root: Path) -> bool:
    """annotations.xml in the folder, or in its annotations/."""
    return any(_is_cvat_xml(path) for path in _tables(root))


def read_cvat(place: Path) -> DataSet:
    """CVAT's export "CVAT for images 1.1": polygons, masks, ellipses and rectangles; shapes of a label are united.

    Home page: https://docs.cvat.ai/docs/manual/advanced/formats/format-cvat/
    Layout: annotations.xml, <annotations> of <image name width height subset> with <polygon points="x,y;…">,
        <mask rle left top width height>, <ellipse cx cy rx ry>, <box xtl ytl xbr ybr>; images beside it or in images/.
        Coordinates are upright, as CVAT shows photographs. `subset` (Train, Validation, Test) is the
        split, else what a folder in the name says.
        Polylines, points, skeletons and the tracks of videos are left out.
    Licence, citation: those of the data.
    Raises InputError for XML of another kind.
    """
    path = place if place.is_file() else next(table for table in _tables(place) if _is_cvat_xml(table))
    root = _parse(path)
    samples, other, spoiled, unknown = [], [], set[Path](), set[str]()
    broken: list[str] = []
    for image in root.iter("image"):
        name = image.get("name") or ""
        parts: list[Part] = []
        before = len(broken)
        try:
            size = (int(image.attrib["height"]), int(image.attrib["width"]))
        except (KeyError, ValueError):
            raise InputError(f"{path.name}: the image {name!r} states no height and width. Export it again.") from None
        for number, shape in enumerate(image):
            try:
                part = _part(shape, size)
                parts.append(part) if part else other.append(f"{shape.tag} {number} of {name}")
            except (ValueError, KeyError) as error:
                broken.append(f"{shape.tag} {number} of {name}: {error}")
        path_of_image = find_image(path, name)
        drawn = any(shape.tag != "tag" for shape in image)
        spoiled |= {path_of_image} if len(broken) > before or (drawn and not parts) else set()
        split = split_of(subset := image.get("subset") or "") or split_of_folders(Path(name))
        unknown |= {subset} if seems_split(subset) else set()
        samples.append(Sample(path_of_image, tuple(parts), stem_of(Path(name)), split, size=size, upright=True))
    refuse_unknown(path, [f"subset {name}" for name in unknown])
    if not samples:
        raise InputError(f'{path.name} names no images: wanted CVAT\'s export "CVAT for images 1.1".')
    entries = left_out("shapes that cannot be drawn", broken)
    entries += left_out("polylines, points, tags and skeletons, which mark no area", other)
    entries += left_out("tracks of a video", [track.get("label") or "" for track in root.iter("track")])
    others = unlisted(sample.image for sample in samples)
    samples, gone = without_spoiled(samples, spoiled)
    entries += gone + others
    labels = tuple(dict.fromkeys(part.label for sample in samples for part in sample.parts))
    taken = f"images as {path.name} names them, masks from its polygons, masks, ellipses and rectangles"
    return DataSet("cvat", labels, samples, entries, taken)


def _tables(root: Path) -> list[Path]:
    return [*files_in(root, "*.xml"), *files_in(root, "annotations/*.xml")]


def _is_cvat_xml(path: Path) -> bool:
    try:
        with path.open("rb") as file:
            head = file.read(_HEAD)
    except OSError:
        return False
    return b"<annotations" in head and b"<annotation>" not in head  # the second is VOC's, a file for each image


def _parse(path: Path) -> ElementTree.Element:
    try:
        data = path.read_bytes()
        if b"<!DOCTYPE" in data[:_HEAD] or b"<!ENTITY" in data:
            raise InputError(f"{path.name} declares entities, which annotations do not need. Export it again.")
        return ElementTree.fromstring(data)  # noqa: S314 # entities, which could grow without end, are refused above
    except (OSError, ElementTree.ParseError) as error:
        raise InputError(f"{path.name} is no XML of CVAT ({error}). Export it again.") from None


def _part(shape: ElementTree.Element, size: tuple[int, int]) -> Part | None:
    """A shape as a part of a mask; None for what marks no area."""
    label = shape.get("label") or ""
    number = {name: float(value) for name, value in shape.attrib.items() if name in _NUMBERS}
    turned = number.get("rotation", 0.0)
    match shape.tag:
        case "polygon":
            flat = [float(value) for point in shape.attrib["points"].split(";") for value in point.split(",")]
            return Polygon(label, to_points(flat))
        case "box":
            return Polygon(label, rectangle(number["xtl"], number["ytl"], number["xbr"], number["ybr"], turned))
        case "ellipse":
            return Polygon(label, ellipse((number["cx"], number["cy"]), (number["rx"], number["ry"]), turned))
        case "mask":
            return _mask(label, shape, number, size)
    return None


_NUMBERS = ("xtl", "ytl", "xbr", "ybr", "cx", "cy", "rx", "ry", "rotation", "left", "top", "width", "height")


def _mask(label: str, shape: ElementTree.Element, number: dict[str, float], size: tuple[int, int]) -> Runs:
    """Row-major run lengths, background first, within a rectangle of the image."""
    left, top, width, height = (int(number[name]) for name in ("left", "top", "width", "height"))
    counts = np.array([int(count) for count in shape.attrib["rle"].split(",")])
    if (
        min(left, top, counts.min(initial=0)) < 0
        or counts.sum() != width * height
        or left + width > size[1]
        or top + height > size[0]
    ):
        raise ValueError("run lengths that do not fill their rectangle, or one beyond the image")
    flat = np.repeat(np.arange(len(counts)) % 2 == 1, counts)
    mask = np.zeros(size, dtype=bool)
    mask[top : top + height, left : left + width] = flat.reshape(height, width)
    return Runs(label, encode_rle(mask, "counts"), "counts", size)
