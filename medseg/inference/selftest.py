"""An image and what an ensemble answered where it was made: does it answer the same on this machine?

Other versions, devices and runtimes may change a prediction without a word. `golden.json` holds, for the image
`golden.png` beside it, every member's answer on a coarse grid and the masks; `compare_golden` predicts again.
"""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from medseg import schema
from medseg.data.rle import decode_rle, encode_rle
from medseg.errors import ConfigError, InputError
from medseg.inference.ensemble import Ensemble
from medseg.inference.prediction import Answer
from medseg.metrics import confusion
from medseg.preprocess import to_image_grid
from medseg.reading.readers import read_image

IMAGE, ANSWERS = "golden.png", "golden.json"
GRID = 8
TOLERANCE = 0.02
"""Largest difference of a probability on the grid. Half-precision weights on another runtime differ by some 0.001, a
wrong normalisation or channel order by tenths."""
LEAST_DICE = 0.98
"""Of each mask with the one kept; thin parts may turn where a probability lies at the threshold."""


@dataclass(frozen=True)
class Golden:
    """What is kept: each member's answer on the grid (K · GRID · GRID numbers), each label's mask as run lengths, and
    the image's size (height, width)."""

    members: dict[str, tuple[float, ...]]
    masks: dict[str, str]
    size: tuple[int, int]


@dataclass(frozen=True)
class Drift:
    """How far an ensemble is from what it answered: per member the largest difference on the grid, per label the Dice
    of its mask with the one kept."""

    members: dict[str, float]
    masks: dict[str, float]

    @property
    def is_small(self) -> bool:
        """Whether it answers as it did, within TOLERANCE and LEAST_DICE."""
        return max(self.members.values()) <= TOLERANCE and min(self.masks.values()) >= LEAST_DICE


def write_golden(folder: Path, path: Path) -> None:
    """Keep a copy of the PNG `path` and what the ensemble in `folder` answers to it, beside ensemble.json."""
    shutil.copyfile(path, folder / IMAGE)
    found = Ensemble.from_pretrained(folder).predict(read_image(folder / IMAGE))
    members = {name: _on_grid(answer) for name, answer in zip(found.member_names, found.members, strict=True)}
    masks = {label: encode_rle(mask, "counts") for label, mask in zip(found.labels, found.masks, strict=True)}
    schema.dump(Golden(members, masks, found.image.size), folder / ANSWERS)


def compare_golden(folder: Path) -> Drift:
    """Predict again, and compare. Raises InputError where `folder` has no such image, ConfigError where what is kept
    belongs to another ensemble."""
    if not (folder / ANSWERS).is_file() or not (folder / IMAGE).is_file():
        raise InputError(f"{folder} has no {IMAGE} with {ANSWERS}: `selftest --write image.png` keeps one.")
    kept = schema.load(Golden, folder / ANSWERS)
    found = Ensemble.from_pretrained(folder).predict(read_image(folder / IMAGE))
    if (set(kept.members), set(kept.masks), kept.size) != ({*found.member_names}, {*found.labels}, found.image.size):
        raise ConfigError(f"{ANSWERS} is not of this ensemble: members, labels or the image's size differ.")
    answers = dict(zip(found.member_names, found.members, strict=True))
    masks = dict(zip(found.labels, found.masks, strict=True))
    moved = {name: np.abs(np.subtract(_on_grid(answers[name]), was)) for name, was in kept.members.items()}
    before = {label: decode_rle(was, kept.size, "counts") for label, was in kept.masks.items()}
    return Drift(
        {name: float(difference.max()) for name, difference in moved.items()},
        {label: confusion(masks[label], mask).dice for label, mask in before.items()},
    )


def _on_grid(answer: Answer) -> tuple[float, ...]:
    small = to_image_grid(answer.astype(np.float32), (GRID, GRID))
    return tuple(small.astype(np.float64).round(4).ravel().tolist())
