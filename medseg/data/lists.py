"""Lists beside a data set that divide its images: said where images for val or test are taken for something else."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from medseg.data.cases import read_text
from medseg.data.left_out import DOUBTFUL, LeftOut, left_out
from medseg.data.listing import split_of, stem_of, walk, words
from medseg.data.manifest import Sample, read_json

_COLUMNS = {"split", "set", "subset", "fold", "partition", "phase", "usage", "dataset"}
_MOST = 2**22
"""Bytes of a list; text files that are longer are none."""


def unfollowed(samples: Sequence[Sample], place: Path) -> tuple[LeftOut, ...]:
    """The lists in the folder `place` that give an image of `samples` another split than it has: files of names that
    are called for a split, as train.txt, tables with a column split, and JSON that is called for dividing and has a
    list for each split, as nnU-Net's splits_final.json, of whose divisions the first counts."""
    splits = {
        name: sample.split for sample in samples for name in (stem_of(sample.image), sample.image.name, sample.case)
    }
    endings = (".csv", ".tsv", ".txt", ".json")
    paths = [path for path in walk(place) if path.suffix.lower() in endings] if place.is_dir() else []
    other = [
        path.name
        for path in paths
        if any(_differ(said, splits[name]) for name, said in _entries(path) if name in splits)
    ]
    what = "lists that divide the images, which are divided otherwise here (a splits.json is followed)"
    return left_out(what, other, DOUBTFUL)


def _differ(said: str, split: str) -> bool:
    """What publishers list as train may be dealt anew; what is listed for val or test may not."""
    return said in ("val", "test") and said != split


def _entries(path: Path) -> Iterator[tuple[str, str]]:
    """(name without folders, split) of what a list says."""
    named = split_of(path.stem)
    if path.suffix.lower() == ".json":
        yield from _entries_json(path)
        return
    if path.stat().st_size > _MOST or not (named or path.suffix.lower() != ".txt"):
        return
    rows = [re.split(r"[,;\t]", line) for line in read_text(path).splitlines()]
    head = [cell.strip().strip('"').lower() for cell in rows[0]] if rows else []
    column = next((number for number, cell in enumerate(head) if cell in _COLUMNS), None)
    for row in rows if named or column is not None else ():
        split = named if column is None else split_of(row[column]) if len(row) > column else ""
        for cell in row if split else ():
            yield _bare(cell), split


def _entries_json(path: Path) -> Iterator[tuple[str, str]]:
    """Of {"train": [names], "val": […]}, or the first of a list of such; MONAI's entries are {"image": name, …}."""
    if not {word.removesuffix("s") for word in words(path.stem)} & _COLUMNS or path.stat().st_size > _MOST:
        return
    try:
        content = read_json(path)
    except (OSError, ValueError, RecursionError):  # the layout says what it needs of it
        return
    first = content[0] if isinstance(content, list) and content else content
    for key, entries in first.items() if isinstance(first, dict) else ():
        for entry in entries if (split := split_of(str(key))) and isinstance(entries, list) else ():
            yield from ((_bare(name), split) for name in _names(entry))


def _names(entry: Any) -> list[str]:
    values = entry.values() if isinstance(entry, dict) else [entry]
    return [value for value in values if isinstance(value, str)]


def _bare(name: str) -> str:
    return name.strip().strip('"').replace("\\", "/").rpartition("/")[2]
