"""calibration.json: what an ensemble's probabilities and masks are worth, learnt on held-out validation cases."""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from medseg import schema
from medseg.arrays import Threshold, Weight
from medseg.calibration.conformal import Bounds, fit_bounds
from medseg.calibration.temperature import Table, band, brier, ece, fit_temperature, pool, reliability
from medseg.calibration.trust import (
    Outcomes,
    Trust,
    TrustModel,
    agreement,
    fit_trust,
    held_out_dice,
    spearman,
)
from medseg.data.samples import split_hash
from medseg.errors import ConfigError, InputError, MedsegWarning
from medseg.fitting.crossfit import HeldOut, cross_fit, with_own_weights
from medseg.fitting.observations import Observation, Progress, thin
from medseg.hub.folders import CALIBRATION
from medseg.inference.blend import normalise_weights
from medseg.inference.ensemble import Ensemble
from medseg.inference.prediction import Prediction
from medseg.inference.uncertainty import tempered
from medseg.intervals import interval_by_case, mean_interval
from medseg.report.words import score_words, signed
from medseg.schema import require
from medseg.scores import Score

FORMAT_VERSION = 1
ALPHAS = (0.05, 0.1, 0.2)


@dataclass(frozen=True)
class Errors:
    """Calibration of the pixels, all of them and those of the band (None where no image has one)."""

    ece: float
    brier: float
    band_ece: float | None
    band_brier: float | None


@dataclass(frozen=True)
class Calibration:
    """calibration.json.

    It holds for the members (sha256 of each member.json), normalised weights and threshold named here, and images
    like those of `data`: `n` images of `cases` cases, whose division hashes to `split_sha256`. `refitted` says that
    weights and threshold were chosen on these very samples, and so anew for each fold. `before` and `after` the
    temperature are those of each fold under the temperature of the others. `trust` is None where too few cases were
    held out, or a single member has weight whose doubt does not go with its errors; `trust_data` names what it was
    learnt on, where that is more than `data` ("" where it is `data`), and `trust_scores` say what it is worth on cases
    of other folds. `bounds` has an entry for each alpha that the cases were enough for.
    """

    data: str
    n: int
    cases: int
    split_sha256: str
    refitted: bool
    members: tuple[str, ...]
    weights: tuple[float | tuple[float, ...], ...]
    threshold: Threshold
    temperature: float
    before: Errors
    after: Errors
    trust: TrustModel | None
    bounds: tuple[Bounds, ...]
    trust_data: str = ""
    trust_scores: tuple[Score, ...] = ()
    format_version: int = FORMAT_VERSION

    def __post_init__(self) -> None:
        require(self.format_version == FORMAT_VERSION, f"format_version {self.format_version} is not known here")
        require(self.temperature > 0, f"temperature: wanted more than 0, found {self.temperature}")
        require(len(self.members) == len(self.weights), "weights: wanted one for each member")


def calibrate(
    ensemble: Ensemble,
    observations: Iterable[Observation],
    data: str,
    *,
    more: Iterable[Observation] = (),
    more_data: str = "",
    progress: Progress = lambda done, total: None,
) -> Calibration:
    """Learn temperature, trust and conformal thresholds on the `observations` of the ensemble's members on validation
    samples.

    Everything is learnt on held-out predictions (`crossfit.cross_fit`), with weights refitted where ensemble.json says
    that they were chosen on these samples; `data` is their name for the record. Trust is learnt on `more` as well,
    other cases that no member was trained on; `more_data` names both together. What the cases are too few for is left
    out with a MedsegWarning. Raises InputError for fewer than three cases, and for an ensemble that blends by anything
    but the weighted mean.
    """
    images = with_own_weights(ensemble, observations)
    split = split_hash([image.observation.sample for image in images])
    fitted = ensemble.config.fitted
    contender = fitted.chosen if fitted is not None and fitted.split_sha256 == split else None
    held = cross_fit(images, refit=contender, progress=progress)
    of_fold = {
        fold: _temperature([item for item in held if item.fold != fold]) for fold in {item.fold for item in held}
    }
    others = with_own_weights(ensemble, more)
    everything = [*held, *(cross_fit(others, refit=None) if others else [])]
    trust, trust_scores = _learn_trust(everything, more_data or data)
    return Calibration(
        data,
        len(held),
        len({item.case for item in held}),
        split,
        contender is not None,
        tuple(member.sha256 for member in ensemble.members),
        normalise_weights(ensemble.weights, len(ensemble.members), len(ensemble.config.labels)),
        ensemble.config.threshold,
        _temperature(held),
        _errors(held, [1.0] * len(held)),
        _errors(held, [of_fold[item.fold] for item in held]),
        trust,
        tuple(_fit_bounds(held)),
        more_data if others else "",
        trust_scores,
    )


