"""COCO instance JSON in and out."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from medseg.arrays import Mask
from medseg.data.left_out import LeftOut, left_out
from medseg.data.listing import seems_split, split_of, split_of_folders
from medseg.data.manifest import SPLITS, DataSet, Sample, read_json, unlisted, without_spoiled
from medseg.data.named_splits import refuse_unknown
from medseg.data.parts import Box, Part, Polygon, Runs, relative_to, stored_size, to_points
from medseg.data.rle import encode_rle, pack_counts, unpack_counts
from medseg.errors import InputError, ReadError
from medseg.image import Image, to_stored


def is_coco(content: Any) -> bool:
    """Whether parsed JSON is an instance file."""
    return isinstance(content, dict) and {"images", "annotations", "categories"} <= content.keys()


def read_coco(path: Path, split: str = "", *, content: Any = None) -> DataSet:
    """A COCO instance file: polygons, run lengths (plain and compressed) and boxes; instances of a category are united.

    Home page: https://cocodataset.org/#format-data; written by CVAT, Roboflow, makesense.ai, RectLabel, labelme2coco.
    Layout: one JSON file with images, annotations, categories; images are looked for beside it, in images/ and in a
        folder of the file's name without `instances_`, there and one folder up. What `write_coco` adds to an image
        ("case", "split", "upright") is read back; without it every image is a case of `split`, or of the split that
        its folder says where folders say several.
    Licence, citation: those of the data; for the format Lin et al. 2014, Microsoft COCO, ECCV, arXiv:1405.0312.
    `content` is the file's, where it was read before. Raises InputError for a file that contradicts itself. An
    annotation that cannot be drawn is left out, and so are images that lie beside those named.
    """
    loaded, images = _read(path, split, content)
    return replace(loaded, left_out=(*loaded.left_out, *unlisted(images)))


def _read(path: Path, split: str, content: Any = None) -> tuple[DataSet, set[Path]]:
    """`read_coco` of one file among several, and all images that it names."""
    try:
        content = read_json(path) if content is None else content
        labels = {category["id"]: str(category["name"]) for category in content["categories"]}
        names = {image["id"]: str(image["file_name"]) for image in content["images"]}
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise InputError(f"{path.name} is no COCO instance file that holds together ({error!r}).") from None
    if len(names) < len(content["images"]):
        raise InputError(f"{path.name} gives two images one id. Export it again.")
    annotations = _Annotations(labels, names)
    for entry in content["annotations"]:
        annotations.take(entry)
    samples = []
    said = {name: split_of_folders(Path(name.replace("\\", "/"))) for name in names.values()}
    divided = len({*said.values()} - {""}) > 1
    for image in content["images"]:
        try:
            own = split or (said[str(image["file_name"])] if divided else "")
            samples.append(_sample(path, image, annotations, own))
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise InputError(
                f"{path.name}: the entry of {image['file_name']} does not hold together ({error!r})."
            ) from None
    used = _used(content["categories"], annotations.labels_met)
    taken = f"images as {path.name} names them, masks from its polygons and run lengths"
    spoiled = {
        sample.image
        for image, sample in zip(content["images"], samples, strict=True)
        if image["id"] in annotations.spoiled
        or (image["id"] in annotations.unmarked and sample.mask == () and not sample.boxes)
    }
    usable, gone = without_spoiled(samples, spoiled)
    loaded = DataSet("coco", used, usable, (*annotations.left_out(), *gone), taken)
    return loaded, {sample.image for sample in samples}


def read_coco_files(paths: Sequence[Path]) -> DataSet:
    """Several instance files of one set, each of the split that its name or its folder's says: instances_val2017.json,
    Roboflow's valid/_annotations.coco.json. Raises InputError where an image is in two."""
    refuse_unknown(
        paths[0].parent.parent, [path.name for path in paths if seems_split(path.stem) or seems_split(path.parent.name)]
    )
    read = [_read(path, split_of(path.stem) or split_of(path.parent.name)) for path in paths]
    sets = [data for data, _ in read]
    place: dict[Path, Path] = {}
    for path, data in zip(paths, sets, strict=True):
        for sample in data.samples:
            if place.setdefault(sample.image, path) != path:
                raise InputError(
                    f"{sample.image.name} is in {place[sample.image].name} and in {path.name}: name the file that is "
                    "meant."
                )
    labels = tuple(dict.fromkeys(label for data in sets for label in data.labels))
    samples = [sample for data in sets for sample in data.samples]
    taken = f"images and masks as {', '.join(path.name for path in paths)} name them"
    entries = [entry for data in sets for entry in data.left_out]
    entries += unlisted(image for _, images in read for image in images)
    return DataSet("coco", labels, samples, tuple(entries), taken)


