"""report.html: the report of `evaluate` as one page that needs no other file, no script and no network."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import groupby
from typing import Any

from medseg.evaluation.conventions import CONVENTIONS
from medseg.evaluation.evaluate import ENSEMBLE
from medseg.evaluation.robustness import NONE
from medseg.evaluation.rows import EMPTY, PRIOR
from medseg.inference.record import versions
from medseg.report.evaluation_images import Shown
from medseg.report.evaluation_table import baseline_of, figures, gap_words, group_words, scored, stamp
from medseg.report.html import render
from medseg.report.words import threshold_words

_METRICS = {
    "dice": "Dice",
    "iou": "IoU",
    "hd95_px": "HD95, px",
    "hd95_mm": "HD95, mm",
    "surface_dice_2mm": "surface Dice, 2 mm",
    "f1": "F1",
    "false_per_image": "false findings an image",
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
        title=f"{' and '.join(_names(report))} on the {report['split']} split",
        shown_row="the ensemble" if "ensemble" in report else _names(report)[0],
        facts=_facts(report, facts),
        sections=[{"label": label, "tables": _tables(report, label)} for label in report["rows"][EMPTY]],
        selective=_selective(report.get("selective")),
        damages=list(_damages(report.get("robustness"))),
        damages_protocol=report["robustness"]["protocol"] if report.get("robustness") else "",
        conventions=CONVENTIONS.items(),
        groups={group: list(images) for group, images in groupby(shown, lambda image: image.group)},
    )


def _facts(report: dict[str, Any], facts: Mapping[str, str]) -> list[tuple[str, str]]:
    return [
        *facts.items(),
        ("Images", f"{report['n']} of {report['cases']} cases; split {report['split_sha256']}"),
        *(_models(report) if "ensemble" in report else _predictions(report)),
        *[("Doubt", sentence) for sentence in report.get("doubts", ())],
        ("Protocol", report["protocol"]),
        ("Versions", ", ".join(f"{name} {version}" for name, version in versions().items())),
    ]


def _names(report: dict[str, Any]) -> list[str]:
    return [report["ensemble"]] if "ensemble" in report else [entry["name"] for entry in report["predictions"]]


def _models(report: dict[str, Any]) -> list[tuple[str, str]]:
    members = zip(report["member_names"], report["members"], report["weights"], strict=True)
    return [
        *[("Member", f"{name}, weight {_weight(weight)}, {sha256}") for name, sha256, weight in members],
        *[("Left out", reason) for reason in report["left_out"]],
        *([("Stacker", report["stacker"])] if report["stacker"] else []),
        ("Chosen", f"{report['blend']}, threshold {threshold_words(report['threshold'])}"),
    ]


def _predictions(report: dict[str, Any]) -> list[tuple[str, str]]:
    return [
        ("Model", f"{entry['name']}: {entry['form']} of {entry['images']} images") for entry in report["predictions"]
    ]


def _weight(weight: float | Sequence[float]) -> str:
    return " / ".join(f"{value:.3g}" for value in (weight if isinstance(weight, Sequence) else [weight]))


def _tables(report: dict[str, Any], label: str) -> Iterator[tuple[str, Table]]:
    """Each table of a label under its heading."""
    for kind, heading in _KINDS.items():
        n, whole = scored(report, label, kind), scored(report, label, "per_image_all")
        if kind in ("per_image_all", "pooled_all") or 0 < n < whole:  # the same where every image has a finding
            yield f"{heading}, n = {n}", _scores(report, label, kind)
    yield from _lesion_tables(report["lesions"][label])
    differences = {name: {"Dice, mean per image": labels[label]} for name, labels in report["differences"].items()}
    if differences:
        yield "Differences, paired by image", _table(differences, signed=True)
    yield from _groups(report.get("subgroups", {}), label)
    if report["comparison"]:
        yield from _comparison(report["comparison"]["labels"][label], report["comparison"]["protocol"])
    if label in report["contributions"]:
        worth = report["contributions"][label]
        yield "What each member is worth", _table(worth["members"], signed=True, protocol=worth["protocol"])
    yield "The same predictions, as others count", _table(report["conventions"][label])


def _lesion_tables(counts: dict[str, Any]) -> Iterator[tuple[str, Table]]:
    """The figures per lesion: by criterion, by size, and by threshold."""
    if not counts["lesions"]:
        return
    for place, criterion in enumerate(next(iter(counts["rows"].values()))):
        rows = {row: criteria[criterion] for row, criteria in counts["rows"].items()}
        heading = f"Per lesion, matched by {criterion}, {counts['lesions']} lesions"
        yield heading, _table(rows, protocol="" if place else counts["protocol"])
    sizes = {
        row: {size: values["recall"] for size, values in by_size.items()} for row, by_size in counts["sizes"].items()
    }
    if any(sizes.values()):
        yield "Recall of lesions by size", _table(sizes)
    if any(counts["froc"].values()):
        points = {
            row: {f"{at['threshold']:g}": _froc_cell(at) for at in curve} for row, curve in counts["froc"].items()
        }
        heads = ["FROC: threshold", *next(iter(points.values()))]
        yield "Recall / false findings an image", Table(heads, [Row(row, [*at.values()]) for row, at in points.items()])


def _froc_cell(at: dict[str, float]) -> dict[str, Any]:
    return _plain_cell(f"{at['recall']:.2f} / {at['false_per_image']:.2f}")


def _groups(subgroups: dict[str, Any], label: str) -> Iterator[tuple[str, Table]]:
    """For each column and row the groups with every metric, the Dice drawn, and the gap."""
    for column, summary in subgroups.items():
        names = [group_words(name, group) for name, group in summary["groups"].items()]
        for row, values in summary["labels"][label].items():
            metrics = list(values["groups"].values())
            plain = _table(dict(zip(names, metrics, strict=True)))
            worst = min(group["dice"]["mean"] for group in metrics)
            drawn = zip(plain.rows, metrics, strict=True)
            rows = [Row(line.name, line.cells, bar=_bar(group["dice"], worst)) for line, group in drawn]
            gap, p = gap_words(values["gap"])
            protocol = (
                f"Gap in Dice: {gap}; p {p}, by dealing the groups anew. In no group: {summary['unknown']} images."
            )
            yield f"{row}, by {column}", Table(["", "Dice; dashed: the worst", *plain.heads[1:]], rows, protocol)


def _selective(summary: dict[str, Any] | None) -> dict[str, Any] | None:
    """The table of what is left, and the curves as points of a 100 × 100 drawing, the largest risk at its top."""
    if not summary:
        return None
    top = max(risk for curve in (summary["curve"], summary["oracle_curve"]) for _, risk in curve) or 1.0
    rows = [Row(f"{share} looked at", [_cell(estimate, False)]) for share, estimate in summary["left"].items()]
    rows += [Row(f"AURC, {name}", [_cell(summary[key] | {"infinite": 0}, False)]) for name, key in _AREAS.items()]
    return {
        "table": Table(["", "Dice of what is left; area under risk and coverage"], rows, f"By {summary['score']}."),
        "top": f"{top:.2f}",
        "curves": {
            name: " ".join(f"{100 * coverage:.1f},{100 - 100 * risk / top:.1f}" for coverage, risk in summary[key])
            for name, key in (("this", "curve"), ("an oracle", "oracle_curve"))
        },
        "chance": 100 - 100 * min(1.0, summary["random"]["mean"] / top),
    }


def _damages(summary: dict[str, Any] | None) -> Iterator[dict[str, Any]]:
    """For each kind of damage a table of the rows at every strength, the gain below, and the Dice as lines of a 100 ×
    100 drawing, from no damage to the strongest; the last line is the ensemble's."""
    if not summary:
        return
    clean = summary["kinds"][NONE]["0"]
    for kind, strengths in summary["kinds"].items():
        if kind == NONE:
            continue
        columns = {"0": clean, **strengths}
        rows = {row: {strength: values["rows"][row] for strength, values in columns.items()} for row in clean["rows"]}
        table = _table(rows)
        gain = Row("gain", [_cell(values["gain"], True) for values in columns.values()], "chosen")
        lines = [" ".join(map(_point, range(6), by_strength.values())) for by_strength in rows.values()]
        yield {"kind": kind, "table": Table([kind, *table.heads[1:]], [*table.rows, gain]), "lines": lines}


