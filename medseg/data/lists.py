"""Lists beside a data set that divide its images: said where images for val or test are taken for something else."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from pathlib import Path

from medseg.data.cases import read_text
from medseg.data.left_out import LeftOut, left_out
from medseg.data.listing import split_of, stem_of, walk
from medseg.data.manifest import Sample

_COLUMNS = {"split", "set", "subset", "fold", "partition", "phase", "usage", "dataset"}
_MOST = 2**22
"""Bytes of a list; text files that are longer are none."""


def unfollowed(samples: Sequence[Sample], place: Path) -> tuple[LeftOut, ...]:
    """The lists in the folder `place` that give an image of `samples` another split than it has: files of names that
    are called for a split, as train.txt, and tables with a column split."""
    splits = {name: sample.split for sample in samples for name in (stem_of(sample.image), sample.image.name)}
    paths = [path for path in walk(place) if path.suffix.lower() in (".csv", ".tsv", ".txt")] if place.is_dir() else []
    other = [
        path.name
        for path in paths
        if any(_differ(said, splits[name]) for name, said in _entries(path) if name in splits)
    ]
    what = "lists that divide the images, which are divided otherwise here (a splits.json is followed)"
    return left_out(what, other, "Doubtful")


def _differ(said: str, split: str) -> bool:
    """What publishers list as train may be dealt anew; what is listed for val or test may not."""
    return said in ("val", "test") and said != split


def _entries(path: Path) -> Iterator[tuple[str, str]]:
    """(name without folders, split) of what a list says."""
    named = split_of(path.stem)
    if path.stat().st_size > _MOST or not (named or path.suffix.lower() != ".txt"):
        return
    rows = [re.split(r"[,;\t]", line) for line in read_text(path).splitlines()]
    head = [cell.strip().strip('"').lower() for cell in rows[0]] if rows else []
    column = next((number for number, cell in enumerate(head) if cell in _COLUMNS), None)
    for row in rows if named or column is not None else ():
        split = named if column is None else split_of(row[column]) if len(row) > column else ""
        for cell in row if split else ():
            name = cell.strip().strip('"').replace("\\", "/").rpartition("/")[2]
            yield name, split
