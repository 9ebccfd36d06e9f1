"""An image and what an ensemble predicted where it was made: does it predict the same on this machine?

Other versions, devices and runtimes may change a prediction without a word. `golden.json` holds, for the image
`golden.png` beside it, every member's probabilities on a coarse grid and the masks; `compare_selftest` predicts again.
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
from medseg.inference.prediction import MemberProbabilities
from medseg.metrics import confusion
from medseg.preprocess import to_image_grid
from medseg.reading.readers import read_image

IMAGE, RECORD = "golden.png", "golden.json"
GRID = 8
TOLERANCE = 0.02
"""Largest difference of a probability on the grid. Half-precision weights on another runtime differ by some 0.001, a
wrong normalisation or channel order by tenths."""
LEAST_DICE = 0.98
"""Of each mask with the one kept; thin parts may turn where a probability lies at the threshold."""


@dataclass(frozen=True)
class Record:
    """What is kept: each member's probabilities on the grid (K · GRID · GRID numbers), each label's mask as run
    lengths, and the image's size (height, width)."""

    members: dict[str, tuple[float, ...]]
    masks: dict[str, str]
    size: tuple[int, int]


@dataclass(frozen=True)
class Drift:
    """How far an ensemble is from what it predicted before: per member the largest difference on the grid, per label
    the Dice of its mask with the stored one."""

    members: dict[str, float]
    masks: dict[str, float]

    @property
    def is_small(self) -> bool:
        """Whether it predicts as it did, within TOLERANCE and LEAST_DICE."""
        return max(self.members.values()) <= TOLERANCE and min(self.masks.values()) >= LEAST_DICE


def write_selftest(folder: Path, path: Path) -> None:
    """Keep a copy of the PNG `path` and what the ensemble in `folder` predicts for it, beside ensemble.json."""
    shutil.copyfile(path, folder / IMAGE)
    prediction = Ensemble.from_pretrained(folder).predict(read_image(folder / IMAGE))
    members = {name: _on_grid(plane) for name, plane in zip(prediction.member_names, prediction.members, strict=True)}
    masks = {label: encode_rle(mask, "counts") for label, mask in zip(prediction.labels, prediction.masks, strict=True)}
    schema.dump(Record(members, masks, prediction.image.size), folder / RECORD)


def compare_selftest(folder: Path) -> Drift:
    """Predict again, and compare. Raises InputError where `folder` has no such image, ConfigError where what is kept
    belongs to another ensemble."""
    if not (folder / RECORD).is_file() or not (folder / IMAGE).is_file():
        raise InputError(f"{folder} has no {IMAGE} with {RECORD}: `selftest --write image.png` keeps one.")
    record = schema.load(Record, folder / RECORD)
    prediction = Ensemble.from_pretrained(folder).predict(read_image(folder / IMAGE))
    wanted = ({*prediction.member_names}, {*prediction.labels}, prediction.image.size)
    if (set(record.members), set(record.masks), record.size) != wanted:
        raise ConfigError(f"{RECORD} is not of this ensemble: members, labels or the image's size differ.")
    today = dict(zip(prediction.member_names, prediction.members, strict=True))
    masks = dict(zip(prediction.labels, prediction.masks, strict=True))
    moved = {name: np.abs(np.subtract(_on_grid(today[name]), was)) for name, was in record.members.items()}
    before = {label: decode_rle(was, record.size, "counts") for label, was in record.masks.items()}
    return Drift(
        {name: float(difference.max()) for name, difference in moved.items()},
        {label: confusion(masks[label], mask).dice for label, mask in before.items()},
    )


def _on_grid(probabilities: MemberProbabilities) -> tuple[float, ...]:
    small = to_image_grid(probabilities.astype(np.float32), (GRID, GRID))
    return tuple(small.astype(np.float64).round(4).ravel().tolist())
