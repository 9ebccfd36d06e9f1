"""The report of `evaluate` as a Markdown table and as csv."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from medseg.data.manifest import Sample
from medseg.evaluation.evaluate import ENSEMBLE
from medseg.evaluation.rows import EMPTY, PRIOR, Evaluation
from medseg.report import words
from medseg.report.csv import write_csv

_PER_LESION = {"recall": "recall", "f1": "F1", "false_per_image": "false findings an image"}


def table(report: dict[str, Any], label: str) -> str:
    """The report's main figures for one label as a Markdown table. Images with a finding have a column of their own
    where there are others, and cases (patients, sequences) where they have several images."""
    columns = _columns(report, label)
    lines = [f"| | {' | '.join(columns)} |", "|---" * (len(columns) + 1) + "|"]
    for row, labels in report["rows"].items():
        cells = [_cell(labels[label][kind][metric]) for kind, metric in columns.values()]
        lines.append(f"| {cell_text(row)}{stamp(report, row, label)} | {' | '.join(cells)} |")
    for name, labels in report["differences"].items():
        lines.append(f"| {cell_text(name)} | {_cell(labels[label], signed=True)} |{' |' * (len(columns) - 1)}")
    return "\n".join(lines)


def lesion_table(report: dict[str, Any], label: str) -> tuple[str, str]:
    """A heading, and each row's figures per lesion as a Markdown table; "" where the truth and all rows hold none."""
    counts = report.get("lesions", {}).get(label)
    if not counts or not counts["lesions"]:
        return "", ""
    columns = [(criterion, metric) for criterion in ("any overlap", "IoU ≥ 0.5") for metric in _PER_LESION]
    lines = [f"| | {' | '.join(f'{_PER_LESION[metric]}, {criterion}' for criterion, metric in columns)} |"]
    lines.append("|---" * (len(columns) + 1) + "|")
    for row, criteria in counts["rows"].items():
        cells = [_cell(criteria[criterion][metric]) for criterion, metric in columns]
        lines.append(f"| {cell_text(row)} | {' | '.join(cells)} |")
    return f"Per lesion, {counts['lesions']} lesions in the truth", "\n".join(lines)


def comparison_table(report: dict[str, Any], label: str) -> tuple[str, str]:
    """A heading, and the order of the rows with the share of resamples that agree, then every difference with its
    corrected interval; "" for fewer than two rows."""
    if not report.get("comparison"):
        return "", ""
    comparison = report["comparison"]["labels"][label]
    lines = ["| | rank | 95 % of resamples | first in |", "|---|---|---|---|"]
    for row, place in sorted(comparison["ranks"].items(), key=lambda entry: entry[1]["rank"]):
        share = "–" if place["first"] is None else f"{place['first']:.0%}"
        lines.append(f"| {cell_text(row)} | {place['rank']:g} | {_range(place)} | {share} |")
    lines += ["", "| Dice, paired; intervals and p corrected by Holm | | p |", "|---|---|---|"]
    for name, pair in comparison["pairs"].items():
        p = "–" if pair["p"] is None else f"{pair['p']:.3f}"
        lines.append(f"| {cell_text(name)} | {_cell(pair, signed=True)} | {p} |")
    return "Compared", "\n".join(lines)


def selective_table(report: dict[str, Any]) -> tuple[str, str]:
    """A heading, and what is left when the least trusted masks are looked at; "" where nothing says which these are."""
    summary = report.get("selective")
    if not summary:
        return "", ""
    lines = ["| least trusted, looked at | Dice of what is left |", "|---|---|"]
    lines += [f"| {share} | {_cell(estimate)} |" for share, estimate in summary["left"].items()]
    areas = ", ".join(f"{name} {summary[key]['mean']:.4f}" for name, key in _AREAS.items())
    return f"Which masks to look at, by {summary['score']}", "\n".join(
        [*lines, "", f"Area under risk and coverage: {areas}."]
    )


