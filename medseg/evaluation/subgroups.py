"""The same scores by site, scanner, sex, size …: any column of a csv or of the manifest."""

from __future__ import annotations

import csv
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from medseg.data.layouts.tables import read_rows
from medseg.data.listing import stem_of
from medseg.data.manifest import Sample, read_json
from medseg.errors import InputError
from medseg.evaluation.rows import Evaluation, plain
from medseg.intervals import FEWEST_CASES, interval_by_case
from medseg.metrics import summarise

MOST_GROUPS = 6
"""Distinct numbers in a column; with more, its values are cut into thirds."""

PERMUTATIONS = 1000
_UNKNOWN = {"", "nan", "na", "n/a", "#n/a", "null", "-", "?", "unknown"}


def read_groups(samples: Sequence[Sample], column: str, place: Path) -> list[str | None]:
    """The group of each sample: what the `column` says of it in a csv or in medseg's manifest, at `place`; None where
    nothing is said.

    A row belongs to a sample by its file name, with or without ending and folders, or by its case: by that column which
    names the most samples, so that an age of 7 is no image 7. What two rows say otherwise is as unknown as what none
    says. Numbers of more than MOST_GROUPS values become thirds. Raises InputError where the column is not there, or no
    row matches.
    """
    rows = _rows(place)
    if not any(column in row for row in rows):
        names = ", ".join(dict.fromkeys(name for row in rows for name in row))
        raise InputError(f"{place.name} has no column {column!r}; there are {names or 'none'}.")
    said: dict[str, dict[str, set[str]]] = {}
    for row in rows:
        value = "" if row.get(column) is None else str(row[column]).strip()  # of a short row None
        if value.casefold() not in _UNKNOWN:
            for name, cell in row.items():
                if name != column and (key := _key(cell)):
                    said.setdefault(name, {}).setdefault(key, set()).add(value)
    tried = [[table.get(key(sample), set()) for sample in samples] for key in _KEYS for table in said.values()]
    values = max(tried, key=lambda of: sum(map(bool, of)), default=[])
    if not any(values):
        raise InputError(f"{place.name} names none of the images, nor their cases, beside its column {column!r}.")
    return _in_thirds([next(iter(of)) if len(of) == 1 else None for of in values])


def place_of(data: Path, column: str) -> Path:
    """Where a `column` stands that is asked for without a file: the manifest, or the only csv in the folder of the data
    that has it. Raises InputError where none or several have."""
    tables = [data] if data.is_file() else sorted(data.glob("*.csv"))
    having = [table for table in tables if any(column in row for row in _rows(table))]
    if len(having) != 1:
        raise InputError(f"{len(having)} tables in {data.name} have a column {column!r}: name one with --groups.")
    return having[0]


def _rows(place: Path) -> list[Mapping[str, Any]]:
    try:
        if place.suffix.lower() == ".json":
            return [entry for entry in read_json(place)["samples"] if isinstance(entry, dict)]
        return [*read_rows(place)]
    except (OSError, ValueError, KeyError, TypeError, csv.Error):
        raise InputError(f"{place} is neither a csv nor a manifest: name one with --groups.") from None


def _key(cell: Any) -> str:
    return stem_of(Path(str(cell).replace("\\", "/"))).casefold() if isinstance(cell, str | int) else ""


_KEYS: tuple[Callable[[Sample], str], ...] = (
    lambda sample: _key(sample.image.name),
    lambda sample: sample.case.casefold(),
    lambda sample: _key(sample.case),
)


def _in_thirds(groups: Sequence[str | None]) -> list[str | None]:
    try:
        numbers = [None if group is None else float(group.replace(",", ".")) for group in groups]
    except ValueError:
        return list(groups)
    there = np.array([number for number in numbers if number is not None])
    if len(np.unique(there)) <= MOST_GROUPS or not np.isfinite(there).all():
        return list(groups)
    low, high = np.quantile(there, [1 / 3, 2 / 3], method="lower")
    names = (f"up to {low:g}", f"up to {high:g}", f"above {high:g}")
    return [None if number is None else names[int(number > low) + int(number > high)] for number in numbers]


