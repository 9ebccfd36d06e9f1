"""Samples × ensemble → scores: every member, equal and chosen weights, beside floors that never look at the image."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from jaxtyping import Float32

from medseg.arrays import Masks
from medseg.ensemble import Ensemble
from medseg.errors import InputError
from medseg.fit_floor import mean_mask
from medseg.fit_thresholds import THRESHOLDS
from medseg.image import Image
from medseg.metrics import Confusion, Estimate, confusion, mean_interval, score, summarise
from medseg.preprocess import to_image_grid
from medseg.samples import Sample, split_hash

MEMBER_THRESHOLD = 0.5
EMPTY, PRIOR, EQUAL, ENSEMBLE = "empty mask", "location prior", "equal weights", "ensemble"
STACKED, WEIGHTED = "stacked", "chosen weights"

Progress = Callable[[int, int], None]


def _silent(done: int, total: int) -> None:
    """No progress shown."""


@dataclass(frozen=True)
class LocationPrior:
    """The floor: where the training masks lie on average, the same answer for every image."""

    mean: Float32[np.ndarray, "K side side"]
    threshold: float

    def masks(self, size: tuple[int, int]) -> Masks:
        """The constant masks on a grid of `size` (H, W)."""
        return to_image_grid(self.mean, size) >= self.threshold


def location_prior(samples: Sequence[Sample], labels: Sequence[str]) -> LocationPrior:
    """The `prior_of` the samples' masks."""
    return prior_of([sample.read(labels)[1] for sample in samples])


def prior_of(truths: Sequence[Masks]) -> LocationPrior:
    """The mean of the training masks `truths` on a square grid; the threshold is the one with the best mean Dice on
    them."""
    mean, dice = mean_mask(truths)
    return LocationPrior(mean, float(THRESHOLDS[int(dice.argmax())]))


class Evaluation:
    """Collects, for each row of the report, one score per image and label."""

    def __init__(self, labels: Sequence[str]) -> None:
        self.labels = tuple(labels)
        self.cases: list[str] = []
        self.scores: dict[str, dict[str, list[dict[str, float]]]] = {}
        self.confusions: dict[str, dict[str, list[Confusion]]] = {}

    def add(self, row: str, masks: Masks, truth: Masks, image: Image) -> None:
        """Score `masks` of one image under the name `row`."""
        for label, found, true in zip(self.labels, masks, truth, strict=True):
            self.scores.setdefault(row, {}).setdefault(label, []).append(score(found, true, image.spacing_mm))
            self.confusions.setdefault(row, {}).setdefault(label, []).append(confusion(found, true))

    def summary(self) -> dict[str, Any]:
        """{row: {label: {protocol: {metric: estimate}}}} as plain values."""
        return {
            row: {
                label: _plain(summarise(scores, self.confusions[row][label], self.cases))
                for label, scores in labels.items()
            }
            for row, labels in self.scores.items()
        }

    def difference(self, row: str, other: str, label: str, metric: str = "dice") -> Estimate:
        """Per-image mean of `row` minus `other`, paired: both saw the same images."""
        pairs = zip(self.scores[row][label], self.scores[other][label], strict=True)
        return mean_interval([a[metric] - b[metric] for a, b in pairs], self.cases)


