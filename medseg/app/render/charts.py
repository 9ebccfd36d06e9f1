"""The scores as images: Dice by model, the error map, Dice over the cut-off.

HTML and SVG in the page's own colours, so they are as readable in the dark and on a phone as its text.
"""

from __future__ import annotations

from html import escape
from typing import TYPE_CHECKING

from medseg.app.render import text
from medseg.correct import to_grid
from medseg.fitting.thresholds import THRESHOLDS
from medseg.metrics import confusion
from medseg.overlay import ERRORS, draw_overlay, errors, label_colour
from medseg.report.html import data_uri

if TYPE_CHECKING:
    from medseg.app.state.session import Session
    from medseg.app.state.view_state import ViewState
    from medseg.arrays import Masks

_STYLES = ((2, "7 4"), (3, "2 3"), (4, "10 3 2 3"), (6, "1 5"), (5, "14 4"))
"""(label colour, dashes) of the members' lines, which so differ in more than colour; neither sky blue nor yellow, which
are faint on white."""

_WIDTH, _HEIGHT, _LEFT, _RIGHT, _TOP, _BOTTOM = 480, 280, 36, 12, 28, 38


def draw_table(session: Session, truth: Masks) -> str:
    """Every metric of every label."""
    return text.score_table(session.view_state, session.scores.rows(session.view_state))


def draw_bars(session: Session, truth: Masks) -> str:
    """Dice of the ensemble and of every member, as bars with their numbers."""
    bars = "".join(
        f'<dt>{escape(name)}</dt><dd><i style="width:{row["dice"]:.1%}"></i><b>{row["dice"]:.3f}</b></dd>'
        for name, row in zip(_names(session), _rows(session), strict=True)
    )
    protocol = escape(text.protocol(session.view_state))
    return f'<dl class="bars">{bars}</dl><p>Dice of {escape(session.label)}. {protocol}</p>'


def draw_errors(session: Session, truth: Masks) -> str:
    """The image with hits, false alarms and misses, and how many pixels of its own grid each of them has."""
    view, label = session.view_state.view, session.label
    index = view.labels.index(label)
    counts = confusion(session.view_state.prediction.masks[index], truth[index])
    legend = "".join(
        f'<li><i style="background:rgb{label_colour(number)}"></i>{name}: <b>{count:,} px</b></li>'
        for number, (name, count) in enumerate(zip(ERRORS, (counts.tp, counts.fp, counts.fn), strict=True))
    )
    parts = errors(view.masks[index], to_grid(truth[index], view.image.size))
    address = data_uri(draw_overlay(view.image.pixels, parts, 0.5))
    alt = f"The image with the hits, false alarms and misses of {escape(label)}"
    return f'<figure class="errors"><img alt="{alt}" src="{address}"><ul>{legend}</ul></figure>'


def draw_curve(session: Session, truth: Masks) -> str:
    """Dice over the cut-off for the ensemble and every member, the present threshold marked."""
    view_state, label = session.view_state, session.label
    index, threshold = view_state.prediction.labels.index(label), view_state.prediction.threshold
    threshold = threshold if isinstance(threshold, float) else threshold[index]
    lines, legend = "", ""
    curves = zip(_names(session), _rows(session), session.curves.rows(view_state, truth), strict=True)
    for number, (name, row, dice) in enumerate(curves):
        style, best = _style(number), int(dice[index].argmax())
        points = " ".join(f"{_x(at):.1f},{_y(value):.1f}" for at, value in zip(THRESHOLDS, dice[index], strict=True))
        lines += f'<polyline points="{points}" {style}/>'
        legend += (
            f'<li><svg viewBox="0 0 34 8"><line x1="0" y1="4" x2="34" y2="4" {style}/></svg>'
            f"{escape(name)}: <b>{row['dice']:.3f}</b> now, best {dice[index][best]:.3f} at "
            f"{THRESHOLDS[best]:.2f}</li>"
        )
    return (
        f'<figure class="curve"><svg viewBox="0 0 {_WIDTH} {_HEIGHT}" role="img" aria-label="Dice over the cut-off">'
        f"{_axes(threshold)}{lines}</svg><ul>{legend}</ul></figure><p>Dice of {escape(label)} in this one image at "
        f"{len(THRESHOLDS)} cut-offs{_before_clean_up(view_state)}. One image is no reason to change the cut-off.</p>"
    )


def _before_clean_up(view_state: ViewState) -> str:
    cleanup = view_state.prediction.cleanup
    return ", before the clean-up" if cleanup != type(cleanup)() else ""


def _rows(session: Session) -> list[dict[str, object]]:
    """The score rows of the chosen label, the ensemble's first."""
    return [row for row in session.scores.rows(session.view_state) if row["label"] == session.label]


def _names(session: Session) -> list[str]:
    return ["Ensemble", *text.titles(session.view_state.prediction.member_names)]


def _style(number: int) -> str:
    """Of line `number`: the ensemble's is the page's own ink."""
    if number == 0:
        return 'fill="none" stroke="currentColor" stroke-width="3"'
    colour, dashes = _STYLES[(number - 1) % len(_STYLES)]
    return f'fill="none" stroke="rgb{label_colour(colour)}" stroke-width="2.5" stroke-dasharray="{dashes}"'


def _axes(threshold: float) -> str:
    """Grid, numbers and titles, and the mark of the present threshold."""
    right, bottom = _WIDTH - _RIGHT, _HEIGHT - _BOTTOM
    parts = []
    for tick in (0, 0.25, 0.5, 0.75, 1):
        parts.append(f'<line class="grid" x1="{_LEFT}" x2="{right}" y1="{_y(tick):.1f}" y2="{_y(tick):.1f}"/>')
        parts.append(f'<text x="{_LEFT - 5}" y="{_y(tick) + 4:.1f}" text-anchor="end">{tick:g}</text>')
        parts.append(f'<text x="{_x(tick):.1f}" y="{bottom + 16}" text-anchor="middle">{tick:g}</text>')
    at, side, aside = (_x(threshold), "end", -5) if threshold > 0.5 else (_x(threshold), "start", 5)
    parts.append(f'<line class="now" x1="{at:.1f}" x2="{at:.1f}" y1="{_TOP - 4}" y2="{bottom}"/>')
    parts.append(f'<text x="{at + aside:.1f}" y="{bottom - 6}" text-anchor="{side}">now {threshold:.2f}</text>')
    parts.append(f'<text x="{(_LEFT + right) / 2}" y="{_HEIGHT - 5}" text-anchor="middle">cut-off</text>')
    parts.append('<text x="0" y="13">Dice</text>')
    return "".join(parts)


def _x(threshold: float) -> float:
    return _LEFT + threshold * (_WIDTH - _LEFT - _RIGHT)


def _y(dice: float) -> float:
    return _TOP + (1 - dice) * (_HEIGHT - _TOP - _BOTTOM)
