"""Predictions for held-out cases: the data on which trust, temperature and conformal masks are calibrated.

Where weights and threshold were chosen to look good on the validation split, errors there are too small. Then each fold
of its cases is predicted with the weights and threshold that the other folds choose. The networks themselves never saw
the split, and run once per image.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from medseg.arrays import Masks, Probabilities, Threshold, Weight
from medseg.data.splits import deal_cases
from medseg.errors import InputError
from medseg.fitting import observations
from medseg.fitting.fit import fit
from medseg.fitting.observations import Observation, Observations, Progress
from medseg.inference.blend import weighted_mean
from medseg.inference.ensemble import Ensemble
from medseg.metrics import dice
from medseg.postprocess import to_masks
from medseg.scores import Contender

FOLDS = 5


@dataclass(frozen=True, eq=False)
class HeldOut:
    """An image as the members with weight predict it, on the grid of `medseg.fitting.observations.thin`.

    `weights` (normalised, one for each of these members, or one for each label of it) and `threshold` are those of the
    fold that holds the image out; the ensemble's own, and fold -1, before `cross_fit`.
    """

    observation: Observation
    weights: tuple[Weight, ...]
    threshold: Threshold
    fold: int = -1

    @property
    def case(self) -> str:
        return self.observation.sample.case

    @property
    def truth(self) -> Masks:
        return self.observation.truth

    @property
    def probabilities(self) -> Probabilities:
        return weighted_mean(self.observation.stack, self.weights)

    @property
    def masks(self) -> Masks:
        """The masks before clean-up."""
        return to_masks(self.probabilities, self.threshold, self.observation.task)

    @property
    def dice(self) -> float:
        """Dice of `masks`, the mean over labels."""
        return float(np.mean(dice(self.masks, self.truth)))


def require_weighted_mean(ensemble: Ensemble) -> None:
    """Raises InputError for an ensemble that blends otherwise: a stacker was even trained on the split that calibration
    needs."""
    if ensemble.config.blend != "weighted mean":
        raise InputError(
            f"Calibration knows the weighted mean alone, and this ensemble blends by {ensemble.config.blend}: "
            "calibrate with the blend weighted mean."
        )


def with_own_weights(ensemble: Ensemble, images: Iterable[Observation]) -> list[HeldOut]:
    """The `images`, observed with all members of `ensemble`, under its weights and threshold."""
    require_weighted_mean(ensemble)
    voting = [index for index, weight in enumerate(ensemble.weights) if np.any(weight)]
    weights = tuple(ensemble.weights[index] for index in voting)
    return [HeldOut(image.only(voting), weights, ensemble.config.threshold) for image in images]


def cross_fit(
    images: Sequence[HeldOut], *, refit: Contender | None, progress: Progress = lambda done, total: None
) -> list[HeldOut]:
    """`images` in folds dealt by case, with `refit` each with the weights and threshold of that contender of
    `medseg.fitting.fit` as the other folds choose them.

    Refit where the ensemble's own were chosen on these very images. Where they were not, its own predictions are held
    out as they are, and other weights would be another ensemble. FOLDS folds, or as many as there are cases. Raises
    InputError for fewer than three cases.
    """
    names = [image.case for image in images]
    folds = deal_cases(names, min(FOLDS, len(set(names))))
    everything = Observations.of(image.observation for image in images) if refit else None
    held = list(images)
    for fold, cases in enumerate(folds):
        choice = fit(everything.without(cases)).choice(refit) if everything and refit else None
        for place, image in enumerate(images):
            if image.case in cases:
                weights, threshold = (choice or image).weights, (choice or image).threshold
                held[place] = replace(image, fold=fold, weights=weights, threshold=threshold)
        progress(fold + 1, len(folds))
    return held


def __getattr__(name: str) -> object:
    """`thin` moved to `medseg.fitting.observations`; its old place works until 0.3."""
    if name == "thin":
        warnings.warn("thin is in medseg.fitting.observations now.", DeprecationWarning, stacklevel=2)
        return observations.thin
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
