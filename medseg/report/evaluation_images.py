"""The best, middle and worst images of an evaluation, drawn small beside their truth."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from medseg.arrays import Masks
from medseg.data.manifest import Sample
from medseg.evaluation.evaluate import ENSEMBLE
from medseg.evaluation.rows import Evaluation
from medseg.image import Image
from medseg.inference.ensemble import Ensemble
from medseg.overlay import draw_overlay
from medseg.report.html import data_uri

LONGEST_SIDE = 320
WORST, OTHERS = 6, 3
"""How many are shown: failures teach more than successes."""


@dataclass(frozen=True)
class Shown:
    """One image of a `group`: its name in the data set, its Dice, the mean over labels; and image, truth and prediction
    as data URIs."""

    group: str
    name: str
    dice: float
    image: str
    truth: str
    prediction: str


def show(ensemble: Ensemble, samples: Sequence[Sample], scores: Evaluation) -> list[Shown]:
    """`show_row` of the ensemble; the networks run again for images whose probabilities the cache has forgotten."""
    return show_row(ENSEMBLE, samples, scores, lambda index, image: ensemble.predict(image).masks)


def show_row(
    row: str, samples: Sequence[Sample], scores: Evaluation, masks_of: Callable[[int, Image], Masks]
) -> list[Shown]:
    """Those of `samples`, which `scores` are of, that `choose` chooses by the Dice of `row`. They are read again;
    `masks_of` gives the masks of number i on its image."""
    dice = np.mean(
        [[values["dice"] for values in of_label] for of_label in scores.scores[row].values()], axis=0
    ).tolist()
    shown = []
    for group, indices in choose(dice).items():
        for index in indices:
            image, truth = samples[index].read(scores.labels)
            drawn = _draw(image, truth, masks_of(index, image))
            shown.append(Shown(group, _name(samples[index], image), dice[index], *drawn))
    return shown


def choose(dice: Sequence[float]) -> dict[str, list[int]]:
    """{group: indices}, the worst first; no image stands in two groups, so few images leave some empty."""
    order = sorted(range(len(dice)), key=lambda index: dice[index])
    middle = max((len(order) - OTHERS) // 2, 0)
    worst = order[:WORST]
    best = [index for index in order[::-1][:OTHERS] if index not in worst]
    return {
        "worst": worst,
        "in the middle": [i for i in order[middle : middle + OTHERS] if i not in [*worst, *best]],
        "best": best,
    }


def _name(sample: Sample, image: Image) -> str:
    return f"{sample.image.name}, frame {sample.frame}" if image.frames > 1 else sample.image.name


def _draw(image: Image, truth: Masks, prediction: Masks) -> list[str]:
    drawn = [draw_overlay(image.pixels, masks) for masks in (np.zeros_like(truth), truth, prediction)]
    return [data_uri(drawing, LONGEST_SIDE) for drawing in drawn]
