"""Graphs for a whole folder of an older version: each network's, and the hashes that other files have of it."""

from __future__ import annotations

from pathlib import Path

from medseg.errors import DamagedError
from medseg.hub.cache import has_digest
from medseg.hub.folders import CALIBRATION, DESCRIPTION, networks
from medseg.inference.member import add_graph, file_sha256

_NAMING = (DESCRIPTION, CALIBRATION, "scores.json")
"""The files of an ensemble that name members by the hash of their member.json."""


def add_graphs(folder: Path) -> list[str]:
    """Add `graph.onnx` to a member folder, or to all members and the stacker of an ensemble folder; returns where.

    A member.json that lists one more file has another hash: it is put in the place of the old one wherever the
    ensemble names it, and nothing else changes there. Members that are Hub repositories are left as they are. Raises
    ConfigError and DamagedError as `load_member` does, before anything of the ensemble is written.
    """
    places = networks(folder)
    for place, sha256 in places.items():
        if sha256 and not has_digest(folder / place / "member.json", sha256):
            raise DamagedError(f"{place}member.json is not the one that {DESCRIPTION} names: make the ensemble anew.")
    renamed = {}
    for place in places:
        before = file_sha256(folder / place / "member.json")
        add_graph(folder / place)
        renamed[before] = file_sha256(folder / place / "member.json")
    for path in (folder / name for name in _NAMING):
        if path.is_file():
            _replace_hashes(path, renamed)
    return [place.rstrip("/") or folder.resolve().name for place in places]


def _replace_hashes(path: Path, renamed: dict[str, str]) -> None:
    text = path.read_text(encoding="utf-8")
    for before, after in renamed.items():
        text = text.replace(f'"{before}"', f'"{after}"')
    writing = path.with_name(f".{path.name}.writing")
    writing.write_text(text, encoding="utf-8")
    writing.replace(path)
