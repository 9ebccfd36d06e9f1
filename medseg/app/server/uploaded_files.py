"""What visitors send, and what they call it: their own names come with the request and go on no disk by themselves."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

import gradio as gr


@dataclass(frozen=True)
class Given:
    """An uploaded file, and what its visitor calls it."""

    path: Path
    name: str


def named_files(**settings: Any) -> gr.File:
    """A field for several files that hands over each with its visitor's own name for it, which lies on no disk."""
    field = gr.File(file_count="multiple", **settings)
    # in place of the method, not in a subclass: beside the module of one Gradio writes a .pyi file
    field.preprocess = lambda payload: [Given(Path(file.path), file.orig_name or "") for file in payload or []]
    return field


def unique(names: Sequence[str]) -> list[str]:
    """`names` as names of files that stay in their folder; one that stood before gets a number."""
    found: list[str] = []
    taken: set[str] = set()
    for name in names:
        last = PurePosixPath(name.replace("\\", "/")).name
        plain = PurePosixPath("".join(c for c in last if c.isprintable())[-50:].strip(". ") or "picture")
        place, number = plain.name, 1
        while place.lower() in taken:
            number += 1
            place = f"{plain.stem} ({number}){plain.suffix}"
        taken.add(place.lower())
        found.append(place)
    return found