class _Annotations:
    """The annotations of a file by image: masks' parts, boxes, and what cannot be used."""

    def __init__(self, labels: dict[Any, str], names: dict[Any, str]) -> None:
        self.labels, self.names = labels, names
        self.parts: dict[Any, list[Part]] = {number: [] for number in names}
        self.boxes: dict[Any, list[Box]] = {number: [] for number in names}
        self.labels_met: set[str] = set()
        self.broken: list[str] = []
        self.outlineless: list[str] = []
        self.spoiled: set[Any] = set()
        self.unmarked: set[Any] = set()
        """The images with an annotation that could not be used, and those with one that marks nothing."""

    def take(self, entry: Any) -> None:
        """Sort in one annotation."""
        try:
            number, label = entry["image_id"], self.labels[entry["category_id"]]
            parts = _parts(entry.get("segmentation") or [], label)
            boxes = [_box(entry["bbox"], label)] if entry.get("bbox") else []
            self.parts[number] += parts
        except (ValueError, KeyError, TypeError, AttributeError, ReadError) as error:
            self.broken.append(f"{self._name(entry)}: {error}" if isinstance(error, ValueError) else self._name(entry))
            self.spoiled.add(_image_id(entry))
            return
        self.boxes[number] += boxes
        self.labels_met.add(label)
        if not parts:
            self.outlineless.append(self._name(entry))
            self.unmarked.add(number)

    def left_out(self) -> tuple[LeftOut, ...]:
        """What `take` could not use."""
        broken = left_out("annotations that are no polygon or run lengths of an image and a category", self.broken)
        return broken + left_out("annotations with a box and no outline, which mark nothing", self.outlineless)

    def _name(self, entry: Any) -> str:
        if not isinstance(entry, dict):
            return "an annotation that is no object"
        return f"annotation {entry.get('id')} of {self.names.get(_image_id(entry), 'no image')}"


def _image_id(entry: Any) -> int | str | None:
    number = entry.get("image_id") if isinstance(entry, dict) else None
    return number if isinstance(number, int | str) else None


def write_coco(samples: Sequence[Sample], labels: Sequence[str], path: Path) -> None:
    """Write `samples` as a COCO instance file; coordinates lie on the stored pixel grid of each image, or upright where
    "upright" is true.

    Polygons stay polygons, one annotation each; all else becomes compressed run lengths, one annotation for each label
    that is marked. Every image and mask is read, for sizes and areas. Raises ReadError as they do, and InputError for
    slices of a volume and images of several files, which COCO cannot name.
    """
    images: list[dict[str, Any]] = []
    annotations: list[dict[str, Any]] = []
    for number, sample in enumerate(samples, start=1):
        image, upright, instances = _instances(sample, labels)
        if image.frames > 1 or sample.channels:
            raise InputError(f"{sample.image.name} is a volume or one of several channels; COCO names whole images.")
        height, width = image.size if upright else stored_size(image)
        name = relative_to(sample.image, path.parent)
        images.append({"id": number, "file_name": name, "height": height, "width": width})
        images[-1] |= {"case": sample.case, "split": sample.split}
        images[-1] |= {"upright": upright} if image.orientation != 1 else {}
        for label, mask, segmentation in instances:
            ids = {"id": len(annotations) + 1, "image_id": number, "category_id": labels.index(label) + 1}
            annotations.append({**ids, "iscrowd": 0, **measures(mask), "segmentation": segmentation})
    categories = [{"id": index, "name": label} for index, label in enumerate(labels, start=1)]
    content = {"images": images, "annotations": annotations, "categories": categories}
    path.write_text(json.dumps(content, ensure_ascii=False, allow_nan=False) + "\n", encoding="utf-8")


