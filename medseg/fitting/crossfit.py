"""Answers for held-out cases: what trust, temperature and conformal masks are calibrated on.

Where weights and threshold were chosen to look good on the validation split, errors seen there with them are too small.
Then each fold of its cases is answered with the weights and threshold that the other folds choose. The networks
themselves never saw the split, and are run once per image.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import cast

import numpy as np

from medseg.arrays import Masks, Probabilities, Stack, Weight
from medseg.config import MemberConfig
from medseg.data.samples import Sample
from medseg.data.splits import deal_folds
from medseg.errors import InputError
from medseg.fitting.fit import SEARCH_SIDE, fit
from medseg.image import Image
from medseg.inference.blend import normalise_weights, weighted_mean
from medseg.inference.ensemble import Ensemble
from medseg.inference.member import LoadedMember
from medseg.metrics import confusion
from medseg.postprocess import to_masks
from medseg.preprocess import to_image_grid
from medseg.scores import Contender

FOLDS = 5

Progress = Callable[[int, int], None]


@dataclass(frozen=True, eq=False)
class Observation:
    """What the members with weight say of one image, and the truth, on every n-th pixel (`thin`) of the working grid.

    `weights` (normalised, one for each of these members, or one for each label of it) and `threshold` are those of the
    fold that holds it out; the ensemble's own, and fold -1, until `cross_fit` sets them. `shown_dice` is that of the
    ensemble's own masks as a user gets them, on the image's grid after clean-up.
    """

    sample: Sample
    config: MemberConfig
    stack: Stack
    truth: Masks
    weights: tuple[Weight, ...]
    threshold: float
    shown_dice: float
    fold: int = -1

    @property
    def case(self) -> str:
        return self.sample.case

    @property
    def probabilities(self) -> Probabilities:
        return weighted_mean(self.stack, self.weights)

    @property
    def masks(self) -> Masks:
        """The masks before clean-up."""
        return to_masks(self.probabilities, self.threshold, self.config.task)

    @property
    def dice(self) -> float:
        """Dice of `masks`, the mean over labels."""
        return _dice(self.masks, self.truth)


def thin(planes: np.ndarray) -> np.ndarray:
    """Every n-th pixel of (..., h, w), so that no side exceeds SEARCH_SIDE: the grid on which weights are fitted."""
    stride = -(-max(planes.shape[-2:]) // SEARCH_SIDE)
    return np.asarray(planes[..., ::stride, ::stride])


def observe(
    ensemble: Ensemble, samples: Sequence[Sample], *, progress: Progress = lambda done, total: None
) -> list[Observation]:
    """Run the ensemble on `samples`, each read once. Raises InputError for one that blends by anything but the weighted
    mean (a stacker was even trained on the split that calibration needs); ReadError for one that cannot be read."""
    if ensemble.config.blend != "weighted mean":
        raise InputError(
            f"Calibration knows the weighted mean alone, and this ensemble blends by {ensemble.config.blend}: "
            "calibrate with the blend weighted mean."
        )
    config, threshold = ensemble.members[0].config, ensemble.config.threshold
    normalised = normalise_weights(ensemble.weights, len(ensemble.members), len(config.labels))
    voting = [index for index, weight in enumerate(normalised) if np.any(weight)]
    weights = tuple(normalised[index] for index in voting)
    seen = []
    for done, sample in enumerate(samples, start=1):
        image, truth = sample.read(config.labels)
        prediction = ensemble.predict(image)
        shown = _dice(prediction.masks, truth)
        stack = prediction.members[voting]
        if truth.shape[1:] != stack.shape[2:]:
            truth = to_image_grid(truth.astype(np.float32), stack.shape[2:]) >= 0.5
        seen.append(Observation(sample, config, thin(stack).copy(), thin(truth).copy(), weights, threshold, shown))
        progress(done, len(samples))
    return seen


def cross_fit(
    seen: Sequence[Observation], *, refit: Contender | None, progress: Progress = lambda done, total: None
) -> list[Observation]:
    """`seen` in folds dealt by case, with `refit` each with the weights and threshold of that contender of
    `medseg.fitting.fit` as the other folds choose them.

    Refit where the ensemble's own were chosen on these very samples. Where they were not, its own answers are held out
    as they are, and other weights would be another ensemble. FOLDS folds, or as many as there are cases. Raises
    InputError for fewer than three cases.
    """
    folds = deal_folds([one.sample for one in seen], min(FOLDS, len({one.case for one in seen})))
    held = list(seen)
    for fold, cases in enumerate(folds):
        weights, threshold = _refitted([one for one in seen if one.case not in cases], refit) if refit else (None, None)
        for place, one in enumerate(seen):
            if one.case in cases:
                held[place] = replace(
                    one, fold=fold, weights=weights or one.weights, threshold=threshold or one.threshold
                )
        progress(fold + 1, len(folds))
    return held


def _refitted(others: Sequence[Observation], contender: Contender) -> tuple[tuple[Weight, ...], float]:
    members = [_Recalled(others, index) for index in range(len(others[0].stack))]
    replayed = [_Replayed(one, place) for place, one in enumerate(others)]
    chosen = fit(cast(list[LoadedMember], members), cast(list[Sample], replayed)).choice(contender)
    return chosen.weights, chosen.threshold


def _dice(masks: Masks, truth: Masks) -> float:
    return float(np.mean([confusion(a, b).dice for a, b in zip(masks, truth, strict=True)]))


class _Recalled:
    """A member that answers again what it answered: `fit` sees a network where none runs."""

    def __init__(self, seen: Sequence[Observation], index: int) -> None:
        self.config = seen[0].config
        self._stacks = [one.stack[index] for one in seen]

    def probabilities(self, image: Image) -> np.ndarray:
        return np.asarray(self._stacks[image.frame])


class _Replayed:
    """A sample read again from memory; its picture is blank, and its frame says which one it is."""

    def __init__(self, one: Observation, place: int) -> None:
        self.case, self.split, self.truth, self.place = one.case, one.sample.split, one.truth, place

    def read(self, labels: Sequence[str]) -> tuple[Image, Masks]:
        return Image(np.zeros((*self.truth.shape[1:], 1), np.float32), frame=self.place), self.truth