def load_calibration(folder: Path, ensemble: Ensemble) -> Calibration:
    """The calibration.json of an ensemble folder. Raises ConfigError where there is none or it breaks its schema,
    InputError where it is of other members, weights, threshold or blend than `ensemble` has."""
    if not (folder / CALIBRATION).exists():
        raise ConfigError(f"{folder} is not calibrated: run `medseg calibrate {folder} DATA` first, without --test.")
    calibration = schema.load(Calibration, folder / CALIBRATION)
    its_own = (tuple(member.sha256 for member in ensemble.members), ensemble.config.threshold, ensemble.config.blend)
    same = (calibration.members, calibration.threshold, "weighted mean") == its_own
    if not (same and _alike(calibration.weights, ensemble.weights)):
        raise InputError(
            f"{CALIBRATION} is of other members, weights, threshold or blend than this ensemble: "
            "run `medseg calibrate` again."
        )
    return calibration


def holds_for(calibration: Calibration, prediction: Prediction) -> bool:
    """Whether `prediction`, of the ensemble that `calibration` was loaded with, was made with what was calibrated:
    members, weights, threshold, weighted mean, the ensemble's own clean-up and no flips. No network runs."""
    settings = (prediction.member_sha256, prediction.threshold, prediction.blend, prediction.tta, prediction.cleanup)
    calibrated = (calibration.members, calibration.threshold, "weighted mean", False, prediction.ensemble.cleanup)
    return settings == calibrated and _alike(prediction.weights, calibration.weights)


def judge(calibration: Calibration, prediction: Prediction) -> Trust:
    """How far to trust a prediction of the ensemble that `calibration` was loaded with. No network runs.

    Raises InputError where `calibration` has no trust, or does not hold for the prediction (`holds_for`): what is known
    of the calibrated settings says nothing of others.
    """
    if calibration.trust is None:
        raise InputError(f"{CALIBRATION} has no trust: `medseg calibrate` said why.")
    if not holds_for(calibration, prediction):
        raise InputError(
            "Trust is known for the weights, threshold, blend and clean-up that were calibrated: go back to them."
        )
    voting = prediction.members[[bool(np.any(weight)) for weight in calibration.weights]]
    return calibration.trust.judge(agreement(thin(voting), prediction.ensemble.task), empty=not prediction.masks.any())


def describe(calibration: Calibration, labels: Sequence[str]) -> str:
    """The calibration in words and a table, as `medseg calibrate` prints it."""
    lines = [
        f"{calibration.data}: n = {calibration.n} images of {calibration.cases} cases, in folds by case; weights and "
        "threshold are "
        + (
            "those that the other folds choose"
            if calibration.refitted
            else "the ensemble's own, which were not chosen here"
        ),
        f"temperature {calibration.temperature:.3f}",
        "",
        "| | ECE | Brier | ECE, band | Brier, band |",
        "|---|---|---|---|---|",
    ]
    for name, errors in (("before", calibration.before), ("after", calibration.after)):
        values = (errors.ece, errors.brier, errors.band_ece, errors.band_brier)
        lines.append(f"| {name} | {' | '.join('–' if value is None else f'{value:.4f}' for value in values)} |")
    if calibration.trust:
        model = calibration.trust
        lines += ["", f"trust: Dice ≈ expit({model.intercept:.3f} + {model.slope:.3f} · logit(agreement))"]
        lines += [
            f"90 % interval: Dice {signed(model.low)} to {signed(model.high)} times (1.02 − Dice), {model.cases} cases"
        ]
        lines.append(f"learnt on {calibration.trust_data or calibration.data}; on cases of other folds:")
        lines += [score_words(score) for score in calibration.trust_scores]
    for bounds in calibration.bounds:
        for label, outer, inner in zip(labels, bounds.outer, bounds.inner, strict=True):
            lines.append(f"alpha {bounds.alpha:g}, {label}: outer mask from {outer:.4f}, inner mask from {inner:.4f}")
    return "\n".join(lines)


