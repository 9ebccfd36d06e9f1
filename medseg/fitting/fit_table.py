"""A fit in lines: what each choice scores where it was made, and what the nested estimate says of it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import numpy as np

from medseg.arrays import Weight
from medseg.fitting.compare import FEWEST_POSITIVES
from medseg.fitting.fit import FEWEST_CASES, Choice, Fit
from medseg.intervals import FEWEST_CASES as FEWEST
from medseg.report.words import threshold_words
from medseg.scores import Nested, Score

UNSURE_CASES = 30
"""With fewer, chance can put a worse choice ahead: with 12 in 1 of 100 drawn sets by more than 0.02 of Dice
(docs/results.md)."""


def table(fit: Fit, names: Sequence[str], labels: Sequence[str]) -> str:
    """The fit in lines: the score of each choice on the images that it was made on, of each label where there are
    several, then the nested estimate; `names` of the members, and the `labels`."""
    measure = fit.fitted.measure
    choices = dict(zip([*names, "equal", "fitted"], [*fit.singles, fit.equal, fit.fitted], strict=True))
    lines = [f"{measure.metric}, {measure}, each with its best threshold here, or 0.5 where that may be chance:"]
    for name, choice in choices.items():
        at = threshold_words(choice.threshold, ".2f")
        lines.append(f"  {name:28} {choice.mean:.4f}  weights {_two(choice.weights)}  threshold {at}")
    if fit.per_label:
        lines.append(
            f"  {'per label':28} {fit.per_label.mean:.4f}  threshold {threshold_words(fit.per_label.threshold, '.2f')}"
        )
        own = zip(labels, np.array(fit.per_label.weights).T, strict=True)
        lines += [f"    {label:33}  weights {_two(weights)}" for label, weights in own]
        choices["per label"] = fit.per_label
    if len(labels) > 1:
        lines += _by_label(choices, labels)
    for label, cases in zip(labels, fit.positives, strict=True):
        if cases < FEWEST_POSITIVES:
            lines.append(f"Warning: {cases} cases show {label}: too few to choose weights or a threshold for it.")
    worse = f"has fitted weight 0: alone it is no better than the baseline ({fit.baseline:.4f})."
    lines += [f"{names[i]} {worse}" for i in fit.broken]
    lines += [f"{names[i]} has fitted weight 0: alone it is far behind the best member." for i in fit.behind]
    lines += _nested_lines(fit.nested)
    if fit.nested and fit.cases < UNSURE_CASES:
        lines.append(
            f"Fewer than {UNSURE_CASES} cases: what is recommended can be chance, and worse than the best member."
        )
    return "\n".join(lines)


def _by_label(choices: Mapping[str, Choice], labels: Sequence[str]) -> list[str]:
    lines = [
        "Of each label, over the images that show it:",
        f"  {'':28} {' '.join(f'{label:>8.8}' for label in labels)}",
    ]
    for name, choice in choices.items():
        values = ("–" if np.isnan(value) else f"{value:.4f}" for value in choice.measure.by_label(choice.counts))
        lines.append(f"  {name:28} {' '.join(f'{value:>8}' for value in values)}")
    return lines


def _nested_lines(nested: Nested | None) -> list[str]:
    if nested is None:
        return [f"Fewer than {FEWEST_CASES} cases: no nested estimate."]
    means = {"best single": nested.best_single, "equal": nested.equal, "fitted": nested.fitted}
    ahead = {"fitted − best single": nested.over_best_single, "fitted − equal": nested.over_equal}
    if nested.single_over_equal:
        ahead["best single − equal"] = nested.single_over_equal
    if nested.per_label and nested.over_shared:
        means["per label"] = nested.per_label
        ahead[f"per label − {nested.shared}"] = nested.over_shared
    how = ", nested cross-validation, with 95 % intervals by case"
    if nested.equal.low is None:
        how = f"; fewer than {FEWEST} cases have no interval"
    lines = [_line(name, value) for name, value in means.items()]
    lines += [_line(name, value, "+") for name, value in ahead.items()]
    lines += [f"{name} drops a label, so it is not recommended." for name in nested.drops]
    return [f"On cases that had no part in the choice{how}:", *lines]


def _two(weights: Iterable[Weight]) -> str:
    return " ".join(f"{weight:.2f}" for weight in weights)


def _line(name: str, score: Score, sign: str = "") -> str:
    value, low, high = ("–" if v is None else f"{v:{sign}.4f}" for v in (score.value, score.low, score.high))
    return f"  {name:28} {value} [{low}, {high}]"
