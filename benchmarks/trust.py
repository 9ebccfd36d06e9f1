"""Does anything beside the members' agreement help to predict the Dice? Errors on held-out cases, side by side.

    python benchmarks/trust.py assets/ensembles/polyp ../shared/data/polyp/kvasir-seg

Each row is a curve over some features, fitted on four folds of the validation split and asked for the fifth. The last
column is the difference in mean error to agreement alone, with its 95 % bootstrap interval by case.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import numpy as np
from scipy import optimize
from scipy.special import expit, logit

from benchmarks.needs import existing, parser
from medseg.calibration.temperature import band
from medseg.calibration.trust import agreement
from medseg.data.samples import load_data, select
from medseg.fitting.crossfit import HeldOut, cross_fit, with_own_weights
from medseg.fitting.observations import observe
from medseg.inference.ensemble import Ensemble
from medseg.inference.uncertainty import entropy
from medseg.intervals import difference_interval

Model = Callable[[np.ndarray, np.ndarray, np.ndarray], np.ndarray]


def features(image: HeldOut) -> tuple[float, float, float]:
    """Agreement (its logit), mean entropy within 3 pixels of the predicted boundary, area share (its logarithm)."""
    near = band(image.masks).any(axis=0)
    doubt = entropy(image.probabilities, image.observation.task).max(axis=0)
    agreed = logit(np.clip(agreement(image.observation.stack, image.observation.task), 0.01, 0.99))
    return float(agreed), float(doubt[near].mean()) if near.any() else 1.0, float(np.log(image.masks.mean() + 1e-3))


def curve(columns: list[int]) -> Model:
    """Fractional logit regression on some of the features; with agreement alone it is `medseg.calibration.trust`'s."""

    def predict(known: np.ndarray, dice: np.ndarray, asked: np.ndarray) -> np.ndarray:
        inputs = np.column_stack([np.ones(len(known)), known[:, columns]])

        def loss(parameters: np.ndarray) -> float:
            line = inputs @ parameters
            return float(np.mean(np.logaddexp(0, line) - dice * line))

        found = optimize.minimize(loss, np.zeros(inputs.shape[1])).x
        return expit(np.column_stack([np.ones(len(asked)), asked[:, columns]]) @ found)

    return predict


def isotonic(known: np.ndarray, dice: np.ndarray, asked: np.ndarray) -> np.ndarray:
    order = np.argsort(known[:, 0], kind="stable")
    return np.interp(asked[:, 0], known[order, 0], optimize.isotonic_regression(dice[order]).x)


MODELS: dict[str, Model] = {
    "agreement": curve([0]),
    "boundary entropy": curve([1]),
    "agreement, boundary entropy": curve([0, 1]),
    "agreement, boundary entropy, area": curve([0, 1, 2]),
    "agreement, isotonic": isotonic,
    "the mean, whatever the image": curve([]),
}


def main() -> None:
    options = parser(__doc__)
    options.add_argument("ensemble", type=existing)
    options.add_argument("data", type=existing)
    asked = options.parse_args()
    ensemble = Ensemble.from_pretrained(asked.ensemble)
    observations = observe(ensemble.members, select(load_data(asked.data).samples, "val"))
    held = cross_fit(with_own_weights(ensemble, observations), refit="fitted")
    inputs, dice = np.array([features(one) for one in held]), np.array([one.dice for one in held])
    folds, cases = np.array([one.fold for one in held]), [one.case for one in held]
    errors = {}
    for name, model in MODELS.items():
        predicted = np.empty_like(dice)
        for fold in np.unique(folds):
            inside = folds == fold
            predicted[inside] = model(inputs[~inside], dice[~inside], inputs[inside])
        errors[name] = np.abs(predicted - dice)
    print(f"n = {len(held)} of {len(set(cases))} cases\n")
    print("| features | mean error | minus agreement alone |\n|---|---|---|")
    for name, error in errors.items():
        less = difference_interval(error.tolist(), errors["agreement"].tolist(), cases)
        print(f"| {name} | {error.mean():.4f} | {less.mean:+.4f} [{less.low:+.4f}, {less.high:+.4f}] |")


if __name__ == "__main__":
    main()
