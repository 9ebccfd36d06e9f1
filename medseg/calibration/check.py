"""What a calibration is worth on samples it was not learnt on: usually the test split, once, at the end.

print(report(check(load_calibration(folder, ensemble), ensemble, select(samples, "test"))))
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
from jaxtyping import Float64

from medseg.calibration.calibrate import Calibration, tables_of
from medseg.calibration.conformal import Bounds, inner_outer
from medseg.calibration.temperature import Table, brier, ece, pool
from medseg.calibration.trust import FAILURE, Trust, TrustModel, agreement, auroc, spearman
from medseg.data.manifest import Sample
from medseg.fitting.crossfit import HeldOut, with_own_weights
from medseg.fitting.observations import Observation, Progress, observation
from medseg.inference.ensemble import Ensemble
from medseg.inference.pipeline import mapped
from medseg.intervals import interval_by_case
from medseg.metrics import dice


@dataclass(frozen=True)
class Figure:
    """One figure of `check` with its 95 % bootstrap interval by case; nan where it is not known."""

    name: str
    value: float
    low: float
    high: float

    def __str__(self) -> str:
        value, low, high = (f"{v:.4f}" if np.isfinite(v) else "–" for v in (self.value, self.low, self.high))
        return f"| {self.name} | {value} [{low}, {high}] |"


def check(
    calibration: Calibration,
    ensemble: Ensemble,
    samples: Sequence[Sample],
    *,
    progress: Progress = lambda done, total: None,
) -> list[Figure]:
    """What `calibration` is worth on other samples, usually the test split: the figures in the order of the report.

    The Dice that trust is measured against is that of the masks as a user gets them, on the image's own grid after
    clean-up; pixels count as in calibration. Raises ReadError for a sample that cannot be read.
    """
    observations, true_dice = [], []

    def look(sample: Sample) -> tuple[Observation, float, int]:
        image, truth = sample.read(ensemble.config.labels)
        prediction = ensemble.predict(image)
        observed = observation(sample, ensemble.config.task, prediction.members, truth)
        return observed, float(np.mean(dice(prediction.masks, truth))), image.pixels.nbytes

    looks = mapped(look, samples, lambda looked: looked[2], ensemble.at_once)
    for done, (observed, value, _) in enumerate(looks, start=1):
        observations.append(observed)
        true_dice.append(value)
        progress(done, len(samples))
    held = with_own_weights(ensemble, observations)
    cases = [item.case for item in held]
    figures = _trust_figures(calibration.trust, held, np.array(true_dice), cases) if calibration.trust else []
    for bounds in calibration.bounds:
        figures += _conformal_figures(bounds, held, cases)
    before, after = (tables_of(held, [temperature] * len(held)) for temperature in (1.0, calibration.temperature))
    for where, index in (("all pixels", 0), ("band", 1)):
        for name, measure in (("ECE", ece), ("Brier", brier)):
            for when, tables in (("before", before), ("after", after)):
                figures.append(_table_figure(f"{name} {when}, {where}", measure, tables[index], cases))
    return figures


def report(figures: Sequence[Figure]) -> str:
    """The figures as a Markdown table."""
    return "\n".join(["| | value [95 % by case] |", "|---|---|", *map(str, figures)])


def _trust_figures(
    model: TrustModel, held: Sequence[HeldOut], true: Float64[np.ndarray, "n"], cases: Sequence[str]
) -> list[Figure]:
    judged = [_judge(model, item) for item in held]
    predicted, low, high = np.array([(trust.dice, trust.low, trust.high) for trust in judged]).T
    flagged = np.array([trust.look_yourself for trust in judged])
    failed = true < FAILURE
    rows = f"{np.count_nonzero(failed)} of {len(true)}"
    statistics: dict[str, Callable[[np.ndarray], float]] = {
        "rank correlation of predicted and true Dice": lambda i: spearman(predicted[i], true[i]),
        f"AUROC for Dice < {FAILURE:g} ({rows})": lambda i: auroc(-predicted[i], failed[i]),
        "error of the predicted Dice, mean": lambda i: float(np.abs(predicted - true)[i].mean()),
        "90 % interval: coverage": lambda i: float(((low <= true) & (true <= high))[i].mean()),
        "90 % interval: mean width": lambda i: float((high - low)[i].mean()),
        "to look at yourself": lambda i: float(flagged[i].mean()),
        f"to look at yourself, of Dice < {FAILURE:g}": lambda i: _mean(flagged[i][failed[i]]),
    }
    return [_figure(name, statistic, cases) for name, statistic in statistics.items()]


def _judge(model: TrustModel, item: HeldOut) -> Trust:
    return model.judge(agreement(item.observation.stack, item.observation.task), empty=not item.masks.any())


def _conformal_figures(bounds: Bounds, held: Sequence[HeldOut], cases: Sequence[str]) -> list[Figure]:
    rows = np.array([_conformal_losses(bounds, item) for item in held]).T
    names = ("missed by the outer mask", "false in the inner mask", "area of outer / mask", "area of inner / mask")
    return [
        _figure(f"alpha {bounds.alpha:g}: {name}", partial(_mean_of, row), cases)
        for name, row in zip(names, rows, strict=True)
    ]


def _conformal_losses(bounds: Bounds, item: HeldOut) -> tuple[float, float, float, float]:
    """Means over labels; nan where no label is there to be missed, or no mask to compare areas with."""
    inner, outer = inner_outer(item.probabilities, item.masks, bounds)
    true, area, inner_area, outer_area = (
        planes.sum(axis=(1, 2)).astype(float) for planes in (item.truth, item.masks, inner, outer)
    )
    missed = (item.truth & ~outer).sum(axis=(1, 2))
    false = (inner & ~item.truth).sum(axis=(1, 2))
    return (
        _mean(missed[true > 0] / true[true > 0]),
        float(np.mean(false / np.maximum(inner_area, 1))),
        _mean(outer_area[area > 0] / area[area > 0]),
        _mean(inner_area[area > 0] / area[area > 0]),
    )


def _figure(name: str, statistic: Callable[[np.ndarray], float], cases: Sequence[str]) -> Figure:
    return Figure(name, statistic(np.arange(len(cases))), *interval_by_case(statistic, cases))


def _table_figure(
    name: str, measure: Callable[[Table], float], tables: Sequence[Table], cases: Sequence[str]
) -> Figure:
    return _figure(name, lambda rows: measure(pool([tables[row] for row in rows])), cases)


def _mean_of(values: np.ndarray, rows: np.ndarray) -> float:
    return _mean(values[rows])


def _mean(values: np.ndarray) -> float:
    """The mean of what is not nan; nan where there is nothing."""
    known = values[~np.isnan(values)] if values.dtype == float else values
    return float(known.mean()) if known.size else np.nan
