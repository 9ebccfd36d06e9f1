"""The best, middle and worst images of an evaluation, drawn small beside their truth."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from medseg.data.samples import Sample
from medseg.evaluation.evaluate import ENSEMBLE
from medseg.evaluation.rows import Evaluation
from medseg.inference.ensemble import Ensemble
from medseg.overlay import draw_overlay
from medseg.report.html import data_uri

LONGEST_SIDE = 320
WORST, OTHERS = 6, 3
"""How many are shown: failures teach more than successes."""


@dataclass(frozen=True)
class Shown:
    """One image of a `group`: its name in the data set, its Dice, the mean over labels; and image, truth and answer
    as data URIs."""

    group: str
    name: str
    dice: float
    image: str
    truth: str
    answer: str


def show(ensemble: Ensemble, samples: Sequence[Sample], found: Evaluation) -> list[Shown]:
    """Those of `samples`, which `found` scored, that `choose` chooses by the ensemble's Dice. They are read again, and
    the networks run again for those whose answers the cache has forgotten."""
    dice = np.mean([[scores["dice"] for scores in labels] for labels in found.scores[ENSEMBLE].values()], axis=0)
    return [
        _draw(ensemble, samples[index], group, float(dice[index]))
        for group, indices in choose(dice.tolist()).items()
        for index in indices
    ]


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


def _draw(ensemble: Ensemble, sample: Sample, group: str, dice: float) -> Shown:
    image, truth = sample.read(ensemble.config.labels)
    name = f"{sample.image.name}, frame {sample.frame}" if image.frames > 1 else sample.image.name
    answer = ensemble.predict(image).masks
    drawn = [draw_overlay(image.pixels, masks) for masks in (np.zeros_like(truth), truth, answer)]
    return Shown(group, name, dice, *[data_uri(image, LONGEST_SIDE) for image in drawn])
