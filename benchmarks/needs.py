"""What a benchmark needs that not everybody installs: asked for before it measures, and missed in one sentence;
and how a benchmark reads its command line."""

from __future__ import annotations

import argparse
import sys
from importlib.util import find_spec
from pathlib import Path

TORCH = ("torch", "accelerate", "segmentation_models_pytorch")
"""What is in requirements.txt, and not in requirements-cpu.txt."""


def need(*packages: str) -> None:
    """End with one sentence where one of the `packages`, by the names they are imported by, is not installed."""
    for package in packages:
        if find_spec(package) is None:
            what = "-r requirements.txt" if package in TORCH else "-e '.[dev]'"
            sys.exit(f"This needs {package}, which is not installed here: `pip install {what}`.")


def parser(doc: str) -> argparse.ArgumentParser:
    """Its help begins with the first paragraph of `doc`, the docstring of a benchmark."""
    return argparse.ArgumentParser(description=doc.split("\n\n", maxsplit=1)[0])


def positive(text: str) -> int:
    """An argument that is a whole number from 1 on."""
    if not text.isdecimal() or not int(text):
        raise argparse.ArgumentTypeError(f"wanted a whole number from 1 on, got {text!r}")
    return int(text)


def existing(text: str) -> Path:
    """An argument that names a file or folder."""
    if not Path(text).exists():
        raise argparse.ArgumentTypeError(f"there is no file or folder {text!r}")
    return Path(text)
