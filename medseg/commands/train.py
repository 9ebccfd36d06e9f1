"""The commands that train: train, stack, distill, continue, study, folds. `accelerate launch -m medseg.training`
spreads the first three over several processes."""

from __future__ import annotations

import argparse
import importlib

TRAININGS = {
    "train": ("medseg.training.__main__", "train", "train one member"),
    "stack": ("medseg.training.__main__", "stack", "train a stacker over the members of an ensemble"),
    "distill": (
        "medseg.training.__main__",
        "distill",
        "train a student of an ensemble, also on images without masks",
    ),
    "continue": ("medseg.training.continuing", "main", "train a member on with corrected pairs of image and mask"),
    "study": ("medseg.training.study", "main", "compare members, blends and baselines under one protocol"),
    "folds": ("medseg.training.folds", "main", "cross-validate an ensemble, for small data sets"),
}
"""Command → its module, its function, and what it does. Each reads its own arguments, `--help` too."""


def add(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    for name, (_, _, line) in TRAININGS.items():
        commands.add_parser(name, help=line, add_help=False)


def run(name: str, arguments: list[str]) -> None:
    """Train as `arguments` say; a refusal is one sentence on stderr and exit status 1."""
    module, function, _ = TRAININGS[name]
    getattr(importlib.import_module(module), function)(arguments)