def evaluate(
    ensemble: Ensemble, samples: Sequence[Sample], training: Sequence[Sample], *, progress: Progress = _silent
) -> dict[str, Any]:
    """Score `ensemble` on `samples`, each on its image's own grid; `training` gives the location prior.

    Rows: empty mask, location prior, each member and equal weights at threshold 0.5; where there is a stacker, it and
    the weights of ensemble.json at that threshold too; and the ensemble with blend, weights and threshold of
    ensemble.json. Returns plain values: `rows` as `Evaluation.summary`, `differences` of the ensemble
    to the best single member of the fit and to equal weights, `n`, `split_sha256` and the protocol in words. What is
    not a finite number is None, since JSON has no word for it. Raises InputError without samples, or for members whose
    names do not tell the rows apart; ReadError for a sample that cannot be read.
    """
    if not samples or not training:
        raise InputError(f"Wanted samples to score and training samples, got {len(samples)} and {len(training)}.")
    others = (EMPTY, PRIOR, EQUAL, WEIGHTED, STACKED, ENSEMBLE)
    if len({*ensemble.names, *others}) < len(ensemble.names) + len(others):
        raise InputError(f"Members need names of their own, none of them {', '.join(others)}.")
    labels = ensemble.config.labels
    prior = location_prior(training, labels)
    found = Evaluation(labels)
    for done, sample in enumerate(samples, start=1):
        image, truth = sample.read(labels)
        found.cases.append(sample.case)
        found.add(EMPTY, np.zeros_like(truth), truth, image)
        found.add(PRIOR, prior.masks(image.size), truth, image)
        for row, masks in _answers(ensemble, image):
            found.add(row, masks, truth, image)
        progress(done, len(samples))
    return {
        "ensemble": ensemble.config.name,
        "members": [member.sha256 for member in ensemble.members],
        "left_out": list(ensemble.quarantined),
        "weights": list(ensemble.weights),
        "blend": ensemble.config.blend,
        "stacker": ensemble.stacker.sha256 if ensemble.stacker else None,
        "threshold": ensemble.config.threshold,
        "n": len(samples),
        "split": samples[0].split,
        "split_sha256": split_hash(samples),
        "protocol": "each image's own grid; both masks empty: overlap 1, distance 0; 95 % bootstrap by case; "
        f"{_fixed(ensemble)} at threshold {MEMBER_THRESHOLD}, ensemble at {ensemble.config.threshold:g}; no TTA",
        "rows": found.summary(),
        "differences": _differences(ensemble, found),
    }


def _fixed(ensemble: Ensemble) -> str:
    more = f", {WEIGHTED} and stacker" if ensemble.stacker else ""
    return f"members and equal weights{more}"


def table(report: dict[str, Any], label: str) -> str:
    """The report's main figures for one label as a Markdown table."""
    lines = ["| | Dice, mean per image | IoU, mean per image | Dice, pooled | IoU, pooled |", "|---|---|---|---|---|"]
    for row, labels in report["rows"].items():
        kinds = labels[label]
        cells = [_cell(kinds[kind][metric]) for kind in ("per_image_all", "pooled_all") for metric in ("dice", "iou")]
        lines.append(f"| {row} | {' | '.join(cells)} |")
    for name, labels in report["differences"].items():
        lines.append(f"| {name} | {_cell(labels[label], signed=True)} | | | |")
    return "\n".join(lines)


def _answers(ensemble: Ensemble, image: Image) -> list[tuple[str, Masks]]:
    chosen = ensemble.predict(image)
    alike = partial(chosen.remix, threshold=MEMBER_THRESHOLD)
    rows = [(name, alike(weights=ensemble.solo(i), blend="weighted mean")) for i, name in enumerate(ensemble.names)]
    rows.append((EQUAL, alike(weights=[1.0] * len(rows), blend="weighted mean")))
    if ensemble.stacker is not None:
        rows.append((WEIGHTED, alike(weights=chosen.weights, blend="weighted mean")))
        rows.append((STACKED, alike(weights=chosen.weights, blend="stacking")))
    rows.append((ENSEMBLE, chosen))
    return [(row, prediction.masks) for row, prediction in rows]


def _differences(ensemble: Ensemble, found: Evaluation) -> dict[str, Any]:
    others = [EQUAL, WEIGHTED]
    if ensemble.config.fitted is not None:
        others.insert(0, ensemble.config.fitted.best_single_member)
    return {
        f"{ENSEMBLE} − {other}": {label: _estimate(found.difference(ENSEMBLE, other, label)) for label in found.labels}
        for other in others
        if other in found.scores
    }


def _plain(summary: dict[str, dict[str, Estimate]]) -> dict[str, dict[str, Any]]:
    return {kind: {name: _estimate(value) for name, value in values.items()} for kind, values in summary.items()}


def _estimate(value: Estimate) -> dict[str, float | None]:
    return {name: v if math.isfinite(v) else None for name, v in dataclasses.asdict(value).items()}


def _cell(estimate: dict[str, float | None], *, signed: bool = False) -> str:
    """`mean [low, high]`, with a dash for what is not known."""
    sign = "+" if signed else ""
    mean, low, high = ("–" if (v := estimate[k]) is None else f"{v:{sign}.3f}" for k in ("mean", "low", "high"))
    return f"{mean} [{low}, {high}]"
