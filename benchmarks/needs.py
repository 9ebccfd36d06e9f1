"""What a benchmark needs that not everybody installs: asked for before it measures, and missed in one sentence."""

from __future__ import annotations

import sys
from importlib.util import find_spec

TORCH = ("torch", "accelerate", "segmentation_models_pytorch")
"""What is in requirements.txt, and not in requirements-cpu.txt."""


def need(*packages: str) -> None:
    """End with one sentence where one of the `packages`, by the names they are imported by, is not installed."""
    for package in packages:
        if find_spec(package) is None:
            what = "-r requirements.txt" if package in TORCH else "-e '.[dev]'"
            sys.exit(f"This needs {package}, which is not installed here: `pip install {what}`.")
