"""The report of `evaluate` as a Markdown table and as csv."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from medseg.data.samples import Sample
from medseg.evaluation.rows import EMPTY, PRIOR, Evaluation
from medseg.report.csv import write_csv


def table(report: dict[str, Any], label: str) -> str:
    """The report's main figures for one label as a Markdown table. Images with a finding have a column of their own
    where there are others, and cases (patients, sequences) where they have several images."""
    columns = _columns(report, label)
    lines = [f"| | {' | '.join(columns)} |", "|---" * (len(columns) + 1) + "|"]
    for row, labels in report["rows"].items():
        cells = [_cell(labels[label][kind][metric]) for kind, metric in columns.values()]
        lines.append(f"| {row}{stamp(report, row, label)} | {' | '.join(cells)} |")
    for name, labels in report["differences"].items():
        lines.append(f"| {name} | {_cell(labels[label], signed=True)} |{' |' * (len(columns) - 1)}")
    return "\n".join(lines)


def _columns(report: dict[str, Any], label: str) -> dict[str, tuple[str, str]]:
    n = {kind: scored(report, label, kind) for kind in report["rows"][EMPTY][label]}
    whole = n["per_image_all"]
    columns = {"Dice, mean per image": ("per_image_all", "dice"), "IoU, mean per image": ("per_image_all", "iou")}
    if 0 < n.get("per_image_positives", whole) < whole:
        columns["Dice, per image with a finding"] = ("per_image_positives", "dice")
    if n.get("per_case_all", whole) < whole:  # a report of before knows none
        columns["Dice, mean per case"] = ("per_case_all", "dice")
    return columns | {"Dice, pooled": ("pooled_all", "dice"), "IoU, pooled": ("pooled_all", "iou")}


def scored(report: dict[str, Any], label: str, kind: str) -> int:
    """How many images (or cases) the figures of a kind stand for; 0 where a label has no image with a finding."""
    estimates = report["rows"][EMPTY][label][kind]
    return int(estimates["dice"]["n"]) if "dice" in estimates else 0


def baseline_of(dice: dict[str, Any]) -> float:
    """The better of the baselines that a report has: it lacks the location prior where there was no training image."""
    return float(max(dice[row] for row in (EMPTY, PRIOR) if row in dice))


def stamp(report: dict[str, Any], row: str, label: str, kind: str = "per_image_all") -> str:
    """ " (under the baseline)" or " (at the baseline)" for a row whose Dice of that kind does not exceed that of the
    better baseline; else, and for the baselines themselves, nothing."""
    dice = {name: labels[label][kind]["dice"]["mean"] for name, labels in report["rows"].items()}
    baseline = baseline_of(dice)
    if row in (EMPTY, PRIOR) or dice[row] > baseline:
        return ""
    return " (at the baseline)" if dice[row] == baseline else " (under the baseline)"


def figures(estimate: dict[str, float | None], *, signed: bool = False) -> tuple[str, str, str]:
    """Mean, low and high with a dash for what is not known: three decimals, of distances from 10 on one."""
    mean, low, high = (_number(estimate[name], "+" if signed else "") for name in ("mean", "low", "high"))
    return mean, low, high


def _number(value: float | None, sign: str) -> str:
    if value is None:
        return "–"
    return f"{value:{sign}.3f}" if abs(value) < 10 else f"{value:{sign}.1f}"


def _cell(estimate: dict[str, float | None], *, signed: bool = False) -> str:
    mean, low, high = figures(estimate, signed=signed)
    return f"{mean} [{low}, {high}]"


def write_scores(found: Evaluation, samples: Sequence[Sample], path: Path) -> None:
    """One line for each image, row of the report and label, with every metric of the pair; `samples` are those that
    `found` scored, in their order. A metric that an image lacks (millimetres without spacing) is left empty; the
    distance to an empty mask is inf."""
    scores = [(row, label, values) for row, labels in found.scores.items() for label, values in labels.items()]
    metrics = list(dict.fromkeys(name for _, _, values in scores for pair in values for name in pair))
    lines = (
        [
            *(sample.image.name, sample.frame, sample.case, sample.split, row, label),
            *[values[index].get(metric) for metric in metrics],
        ]
        for index, sample in enumerate(samples)
        for row, label, values in scores
    )
    write_csv(path, ["image", "frame", "case", "split", "row", "label", *metrics], lines)