_AREAS = {"this": "aurc", "an oracle": "oracle", "chance": "random"}


def group_tables(report: dict[str, Any], label: str) -> list[tuple[str, str]]:
    """For each column a heading, and the Dice of every group and row with the gap between the best and the worst."""
    tables = []
    for column, summary in report.get("subgroups", {}).items():
        names = [cell_text(group_words(name, group)) for name, group in summary["groups"].items()]
        lines = [f"| Dice, mean per image | {' | '.join(names)} | gap | p |", "|---" * (len(names) + 3) + "|"]
        for row, values in summary["labels"][label].items():
            cells = [_cell(values["groups"][name]["dice"]) for name in summary["groups"]]
            gap, p = gap_words(values["gap"])
            lines.append(f"| {cell_text(row)} | {' | '.join(cells)} | {cell_text(gap)} | {p} |")
        unknown = f", {summary['unknown']} images in none" if summary["unknown"] else ""
        tables.append((f"By {column}{unknown}", "\n".join(lines)))
    return tables


def robustness_table(report: dict[str, Any]) -> tuple[str, str]:
    """A heading, and the Dice of the ensemble with its gain at every strength of every kind of damage; "" without."""
    summary = report.get("robustness")
    if not summary:
        return "", ""
    lines = ["| damage | strength | Dice of the ensemble | gain over the best single |", "|---|---|---|---|"]
    for kind, strengths in summary["kinds"].items():
        for strength, values in strengths.items():
            dice, gain = values["rows"][ENSEMBLE], values["gain"]
            lines.append(f"| {kind} | {strength} | {_cell(dice)} | {_cell(gain, signed=True)} |")
    return f"Under damage: {summary['protocol']}", "\n".join(lines)


def cell_text(text: str) -> str:
    """Anybody's name in a cell of a Markdown table: a bar or a line break would end the cell."""
    return " ".join(text.replace("|", "\\|").splitlines())


def group_words(name: str, group: dict[str, Any]) -> str:
    """A group with its size; too few cases for an interval are said."""
    return f"{name} (n = {group['n']} of {group['cases']} cases{', too few' if group['small'] else ''})"


def gap_words(gap: dict[str, Any] | None) -> tuple[str, str]:
    """The gap with its groups and interval, and its p."""
    if gap is None:
        return "–", "–"
    return f"{gap['best']} − {gap['worst']}: {_cell(gap, signed=True)}", f"{gap['p']:.3f}"


def _range(place: dict[str, Any]) -> str:
    return "–" if place["low"] is None else f"{place['low']:g} to {place['high']:g}"


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
    mean, low, high = (_number(estimate[name], signed) for name in ("mean", "low", "high"))
    return mean, low, high


def _number(value: float | None, signed: bool) -> str:
    if value is None:
        return "–"
    digits = 3 if abs(value) < 10 else 1
    return words.signed(value, digits) if signed else f"{value:.{digits}f}"


def _cell(estimate: dict[str, float | None], *, signed: bool = False) -> str:
    mean, low, high = figures(estimate, signed=signed)
    return f"{mean} [{low}, {high}]"


def write_scores(scores: Evaluation, samples: Sequence[Sample], path: Path) -> None:
    """One line for each image, row of the report and label, with every metric of the pair; `samples` are those that
    `scores` are of, in their order. A metric that an image lacks (millimetres without spacing) is left empty; the
    distance to an empty mask is inf."""
    every = [(row, label, values) for row, labels in scores.scores.items() for label, values in labels.items()]
    metrics = list(dict.fromkeys(name for _, _, values in every for pair in values for name in pair))
    lines = (
        [
            *(sample.image.name, sample.frame, sample.case, sample.split, row, label),
            *[values[index].get(metric) for metric in metrics],
        ]
        for index, sample in enumerate(samples)
        for row, label, values in every
    )
    write_csv(path, ["image", "frame", "case", "split", "row", "label", *metrics], lines)