def _order(name: str) -> tuple[float, bool, str]:
    """By the number at the end, so that 2 comes before 10, and thirds as they rise."""
    number = re.search(r"-?\d+(\.\d+)?$", name.replace(",", "."))
    return float(number[0]) if number else -np.inf, name.startswith("above "), name


def summarise_groups(scores: Evaluation, rows: Sequence[str], groups: Sequence[str | None]) -> dict[str, Any]:
    """{"groups": {group: {"n", "cases", "small"}}, "unknown": n, "labels": {label: {row: {"groups": {group: {metric:
    estimate}}, "gap": …}}}} of the `rows`, means per image.

    A group of fewer than FEWEST_CASES cases is `small`: it has means, and no interval. The `gap` is between the groups
    that are not small with the highest and the lowest mean Dice; `p` is how often groups dealt anew by case differ as
    much, for the extremes of several groups differ by chance alone. None for fewer than two such groups.
    """
    names = sorted({group for group in groups if group is not None}, key=_order)
    members = {name: [i for i, group in enumerate(groups) if group == name] for name in names}
    cases = {name: len({scores.cases[i] for i in images}) for name, images in members.items()}
    large = {name: images for name, images in members.items() if cases[name] >= FEWEST_CASES}
    described = {
        name: {"n": len(images), "cases": cases[name], "small": name not in large} for name, images in members.items()
    }
    labels: dict[str, Any] = {}
    for label in scores.labels:
        labels[label] = {
            row: {
                "groups": {name: _means(scores, row, label, images) for name, images in members.items()},
                "gap": _gap(scores, row, label, large),
            }
            for row in rows
        }
    return {"groups": described, "unknown": sum(group is None for group in groups), "labels": labels}


def _means(scores: Evaluation, row: str, label: str, images: Sequence[int]) -> Any:
    chosen = [scores.scores[row][label][i] for i in images]
    counts = [scores.confusions[row][label][i] for i in images]
    return plain(summarise(chosen, counts, [scores.cases[i] for i in images])["per_image_all"])


def _gap(scores: Evaluation, row: str, label: str, large: Mapping[str, Sequence[int]]) -> dict[str, Any] | None:
    if len(large) < 2:
        return None
    images = np.concatenate([np.array(members) for members in large.values()])
    group = np.repeat(np.arange(len(large)), [len(members) for members in large.values()])
    dice = np.array([scores.scores[row][label][i]["dice"] for i in images])
    cases = [scores.cases[i] for i in images]
    means = _means_of(dice, group, len(large))
    best, worst = int(means.argmax()), int(means.argmin())

    def gap(chosen: np.ndarray) -> float:
        within = _means_of(dice[chosen], group[chosen], len(large))
        return float(within[best] - within[worst])

    low, high = interval_by_case(gap, cases)
    names = list(large)
    mean, p = float(means[best] - means[worst]), _permuted(dice, group, cases, float(np.ptp(means)))
    return {"best": names[best], "worst": names[worst], "mean": mean, "low": low, "high": high, "p": p}


def _means_of(dice: np.ndarray, group: np.ndarray, number: int) -> np.ndarray:
    """nan for a group without images."""
    counts = np.bincount(group, minlength=number)
    return np.where(counts > 0, np.bincount(group, dice, minlength=number) / np.maximum(counts, 1), np.nan)


def _permuted(dice: np.ndarray, group: np.ndarray, cases: Sequence[str], gap: float) -> float:
    """How often groups dealt anew have means that differ by `gap` or more: dealt to the cases, or where a case has
    images of several groups, within each case."""
    _, first, case_of = np.unique(np.asarray(cases, str), return_index=True, return_inverse=True)
    rng, number = np.random.default_rng(0), int(group.max()) + 1
    of_case = group[first]
    apart = [np.flatnonzero(case_of == case) for case in range(len(first))] if (of_case[case_of] != group).any() else []

    def dealt() -> np.ndarray:
        if not apart:
            return np.asarray(rng.permutation(of_case)[case_of])
        again = group.copy()
        for images in apart:
            again[images] = rng.permutation(group[images])
        return again

    reached = sum(np.ptp(_means_of(dice, dealt(), number)) >= gap - 1e-12 for _ in range(PERMUTATIONS))
    return float((reached + 1) / (PERMUTATIONS + 1))
