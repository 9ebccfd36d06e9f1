"""Where the files lie that come with medseg: beside the package in a checkout, inside it once it is installed."""

from __future__ import annotations

from pathlib import Path

PACKAGE = Path(__file__).resolve().parent


def shipped(name: str) -> Path:
    """The file or folder that a checkout has as `name` (`assets/ensembles`, `app.py`, …); it need not exist."""
    inside = PACKAGE / "shipped" / name  # pyproject.toml puts it there when a wheel is built
    return inside if inside.exists() else PACKAGE.parent / name


def embedded(name: str) -> Path | None:
    """The folder of the embedded ensemble `name` (polyp, brain, chest), None for any other name.

    A folder of that name is meant where it is written as a path, as `./polyp`.
    """
    folder = shipped("assets/ensembles") / name
    return folder if name.isidentifier() and (folder / "ensemble.json").is_file() else None


def ensemble_folder(name: str) -> Path:
    """The folder of an embedded ensemble by its name, or the folder that is named by its path."""
    return embedded(name) or Path(name)
