"""What data sets share whose masks stand in one table for all images: rows of a csv, images by name."""

from __future__ import annotations

import csv
import gzip
from collections.abc import Iterator
from pathlib import Path

from medseg.errors import InputError

csv.field_size_limit(2**31 - 1)  # polygons and run lengths are longer than Python's 131,072 characters


def read_rows(path: Path) -> Iterator[dict[str, str]]:
    """The rows of a csv file (comma, semicolon or tab; UTF-8 or Excel's UTF-16), column names without the spaces around
    them."""
    opener = gzip.open if path.suffix == ".gz" else open
    with opener(path, "rb") as file:
        encoding = "utf-16" if file.read(2) in (b"\xff\xfe", b"\xfe\xff") else "utf-8-sig"
    with opener(path, "rt", encoding=encoding, errors="replace", newline="") as file:
        separator = max(",;\t", key=file.readline().count)
        file.seek(0)
        for row in csv.DictReader(file, delimiter=separator):
            yield {(name or "").strip(): value for name, value in row.items()}


def images_below(root: Path, pattern: str) -> dict[str, Path]:
    """The files below `root` that `pattern` names, by file name. Raises InputError for two of one name."""
    images: dict[str, Path] = {}
    for path in sorted(root.rglob(pattern)):
        if path.name in images:
            raise InputError(f"Two images are named {path.name}: {images[path.name].parent} and {path.parent}.")
        images[path.name] = path
    return images