def _point(place: int, estimate: dict[str, Any]) -> str:
    return f"{20 * place},{100 - 100 * estimate['mean']:.1f}"


_AREAS = {"this": "aurc", "an oracle": "oracle", "chance": "random"}


def _comparison(comparison: dict[str, Any], protocol: str) -> Iterator[tuple[str, Table]]:
    """The order of the rows and how far it holds, then every difference."""
    rows = [
        Row(
            row,
            [
                _plain_cell(f"{place['rank']:g}"),
                _plain_cell("–" if place["low"] is None else f"{place['low']:g} to {place['high']:g}"),
                _plain_cell("–" if place["first"] is None else f"{place['first']:.0%}"),
            ],
        )
        for row, place in sorted(comparison["ranks"].items(), key=lambda entry: float(entry[1]["rank"]))
    ]
    yield "Ranks by Dice", Table(["", "Rank", "95 % of resamples", "First in"], rows, protocol)
    pairs = [
        Row(name, [_cell(pair, True), _plain_cell("–" if pair["p"] is None else f"{pair['p']:.3f}")])
        for name, pair in comparison["pairs"].items()
    ]
    yield "Every two compared", Table(["", "Dice, paired", "p, corrected"], pairs, protocol)


def _plain_cell(text: str) -> dict[str, Any]:
    return {"mean": text, "low": None, "high": None, "infinite": 0}


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
