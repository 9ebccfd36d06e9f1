"""report.html: what `evaluate` found, as one page that needs no other file, no script and no network."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from html import escape
from typing import Any

from medseg.evaluation.conventions import CONVENTIONS
from medseg.evaluation.evaluate import EMPTY, ENSEMBLE, PRIOR
from medseg.inference.record import NOTICE, versions
from medseg.report.evaluation_images import Shown
from medseg.report.evaluation_table import figures, stamp
from medseg.report.html import definitions, document

_STYLE = """
tr.chosen { background: var(--band); } tr.chosen th { font-weight: 700; } tr.floor th, .stamp { color: var(--warn); }
svg { width: 9rem; height: 1.1rem; vertical-align: middle; color: var(--mark); }
.triples { display: grid; grid-template-columns: repeat(auto-fill, minmax(min(100%, 30rem), 1fr)); gap: 1rem; }
figure div { display: grid; grid-template-columns: repeat(3, 1fr); gap: 2px; }
@media print { svg { width: 5rem; } }
"""

_METRICS = {
    "dice": "Dice",
    "iou": "IoU",
    "hd95_px": "HD95, px",
    "hd95_mm": "HD95, mm",
    "surface_dice_2mm": "surface Dice, 2 mm",
}
_KINDS = {
    "per_image_all": "Mean per picture",
    "per_image_positives": "Mean per picture with a finding",
    "per_case_all": "Mean per case, the pixels of its pictures pooled",
    "pooled_all": "Pixels of all pictures pooled",
    "pooled_positives": "Pixels of all pictures with a finding pooled",
}


def page(report: dict[str, Any], shown: Sequence[Shown], facts: Mapping[str, str]) -> str:
    """The page on a `report` of `evaluate` with the pictures `shown`; `facts` are more lines of what was evaluated."""
    labels = list(report["rows"][EMPTY])
    title = escape(f"{report['ensemble']} on the {report['split']} split")
    sections = [_section(report, label) for label in labels]
    head = [f'<h1>{title}</h1>\n<p class="notice">{NOTICE}</p>', _facts(report, facts)]
    return document(title, "\n".join([*head, *sections, _legend(), _triples(shown)]), _STYLE)


def _facts(report: dict[str, Any], facts: Mapping[str, str]) -> str:
    members = zip(report["member_names"], report["members"], report["weights"], strict=True)
    lines = [
        *facts.items(),
        ("Pictures", f"{report['n']} of {report['cases']} cases; split {report['split_sha256']}"),
        *[("Member", f"{name}, weight {_weight(weight)}, {sha256}") for name, sha256, weight in members],
        *[("Left out", reason) for reason in report["left_out"]],
        *([("Stacker", report["stacker"])] if report["stacker"] else []),
        ("Chosen", f"{report['blend']}, threshold {report['threshold']:g}"),
        ("Protocol", report["protocol"]),
        ("Versions", ", ".join(f"{name} {version}" for name, version in versions().items())),
    ]
    return definitions(lines)


def _weight(weight: float | Sequence[float]) -> str:
    return " / ".join(f"{value:.3g}" for value in (weight if isinstance(weight, Sequence) else [weight]))


def _section(report: dict[str, Any], label: str) -> str:
    parts = [f"<h2>{escape(label)}</h2>"]
    for kind, heading in _KINDS.items():
        whole = report["rows"][EMPTY][label]["per_image_all"]["dice"]["n"]
        n = report["rows"][EMPTY][label][kind]["dice"]["n"]
        if kind in ("per_image_all", "pooled_all") or 0 < n < whole:  # the same where every picture has a finding
            parts += [f"<h3>{heading}, n = {n}</h3>", _scores(report, label, kind)]
    differences = {name: {"Dice, mean per picture": labels[label]} for name, labels in report["differences"].items()}
    parts += ["<h3>Differences, paired by picture</h3>", _table(differences, signed=True)]
    if label in report["contributions"]:
        worth = report["contributions"][label]
        parts += ["<h3>What each member is worth</h3>", _table(worth["members"], signed=True)]
        parts.append(f'<p class="faint">{escape(worth["protocol"])}</p>')
    parts += ["<h3>The same predictions, as others count</h3>", _table(report["conventions"][label])]
    return "\n".join(parts)


def _legend() -> str:
    """What the conventions are, once for all labels."""
    return definitions(CONVENTIONS.items(), faint=True)


def _scores(report: dict[str, Any], label: str, kind: str) -> str:
    rows = {row: labels[label][kind] for row, labels in report["rows"].items()}
    floor = max(rows[EMPTY]["dice"]["mean"], rows[PRIOR]["dice"]["mean"])
    bars = {row: _bar(metrics["dice"], floor) for row, metrics in rows.items()}
    return _table(rows, bars, {row: stamp(report, row, label, kind) for row in rows})


def _table(
    rows: Mapping[str, Mapping[str, Any]],
    bars: Mapping[str, str] | None = None,
    stamps: Mapping[str, str] | None = None,
    *,
    signed: bool = False,
) -> str:
    """Estimates, one row for each name, with all columns that any of them has."""
    bars, stamps = bars or {}, stamps or {}
    columns = list(dict.fromkeys(column for estimates in rows.values() for column in estimates))
    heads = ["", *(["Dice; dashed: the floor"] if bars else []), *[_METRICS.get(name, name) for name in columns]]
    lines = [
        f'<tr class="{_kind(row)}"><th scope="row">{escape(row)}<span class="stamp">{stamps.get(row, "")}</span></th>'
        + (f"<td>{bars[row]}</td>" if bars else "")
        + "".join(f"<td>{_figure(estimates.get(column), signed)}</td>" for column in columns)
        + "</tr>"
        for row, estimates in rows.items()
    ]
    head = "".join(f'<th scope="col">{escape(name)}</th>' for name in heads)
    return f'<div class="scroll"><table><thead><tr>{head}</tr></thead><tbody>{"".join(lines)}</tbody></table></div>'


def _kind(row: str) -> str:
    return {ENSEMBLE: "chosen", EMPTY: "floor", PRIOR: "floor"}.get(row, "")


def _figure(estimate: dict[str, Any] | None, signed: bool) -> str:
    """A mean over its interval, and over how many infinite distances it leaves out."""
    if estimate is None:
        return "–"
    mean, low, high = figures(estimate, signed=signed)
    left_out = f"<small>{estimate['infinite']:d} infinite</small>" if estimate["infinite"] else ""
    return f"{mean}<small>[{low}, {high}]</small>{left_out}"


def _bar(dice: Mapping[str, Any], floor: float) -> str:
    """Mean and interval on a line from 0 to 1, with the floor dashed."""
    mean, low, high = (100 * (dice["mean"] if dice[k] is None else dice[k]) for k in ("mean", "low", "high"))
    return (
        '<svg viewBox="-2 0 104 12" preserveAspectRatio="none" stroke="currentColor" aria-hidden="true">'
        '<path d="M0 6H100" stroke-width=".4" opacity=".5"/>'
        f'<path d="M{100 * floor:.1f} 0V12" stroke-dasharray="2 1.5" stroke-width=".8"/>'
        f'<path d="M{low:.1f} 6H{high:.1f}" stroke-width="2.5"/><path d="M{mean:.1f} 2V10" stroke-width="1.5"/></svg>'
    )


def _triples(shown: Iterable[Shown]) -> str:
    groups: dict[str, list[str]] = {}
    for one in shown:
        pictures = "".join(
            f'<img src="{uri}" alt="{what}">'
            for uri, what in ((one.picture, "picture"), (one.truth, "truth"), (one.answer, "found"))
        )
        caption = f"{escape(one.name)}: Dice {one.dice:.3f}"
        figure = f"<figure><div>{pictures}</div><figcaption>{caption}</figcaption></figure>"
        groups.setdefault(one.group, []).append(figure)
    parts = ["<h2>Pictures: as given, with the truth, with what the ensemble found</h2>"]
    for group, drawn in groups.items():
        parts.append(f'<h3>{escape(group.capitalize())} by Dice</h3><div class="triples">{"".join(drawn)}</div>')
    return "\n".join(parts)
