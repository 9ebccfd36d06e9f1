"""Which annotation tool wrote a JSON file, by its content."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path
from typing import Any

from medseg.data.coco import is_coco
from medseg.data.layouts.chestx_det import is_chestx_det_json
from medseg.data.layouts.label_studio import is_label_studio
from medseg.data.layouts.labelme import is_labelme_json
from medseg.data.layouts.via import is_via
from medseg.data.listing import files_in, folders
from medseg.data.manifest import read_json


def json_kind(path: Path) -> str:
    """The layout of the file's name in `catalogue.LAYOUTS`, "" for JSON of no known kind or what is no JSON."""
    try:
        return _kind(path, path.stat().st_mtime_ns)
    except OSError:
        return ""


@lru_cache(maxsize=4096)  # each layout asks, and some of these files are large
def _kind(path: Path, changed: int) -> str:
    try:
        content = read_json(path)
    except (OSError, ValueError):
        return ""
    kinds = {
        "coco": is_coco,
        "chestx-det": is_chestx_det_json,
        "label-studio": is_label_studio,
        "labelme": is_labelme_json,
        "via": is_via,
        "manifest": _is_manifest,
    }
    return next((name for name, fits in kinds.items() if fits(content)), "")


def tables_of(root: Path, kind: str) -> list[Path]:
    """The JSON files of one kind in `root` and its folders."""
    return [path for folder in (root, *folders(root)) for path in files_in(folder, "*.json") if json_kind(path) == kind]


def _is_manifest(content: Any) -> bool:
    return isinstance(content, dict) and isinstance(content.get("samples"), list)
