"""COCO instance JSON in and out."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from medseg.arrays import Mask
from medseg.data.manifest import SPLITS, DataSet, Sample
from medseg.data.parts import Box, Part, Polygon, Runs, relative_to, stored_size, to_points
from medseg.data.rle import encode_rle, pack_counts, unpack_counts
from medseg.errors import InputError, ReadError
from medseg.image import Image, to_stored


def is_coco(content: Any) -> bool:
    """Whether parsed JSON is an instance file."""
    return isinstance(content, dict) and {"images", "annotations", "categories"} <= content.keys()


def read_coco(path: Path) -> DataSet:
    """A COCO instance file: polygons, run lengths (plain and compressed) and boxes; instances of a category are united.

    Home page: https://cocodataset.org/#format-data
    Layout: one JSON file with images, annotations, categories; pictures are looked for beside it, in images/ and in a
        folder of the file's name without `instances_`, there and one folder up. What `write_coco` adds to an image
        ("case", "split") is read back; without it every picture is a case.
    Licence, citation: those of the data; for the format Lin et al. 2014, Microsoft COCO, ECCV, arXiv:1405.0312.
    Raises InputError for a file that contradicts itself.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        labels = {category["id"]: str(category["name"]) for category in content["categories"]}
        parts: dict[Any, list[Part]] = {image["id"]: [] for image in content["images"]}
        boxes: dict[Any, list[Box]] = {number: [] for number in parts}
        for annotation in content["annotations"]:
            number, label = annotation["image_id"], labels[annotation["category_id"]]
            parts[number] += _parts(annotation.get("segmentation") or [], label)
            if annotation.get("bbox"):
                left, top, width, height = map(float, annotation["bbox"])
                boxes[number].append(Box(label, left, top, left + width, top + height))
        samples = [_sample(path, image, parts[image["id"]], boxes[image["id"]]) for image in content["images"]]
        if len(parts) < len(samples):
            raise ValueError("two images have one id")
    except (OSError, ValueError, KeyError, TypeError, AttributeError, ReadError) as error:
        raise InputError(f"{path.name} is no COCO instance file that holds together ({error!r}).") from None
    return DataSet("coco", tuple(dict.fromkeys(labels.values())), samples)


def write_coco(samples: Sequence[Sample], labels: Sequence[str], path: Path) -> None:
    """Write `samples` as a COCO instance file, coordinates on the stored pixel grid of each picture.

    Polygons stay polygons, one annotation each; all else becomes compressed run lengths, one annotation for each label
    that is marked. Every picture and mask is read, for sizes and areas. Raises ReadError as they do, and InputError for
    slices of a volume, which COCO cannot name.
    """
    images: list[dict[str, Any]] = []
    annotations: list[dict[str, Any]] = []
    for number, sample in enumerate(samples, start=1):
        picture, found = _instances(sample, labels)
        if picture.frames > 1:
            raise InputError(f"{sample.image.name} is a volume; COCO names whole files. Save its slices as pictures.")
        height, width = stored_size(picture)
        name = relative_to(sample.image, path.parent)
        images.append({"id": number, "file_name": name, "height": height, "width": width})
        images[-1] |= {"case": sample.case, "split": sample.split}
        for label, mask, segmentation in found:
            ids = {"id": len(annotations) + 1, "image_id": number, "category_id": labels.index(label) + 1}
            annotations.append({**ids, "iscrowd": 0, **measures(mask), "segmentation": segmentation})
    categories = [{"id": index, "name": label} for index, label in enumerate(labels, start=1)]
    content = {"images": images, "annotations": annotations, "categories": categories}
    path.write_text(json.dumps(content, ensure_ascii=False, allow_nan=False) + "\n", encoding="utf-8")


def _instances(sample: Sample, labels: Sequence[str]) -> tuple[Image, list[tuple[str, Mask, Any]]]:
    """The picture, and (label, mask on the stored grid, segmentation) for every annotation to write."""
    image, masks = sample.read(labels)
    parts = () if isinstance(sample.mask, Path) else sample.mask
    outlines = [part for part in parts if isinstance(part, Polygon)]
    if outlines and len(outlines) == len(parts):
        masked = [(part, to_stored(part.read(image), image.orientation)) for part in outlines if part.label in labels]
        return image, [(part.label, mask, [[xy for point in part.points for xy in point]]) for part, mask in masked]
    found = []
    for label, mask in zip(labels, to_stored(masks, image.orientation), strict=True):
        if mask.any():
            found.append((label, mask, to_runs(mask)))
    return image, found


def to_runs(mask: Mask) -> dict[str, Any]:
    """`mask` as COCO's compressed run lengths."""
    counts = [int(count) for count in encode_rle(mask, "counts").split()]
    return {"size": list(mask.shape), "counts": pack_counts(counts)}


def measures(mask: Mask) -> dict[str, Any]:
    """COCO's area in pixels and bounding box (left, top, width, height)."""
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    if not len(rows):
        return {"area": 0, "bbox": [0, 0, 0, 0]}
    box = (columns[0], rows[0], columns[-1] - columns[0] + 1, rows[-1] - rows[0] + 1)
    return {"area": int(mask.sum()), "bbox": [int(side) for side in box]}


def _sample(path: Path, image: dict[str, Any], parts: list[Part], boxes: list[Box]) -> Sample:
    name, split = str(image["file_name"]), str(image.get("split") or "")
    if split and split not in SPLITS:
        raise ValueError(f"split {split!r}")
    case = str(image.get("case") or Path(name).stem)
    size = (int(image["height"]), int(image["width"])) if "height" in image and "width" in image else None
    return Sample(_place(path, name), tuple(parts), case, split, boxes=tuple(boxes), size=size)


def _place(path: Path, name: str) -> Path:
    """Where the picture `name` lies; beside the JSON file where it is nowhere, for `verify` to name."""
    folders = [up / sub for up in (path.parent, path.parent.parent) for sub in ("", "images", _part_name(path))]
    return next((folder / name for folder in folders if (folder / name).is_file()), path.parent / name)


def _part_name(path: Path) -> str:
    return path.stem.removeprefix("instances_")


def _parts(segmentation: Any, label: str) -> list[Part]:
    """The parts of one annotation: a list of polygons [x, y, x, y, …], or {"size", "counts"}."""
    if isinstance(segmentation, list):
        return [Polygon(label, to_points(flat)) for flat in segmentation]
    height, width = segmentation["size"]
    counts = segmentation["counts"]
    numbers = unpack_counts(counts) if isinstance(counts, str) else [int(count) for count in counts]
    return [Runs(label, " ".join(map(str, numbers)), "counts", (int(height), int(width)))]
