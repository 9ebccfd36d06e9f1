"""YOLO-seg: a text file of polygons for each image."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import yaml  # type: ignore[import-untyped]

from medseg.data.left_out import left_out
from medseg.data.listing import files_in, is_image, split_of_folders, stem_of, walk
from medseg.data.manifest import DataSet, Sample, without_spoiled
from medseg.data.parts import Part, Polygon, to_points
from medseg.errors import InputError


def is_yolo(root: Path) -> bool:
    """images/ beside labels/ with *.txt, above or below train/, val/, test/."""
    return any(_label_file(path).is_file() for path in _images(root))


def read_yolo(place: Path) -> DataSet:
    """YOLO's segmentation labels: each line is a class and the polygon of an object, in shares of the image's sides.

    Home page: https://docs.ultralytics.com/datasets/segment/
    Layout: data.yaml with `names`, images/train/a.jpg with labels/train/a.txt, or train/images/ with train/labels/
        (Roboflow); "0 0.1 0.2 0.3 0.2 0.3 0.4". Coordinates are upright, as ultralytics reads photographs. An image
        without a text file shows nothing, as ultralytics has it; lines of five numbers are boxes, which mark nothing.
    Licence, citation: those of the data.
    Raises InputError for a folder without such labels.
    """
    root = place if place.is_dir() else place.parent
    names, unread = _names(root)
    samples, boxes, empty, met, spoiled = [], [], [], set[int](), set[Path]()
    broken: list[str] = []
    for image in _images(root):
        parts: list[Part] = []
        labels, before = _label_file(image), len(broken)
        if not labels.is_file():
            empty.append(image.relative_to(root).as_posix())
        for number, line in enumerate(_lines(labels), start=1):
            try:
                kind, *flat = (float(word) for word in line.split())
                if len(flat) == 4:
                    boxes.append(f"line {number} of {labels.name}")
                    continue
                if not kind.is_integer() or kind < 0 or (names and kind not in names):
                    raise ValueError(f"class {kind:g} is none of data.yaml's")
                met.add(int(kind))
                parts.append(Polygon(names.get(int(kind), str(int(kind))), to_points(flat), relative=True))
            except ValueError as error:
                broken.append(f"line {number} of {labels.name}: {error}")
        spoiled |= {image} if len(broken) > before or (not parts and _lines(labels)) else set()
        split = split_of_folders(image.relative_to(root))
        samples.append(Sample(image, tuple(parts), stem_of(image), split, upright=True))
    if not samples:
        raise InputError(f"{root.name} holds no images/ with labels/ of text files beside it.")
    entries = left_out("lines that are no polygon", broken) + left_out(
        "boxes without an outline, which mark nothing", boxes
    )
    entries += left_out("YAML files that cannot be read and may name the classes", unread)
    entries += left_out("label files that are missing: nothing is marked on their images", empty)
    samples, gone = without_spoiled(samples, spoiled)
    entries += gone
    known = {**{number: str(number) for number in met}, **names}
    taken = "images images/, polygons labels/*.txt of the same stem"
    return DataSet("yolo", tuple(known[number] for number in sorted(known)), samples, entries, taken)


def _images(root: Path) -> Iterator[Path]:
    return (path for path in walk(root) if "images" in path.relative_to(root).parts[:-1] and is_image(path))


def _label_file(image: Path) -> Path:
    """images/… becomes labels/…, at the last folder of that name."""
    parts = list(image.parts)
    place = len(parts) - 1 - parts[::-1].index("images")
    parts[place] = "labels"
    return Path(*parts).with_name(f"{stem_of(image)}.txt")


def _lines(path: Path) -> list[str]:
    if not path.is_file():
        return []
    return [line for line in path.read_text(encoding="utf-8-sig", errors="replace").splitlines() if line.strip()]


def _names(root: Path) -> tuple[dict[int, str], list[str]]:
    """Number → name, by data.yaml (a list or a mapping) or classes.txt, {} where neither says it; and the YAML files
    that cannot be read."""
    unread: list[str] = []
    for path in files_in(root, "*.yaml", "*.yml"):
        try:
            content: Any = yaml.safe_load(path.read_text(encoding="utf-8-sig"))
            if isinstance(content, dict) and "names" in content:
                return {int(number): _word(name) for number, name in _pairs(content["names"])}, unread
        except (OSError, ValueError, TypeError, RecursionError, yaml.YAMLError):
            unread.append(path.name)
    return dict(enumerate(_lines(root / "classes.txt"))), unread


def _pairs(names: Any) -> Iterable[tuple[Any, Any]]:
    return names.items() if isinstance(names, dict) else enumerate(names)


def _word(name: Any) -> str:
    if not isinstance(name, (str, int, float)):
        raise ValueError("a name of a class is a word")
    return str(name)
