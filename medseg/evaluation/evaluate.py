"""Samples × ensemble → scores: every member and every blend, beside baselines that never look at the image."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

from medseg.arrays import Masks, Weight
from medseg.config import Blend
from medseg.data.manifest import Sample
from medseg.errors import InputError
from medseg.evaluation.contributions import Contributions
from medseg.evaluation.rows import EMPTY, PRIOR, Evaluation, plain, plain_estimate
from medseg.evaluation.scoring import Result, Scoring
from medseg.evaluation.selective import Believed
from medseg.inference.ensemble import Ensemble
from medseg.inference.pipeline import mapped
from medseg.inference.prediction import Prediction
from medseg.inference.tta import checked_tta
from medseg.report.words import threshold_words

MEMBER_THRESHOLD = 0.5
EQUAL, ENSEMBLE = "equal weights", "ensemble"
STACKED, WEIGHTED, FLIPPED = "stacked", "chosen weights", "ensemble with flips"
ORACLE = "best single here (an oracle)"
OTHER_BLENDS: tuple[Blend, ...] = ("geometric", "median", "majority vote", "STAPLE")

Progress = Callable[[int, int], None]


def _silent(done: int, total: int) -> None:
    """No progress shown."""


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
    The report holds what `Scoring.result` says; `differences` of the ensemble to the best single member of the fit, to
    equal weights and to the member that is best here; `contributions` of each of several members with their protocol;
    `selective`, what is left when the least trusted masks are looked at.
    Raises InputError without samples, for members whose names do not tell the rows apart, or for `tta` with networks
    that are `upright`; ReadError for a sample that cannot be read.
    """
    _check(ensemble, samples)
    checked_tta(tta, ensemble.upright)
    labels = ensemble.config.labels
    scoring = Scoring(labels, training, [*ensemble.names, EQUAL, ENSEMBLE])
    worth = Contributions(ensemble.config, ensemble.weights)

    def predict(sample: Sample) -> tuple[Prediction, Masks]:
        image, truth = sample.read(labels)
        return ensemble.predict(image), truth

    predicted = mapped(predict, samples, lambda pair: pair[0].image.pixels.nbytes, ensemble.at_once)
    believed = Believed(ensemble)
    for done, (sample, (prediction, truth)) in enumerate(zip(samples, predicted, strict=True), start=1):
        worth.add(prediction.members, truth)
        believed.add(prediction)
        rows = ((row, mixed.probabilities, mixed.masks) for row, mixed in _predictions(ensemble, prediction, tta))
        scoring.add(sample, prediction.image, truth, rows)
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
        "protocol": _protocol(ensemble, tta),
        "differences": _differences(ensemble, scoring.scores),
        "selective": believed.summary(scoring.scores, ENSEMBLE),
        "contributions": _contributions(ensemble, worth, scoring.scores),
    }
    return scoring.result(report, [*ensemble.names, ENSEMBLE] if len(ensemble.names) > 1 else [])


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
        f"{fixed} at threshold {MEMBER_THRESHOLD}, {chosen} at {threshold_words(ensemble.config.threshold)}; "
        + (f"TTA (four flips) in the row {FLIPPED} alone" if tta else "no TTA")
    )


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


def _differences(ensemble: Ensemble, collected: Evaluation) -> dict[str, Any]:
    pairs = [(ENSEMBLE, other) for other in (EQUAL, WEIGHTED)]
    if ensemble.config.fitted is not None:
        pairs.insert(0, (ENSEMBLE, ensemble.config.fitted.best_single_member))
    named = {
        f"{row} − {other}": {
            label: plain_estimate(collected.difference(row, other, label)) for label in collected.labels
        }
        for row, other in [*pairs, (FLIPPED, ENSEMBLE)]
        if {row, other} <= collected.scores.keys()
    }
    if len(ensemble.names) > 1:
        named[f"{ENSEMBLE} − {ORACLE}"] = {
            label: plain_estimate(collected.difference(ENSEMBLE, collected.best(ensemble.names, label), label))
            for label in collected.labels
        }
    return named


def _contributions(ensemble: Ensemble, worth: Contributions, collected: Evaluation) -> dict[str, Any]:
    """{label: {"protocol": words, "members": {member: {column: estimate}}}}; empty for a member by itself."""
    if len(ensemble.names) == 1:
        return {}
    baselines = [row for row in (EMPTY, PRIOR) if row in collected.scores]
    best = {label: collected.best(baselines, label) for label in collected.labels}
    dice = {label: [scores["dice"] for scores in collected.scores[row][label]] for label, row in best.items()}
    return {
        label: {"protocol": worth.protocol(best[label]), "members": plain(members)}
        for label, members in worth.summary(ensemble.names, dice, collected.cases).items()
    }
