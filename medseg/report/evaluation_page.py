"""report.html: the report of `evaluate` as one page that needs no other file, no script and no network."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import groupby
from typing import Any

from medseg.evaluation.conventions import CONVENTIONS
from medseg.evaluation.evaluate import ENSEMBLE
from medseg.evaluation.rows import EMPTY, PRIOR
from medseg.inference.record import versions
from medseg.report.evaluation_images import Shown
from medseg.report.evaluation_table import baseline_of, figures, scored, stamp
from medseg.report.html import render

_METRICS = {
    "dice": "Dice",
    "iou": "IoU",
    "hd95_px": "HD95, px",
    "hd95_mm": "HD95, mm",
    "surface_dice_2mm": "surface Dice, 2 mm",
}
_KINDS = {
    "per_image_all": "Mean per image",
    "per_image_positives": "Mean per image with a finding",
    "per_case_all": "Mean per case, the pixels of its images pooled",
    "pooled_all": "Pixels of all images pooled",
    "pooled_positives": "Pixels of all images with a finding pooled",
}
_STYLE_OF = {ENSEMBLE: "chosen", EMPTY: "baseline", PRIOR: "baseline"}


@dataclass(frozen=True)
class Row:
    """A row of a table: its cells, in CSS its `kind`, and the Dice that is drawn as a bar (positions in percent)."""

    name: str
    cells: list[dict[str, Any] | None]
    kind: str = ""
    stamp: str = ""
    bar: dict[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Table:
    """Estimates, with the columns that any row has."""

    heads: list[str]
    rows: list[Row]
    protocol: str = ""


def page(report: dict[str, Any], shown: Sequence[Shown], facts: Mapping[str, str]) -> str:
    """The page on a `report` of `evaluate` with the images `shown`; `facts` are more lines on what was evaluated."""
    return render(
        "evaluation",
        title=f"{report['ensemble']} on the {report['split']} split",
        facts=_facts(report, facts),
        sections=[{"label": label, "tables": _tables(report, label)} for label in report["rows"][EMPTY]],
        conventions=CONVENTIONS.items(),
        groups={group: list(images) for group, images in groupby(shown, lambda image: image.group)},
    )


def _facts(report: dict[str, Any], facts: Mapping[str, str]) -> list[tuple[str, str]]:
    members = zip(report["member_names"], report["members"], report["weights"], strict=True)
    return [
        *facts.items(),
        ("Images", f"{report['n']} of {report['cases']} cases; split {report['split_sha256']}"),
        *[("Member", f"{name}, weight {_weight(weight)}, {sha256}") for name, sha256, weight in members],
        *[("Left out", reason) for reason in report["left_out"]],
        *[("Doubt", sentence) for sentence in report.get("doubts", ())],
        *([("Stacker", report["stacker"])] if report["stacker"] else []),
        ("Chosen", f"{report['blend']}, threshold {report['threshold']:g}"),
        ("Protocol", report["protocol"]),
        ("Versions", ", ".join(f"{name} {version}" for name, version in versions().items())),
    ]


def _weight(weight: float | Sequence[float]) -> str:
    return " / ".join(f"{value:.3g}" for value in (weight if isinstance(weight, Sequence) else [weight]))


def _tables(report: dict[str, Any], label: str) -> Iterator[tuple[str, Table]]:
    """Each table of a label under its heading."""
    for kind, heading in _KINDS.items():
        n, whole = scored(report, label, kind), scored(report, label, "per_image_all")
        if kind in ("per_image_all", "pooled_all") or 0 < n < whole:  # the same where every image has a finding
            yield f"{heading}, n = {n}", _scores(report, label, kind)
    differences = {name: {"Dice, mean per image": labels[label]} for name, labels in report["differences"].items()}
    yield "Differences, paired by image", _table(differences, signed=True)
    if label in report["contributions"]:
        worth = report["contributions"][label]
        yield "What each member is worth", _table(worth["members"], signed=True, protocol=worth["protocol"])
    yield "The same predictions, as others count", _table(report["conventions"][label])


def _scores(report: dict[str, Any], label: str, kind: str) -> Table:
    """The rows of the report with a bar each, stamped where they do not exceed their baseline."""
    scores = {row: labels[label][kind] for row, labels in report["rows"].items()}
    baseline = baseline_of({row: estimates["dice"]["mean"] for row, estimates in scores.items()})
    plain = _table(scores)
    rows = [
        Row(
            row.name,
            row.cells,
            _STYLE_OF.get(row.name, ""),
            stamp(report, row.name, label, kind),
            _bar(scores[row.name]["dice"], baseline),
        )
        for row in plain.rows
    ]
    return Table(["", "Dice; dashed: the baseline", *plain.heads[1:]], rows)


def _table(rows: Mapping[str, Mapping[str, Any]], *, signed: bool = False, protocol: str = "") -> Table:
    """Estimates, one row for each name, with all columns that any of them has."""
    columns = list(dict.fromkeys(column for estimates in rows.values() for column in estimates))
    heads = ["", *[_METRICS.get(name, name) for name in columns]]
    lines = [Row(name, [_cell(row.get(column), signed) for column in columns]) for name, row in rows.items()]
    return Table(heads, lines, protocol)


def _cell(estimate: dict[str, Any] | None, signed: bool) -> dict[str, Any] | None:
    """A mean, its interval, and how many infinite distances it leaves out."""
    if estimate is None:
        return None
    mean, low, high = figures(estimate, signed=signed)
    return {"mean": mean, "low": low, "high": high, "infinite": estimate["infinite"]}


def _bar(dice: Mapping[str, Any], baseline: float) -> dict[str, float]:
    """Mean, interval and baseline as percentages of the line from 0 to 1."""
    values = {name: dice["mean"] if dice[name] is None else dice[name] for name in ("mean", "low", "high")}
    return {name: 100 * value for name, value in {**values, "baseline": baseline}.items()}
