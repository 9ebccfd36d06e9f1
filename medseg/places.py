"""Where the files lie that come with medseg: beside the package in a checkout, inside it once it is installed."""

from __future__ import annotations

from pathlib import Path

from medseg.errors import InputError

PACKAGE = Path(__file__).resolve().parent

NAMED = "polyp, brain or chest, an ensemble or member folder, or a Hub id"
"""What names an ensemble, as every `--help` says it."""


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


def embedded_names() -> list[str]:
    """The names of the embedded ensembles."""
    return sorted(path.parent.name for path in shipped("assets/ensembles").glob("*/ensemble.json"))


def own_folder(name: str) -> Path:
    """The folder that is named by its path, for a command that writes to it.

    Raises InputError for the name of an embedded ensemble: whatever is written there, every later run would take.
    """
    if (folder := embedded(name)) is not None:
        raise InputError(f"The ensemble {name} comes with medseg and stays as it is: copy {folder} and name the copy.")
    return Path(name)


def ensemble_folder(name: str) -> Path:
    """The folder of an embedded ensemble by its name, or the folder that is named by its path."""
    return embedded(name) or Path(name)