def _instances(sample: Sample, labels: Sequence[str]) -> tuple[Image, bool, list[tuple[str, Mask, Any]]]:
    """The image, whether its annotations are upright, and (label, mask, segmentation) for each of them."""
    image, masks = sample.read(labels)
    outlines = [part for part in sample.parts if isinstance(part, Polygon) and not part.outlined]
    if outlines and len(outlines) == len(sample.parts):
        upright = sample.annotated_upright(image)
        size = image.size if upright else stored_size(image)
        drawn = [(part, part.draw(size)) for part in outlines if part.label in labels]
        return (
            image,
            upright,
            [(part.label, mask, [[xy for point in part.points_on(size) for xy in point]]) for part, mask in drawn],
        )
    stored = zip(labels, to_stored(masks, image.orientation), strict=True)
    return image, False, [(label, mask, to_runs(mask)) for label, mask in stored if mask.any()]


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


def _sample(path: Path, image: dict[str, Any], annotations: _Annotations, split: str) -> Sample:
    name, split = str(image["file_name"]), str(image.get("split") or split)
    if split and split not in SPLITS:
        raise ValueError(f"split {split!r}")
    case = str(image.get("case") or Path(name.replace("\\", "/")).stem)
    size = (int(image["height"]), int(image["width"])) if image.get("height") and image.get("width") else None
    parts, boxes = annotations.parts[image["id"]], annotations.boxes[image["id"]]
    sample = Sample(find_image(path, name), tuple(parts), case, split, boxes=tuple(boxes), size=size)
    return sample if image.get("upright") is None else replace(sample, upright=bool(image["upright"]))


def find_image(path: Path, name: str) -> Path:
    """Where the image `name` lies that the annotation file `path` names: beside it, in images/ or in a folder of its
    name, there and one folder up, by its whole path or its file name. Beside it where it is nowhere, for `verify`."""
    named = Path(name.replace("\\", "/"))
    folders = [up / sub for up in (path.parent, path.parent.parent) for sub in ("", "images", _part_name(path))]
    places = [folder / tail for tail in dict.fromkeys((named, Path(named.name))) for folder in folders]
    return next((place for place in places if place.is_file()), path.parent / named)


def _part_name(path: Path) -> str:
    return path.stem.removeprefix("instances_")


def _used(categories: Sequence[dict[str, Any]], met: set[str]) -> tuple[str, ...]:
    """The labels; not what only names the set, as Roboflow's category 0, which is the others' supercategory."""
    above = {str(category.get("supercategory")) for category in categories if str(category["name"]) in met}
    names = dict.fromkeys(str(category["name"]) for category in categories)
    return tuple(name for name in names if name in met or name not in above) if met else tuple(names)


def _parts(segmentation: Any, label: str) -> list[Part]:
    """The parts of one annotation: a list of polygons [x, y, x, y, …], or {"size", "counts"}."""
    if isinstance(segmentation, list):
        if segmentation and not isinstance(segmentation[0], list):
            segmentation = [segmentation]  # some writers leave out the list around a single polygon
        return [Polygon(label, to_points(flat)) for flat in segmentation]
    height, width = segmentation["size"]
    counts = segmentation["counts"]
    numbers = unpack_counts(counts) if isinstance(counts, str) else [int(count) for count in counts]
    return [Runs(label, " ".join(map(str, numbers)), "counts", (int(height), int(width)))]


def _box(sides: Any, label: str) -> Box:
    left, top, width, height = map(float, sides)
    return Box(label, left, top, left + width, top + height)
