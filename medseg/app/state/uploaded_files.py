"""Uploaded files with their visitor's own names, which come with the request and are never written to disk."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath


@dataclass(frozen=True)
class UploadedFile:
    """An uploaded file, and what its visitor calls it."""

    path: Path
    name: str


def unique(names: Sequence[str]) -> list[str]:
    """`names` as names of files that stay in their folder; one that stood before gets a number."""
    places: list[str] = []
    taken: set[str] = set()
    for name in names:
        last = PurePosixPath(name.replace("\\", "/")).name
        plain = PurePosixPath("".join(c for c in last if c.isprintable())[-50:].strip(". ") or "image")
        place, number = plain.name, 1
        while place.lower() in taken:
            number += 1
            place = f"{plain.stem} ({number}){plain.suffix}"
        taken.add(place.lower())
        places.append(place)
    return places
