"""Samples × ensemble → scores: every member and every blend, beside floors that never look at the image."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float32

from medseg.arrays import Masks, Probabilities, Weight
from medseg.config import Blend
from medseg.data.samples import Sample, split_hash
from medseg.errors import InputError
from medseg.evaluation.contributions import Contributions
from medseg.evaluation.conventions import Conventions
from medseg.fitting.baseline import mean_mask
from medseg.fitting.thresholds import THRESHOLDS
from medseg.image import Image
from medseg.inference.ensemble import Ensemble
from medseg.inference.pipeline import mapped
from medseg.inference.prediction import Prediction
from medseg.intervals import Estimate, difference_interval
from medseg.metrics import Confusion, confusion, score, summarise, surface_dice
from medseg.preprocess import to_image_grid

MEMBER_THRESHOLD = 0.5
EMPTY, PRIOR, EQUAL, ENSEMBLE = "empty mask", "location prior", "equal weights", "ensemble"
STACKED, WEIGHTED, FLIPPED = "stacked", "chosen weights", "ensemble with flips"
ORACLE = "best single here (an oracle)"
OTHER_BLENDS: tuple[Blend, ...] = ("geometric", "median", "majority vote", "STAPLE")

TOLERANCE_MM = 2.0
"""Of the surface Dice: between readers of one organ Nikolov et al. measured about 1 to 3 mm. Pixels have no such
figure, so without spacing there is no surface Dice."""

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
            scores = score(found, true, image.spacing_mm)
            if image.spacing_mm is not None:
                scores[f"surface_dice_{TOLERANCE_MM:g}mm"] = surface_dice(found, true, TOLERANCE_MM, image.spacing_mm)
            self.scores.setdefault(row, {}).setdefault(label, []).append(scores)
            self.confusions.setdefault(row, {}).setdefault(label, []).append(confusion(found, true))

    def extend(self, other: Evaluation) -> None:
        """Take in what `other` scored, on other images, under the same rows."""
        if self.cases and self.scores.keys() != other.scores.keys():
            raise InputError(f"Wanted scores of {', '.join(self.scores)}; got {', '.join(other.scores)}.")
        self.cases += other.cases
        for row, labels in other.scores.items():
            for label, scores in labels.items():
                self.scores.setdefault(row, {}).setdefault(label, []).extend(scores)
                self.confusions.setdefault(row, {}).setdefault(label, []).extend(other.confusions[row][label])

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
        ours, theirs = ([scores[metric] for scores in self.scores[name][label]] for name in (row, other))
        return difference_interval(ours, theirs, self.cases)

    def mean(self, row: str, label: str) -> float:
        """Per-image mean Dice of `row`."""
        return float(np.mean([scores["dice"] for scores in self.scores[row][label]]))

    def best(self, rows: Sequence[str], label: str) -> str:
        """The one of `rows` with the highest `mean`, the first of equals."""
        return max(rows, key=lambda row: self.mean(row, label))


@dataclass(frozen=True)
class Result:
    """The `report` in plain values, and the `scores` of every single image that it summarises."""

    report: dict[str, Any]
    scores: Evaluation


def evaluate(
    ensemble: Ensemble,
    samples: Sequence[Sample],
    training: Sequence[Sample],
    *,
    tta: bool = False,
    progress: Progress = _silent,
) -> Result:
    """Score `ensemble` on `samples`, each on its image's own grid; `training` gives the location prior.

    Rows: empty mask; location prior, where there is a training sample; each member, equal weights and, of several
    members, the other blends of equal weights, all at threshold 0.5; the stacker at 0.5 where there is one; the
    weighted mean by the weights and threshold of ensemble.json where its blend is another; the ensemble as
    ensemble.json has it; and with `tta` that averaged over flips, which runs each network four times more.
    The report holds `rows` as `Evaluation.summary`, `differences` of the ensemble to the best single member of the fit,
    to equal weights and to the member that is best here, `n`, `split_sha256` and the protocol in words; `conventions`,
    the same answers as others count; `contributions` of each of several members with their protocol. What is not a
    finite number is None, since JSON has no word for it.
    Raises InputError without samples, or for members whose names do not tell the rows apart; ReadError for a sample
    that cannot be read.
    """
    _check(ensemble, samples)
    labels = ensemble.config.labels
    prior = location_prior(training, labels) if training else None
    found, others = Evaluation(labels), Conventions(labels)
    worth = Contributions(ensemble.config, ensemble.weights)

    def predict(sample: Sample) -> tuple[Prediction, Masks]:
        image, truth = sample.read(labels)
        return ensemble.predict(image), truth

    predicted = mapped(predict, samples, lambda pair: pair[0].image.pixels.nbytes)
    for done, (sample, (chosen, truth)) in enumerate(zip(samples, predicted, strict=True), start=1):
        found.cases.append(sample.case)
        worth.add(chosen.members, truth)
        for row, probabilities, masks in _answers(ensemble, chosen, prior, tta):
            found.add(row, masks, truth, chosen.image)
            others.add(row, probabilities, truth)
        progress(done, len(samples))
    report = {
        "ensemble": ensemble.config.name,
        "members": [member.sha256 for member in ensemble.members],
        "member_names": list(ensemble.names),
        "left_out": list(ensemble.quarantined),
        "weights": list(ensemble.weights),
        "blend": ensemble.config.blend,
        "stacker": ensemble.stacker.sha256 if ensemble.stacker else None,
        "threshold": ensemble.config.threshold,
        "n": len(samples),
        "cases": len(set(found.cases)),
        "split": samples[0].split,
        "split_sha256": split_hash(samples),
        "protocol": _protocol(ensemble, tta) + ("" if training else "; no training image, so no location prior"),
        "rows": found.summary(),
        "differences": _differences(ensemble, found),
        "conventions": _plain(others.summary(found.confusions, found.cases)),
        "contributions": _contributions(ensemble, worth, found),
    }
    return Result(report, found)


def _check(ensemble: Ensemble, samples: Sequence[Sample]) -> None:
    if not samples:
        raise InputError("Wanted samples to score, got none.")
    others = (EMPTY, PRIOR, EQUAL, *OTHER_BLENDS, STACKED, WEIGHTED, ENSEMBLE, FLIPPED)
    if len({*ensemble.names, *others}) < len(ensemble.names) + len(others):
        raise InputError(f"Members need names of their own, none of them {', '.join(others)}.")


def _protocol(ensemble: Ensemble, tta: bool) -> str:
    fixed = "members, equal weights" + (" and other blends of them" if len(ensemble.members) > 1 else "")
    fixed += " and stacker" if ensemble.stacker else ""
    chosen = ENSEMBLE if ensemble.config.blend == "weighted mean" else f"{WEIGHTED} and {ENSEMBLE}"
    return (
        "each image's own grid; both masks empty: overlap 1, distance 0; 95 % bootstrap by case; "
        f"{fixed} at threshold {MEMBER_THRESHOLD}, {chosen} at {ensemble.config.threshold:g}; "
        + (f"TTA (four flips) in the row {FLIPPED} alone" if tta else "no TTA")
    )


def _answers(
    ensemble: Ensemble, chosen: Prediction, prior: LocationPrior | None, tta: bool
) -> Iterator[tuple[str, Probabilities, Masks]]:
    """Row, probabilities and masks for the picture of `chosen`, one at a time: a dozen of a large picture fill the
    memory."""
    nothing = np.zeros((len(chosen.labels), *chosen.image.size), dtype=np.float32)
    yield EMPTY, nothing, nothing > 0
    if prior is not None:
        yield PRIOR, to_image_grid(prior.mean, chosen.image.size), prior.masks(chosen.image.size)
    for row, prediction in _predictions(ensemble, chosen, tta):
        yield row, prediction.probabilities, prediction.masks


def _predictions(ensemble: Ensemble, chosen: Prediction, tta: bool) -> Iterator[tuple[str, Prediction]]:
    def fixed(blend: Blend, weights: Sequence[Weight]) -> Prediction:
        return chosen.remix(weights=weights, threshold=MEMBER_THRESHOLD, blend=blend)

    equal = [1.0] * len(ensemble.members)
    for index, name in enumerate(ensemble.names):
        yield name, fixed("weighted mean", ensemble.solo(index))
    yield EQUAL, fixed("weighted mean", equal)
    for other in OTHER_BLENDS if len(equal) > 1 else ():
        yield other, fixed(other, equal)
    if ensemble.stacker is not None:
        yield STACKED, fixed("stacking", equal)
    if chosen.blend != "weighted mean":
        yield WEIGHTED, chosen.remix(weights=chosen.weights, threshold=chosen.threshold, blend="weighted mean")
    yield ENSEMBLE, chosen
    if tta:
        yield FLIPPED, ensemble.predict(chosen.image, tta="flips")


def _differences(ensemble: Ensemble, found: Evaluation) -> dict[str, Any]:
    pairs = [(ENSEMBLE, other) for other in (EQUAL, WEIGHTED)]
    if ensemble.config.fitted is not None:
        pairs.insert(0, (ENSEMBLE, ensemble.config.fitted.best_single_member))
    named = {
        f"{row} − {other}": {label: plain_estimate(found.difference(row, other, label)) for label in found.labels}
        for row, other in [*pairs, (FLIPPED, ENSEMBLE)]
        if {row, other} <= found.scores.keys()
    }
    if len(ensemble.names) > 1:
        named[f"{ENSEMBLE} − {ORACLE}"] = {
            label: plain_estimate(found.difference(ENSEMBLE, found.best(ensemble.names, label), label))
            for label in found.labels
        }
    return named


def _contributions(ensemble: Ensemble, worth: Contributions, found: Evaluation) -> dict[str, Any]:
    """{label: {"protocol": words, "members": {member: {column: estimate}}}}; empty for a member by itself."""
    if len(ensemble.names) == 1:
        return {}
    baselines = [row for row in (EMPTY, PRIOR) if row in found.scores]
    floors = {label: found.best(baselines, label) for label in found.labels}
    dice = {label: [scores["dice"] for scores in found.scores[row][label]] for label, row in floors.items()}
    return {
        label: {"protocol": worth.protocol(floors[label]), "members": _plain(members)}
        for label, members in worth.summary(ensemble.names, dice, found.cases).items()
    }


def _plain(summary: Mapping[str, Any]) -> dict[str, Any]:
    """Mappings of mappings of estimates, however deep, as plain values."""
    return {
        name: plain_estimate(value) if isinstance(value, Estimate) else _plain(value) for name, value in summary.items()
    }


def plain_estimate(value: Estimate) -> dict[str, float | None]:
    """An estimate as JSON has words for it: what is not finite is None."""
    return {name: v if math.isfinite(v) else None for name, v in dataclasses.asdict(value).items()}