def _alike(weights: Sequence[Weight], others: Sequence[Weight]) -> bool:
    return np.shape(weights) == np.shape(others) and np.allclose(weights, others)


def _temperature(held: Sequence[HeldOut]) -> float:
    return fit_temperature([(item.probabilities, item.truth) for item in held], held[0].observation.task)


def tables_of(held: Sequence[HeldOut], temperatures: Sequence[float]) -> tuple[list[Table], list[Table]]:
    """Each image's table over all pixels, and over the band, under its own temperature."""
    whole, near = [], []
    for item, temperature in zip(held, temperatures, strict=True):
        probabilities = tempered(item.probabilities, temperature, item.observation.task)
        whole.append(reliability(probabilities, item.truth))
        near.append(reliability(probabilities, item.truth, band(item.truth)))
    return whole, near


def _errors(held: Sequence[HeldOut], temperatures: Sequence[float]) -> Errors:
    whole, near = (pool(tables) for tables in tables_of(held, temperatures))
    if np.isnan(near).any():
        return Errors(ece(whole), brier(whole), None, None)
    return Errors(ece(whole), brier(whole), ece(near), brier(near))


def _learn_trust(held: Sequence[HeldOut], data: str) -> tuple[TrustModel | None, tuple[Score, ...]]:
    try:
        outcomes = _outcomes(held)
        model, scores = fit_trust(outcomes), _trust_scores(outcomes, data)
        if len(held[0].observation.stack) == 1 and not (len(scores) > 1 and (scores[1].low or 0) > 0):
            raise InputError("How sure the only member is of its mask does not go with its Dice on held-out cases.")
        return model, scores
    except InputError as error:
        warnings.warn(f"{error} The calibration goes without trust.", MedsegWarning, stacklevel=3)
        return None, ()


def _trust_scores(outcomes: Outcomes, data: str) -> tuple[Score, ...]:
    """What the curves of the other folds are worth on each, over the predictions that mark something."""
    marked = ~outcomes.empty
    predicted, true = held_out_dice(outcomes)[marked], outcomes.dice[marked]
    cases = [case for case, marks in zip(outcomes.cases, marked, strict=True) if marks]
    error = mean_interval(np.abs(predicted - true).tolist(), cases)
    low, high = interval_by_case(lambda i: spearman(predicted[i], true[i]), cases)
    how = f"cross-fitted, {len(set(cases))} cases"
    scores = [Score("mean error of the predicted Dice", error.mean, error.low, error.high, len(true), data, how)]
    if np.isfinite(rank := spearman(predicted.tolist(), true.tolist())):
        scores.append(Score("its rank correlation", rank, low, high, len(true), data, how))
    return tuple(scores)


def _fit_bounds(held: Sequence[HeldOut]) -> Iterator[Bounds]:
    predictions, cases = [(item.probabilities, item.truth) for item in held], [item.case for item in held]
    for alpha in ALPHAS:
        try:
            yield fit_bounds(predictions, cases, alpha)
        except InputError as error:
            warnings.warn(f"{error} The calibration goes without that rate.", MedsegWarning, stacklevel=3)


def _outcomes(held: Sequence[HeldOut]) -> Outcomes:
    return Outcomes(
        np.array([agreement(item.observation.stack, item.observation.task) for item in held]),
        np.array([item.dice for item in held]),
        np.array([not item.masks.any() for item in held]),
        tuple(item.case for item in held),
        tuple(item.fold for item in held),
    )
