"""One picture's result as one HTML page: what was found, how sure the models are, and what made it.

The page holds small pictures of the picture itself, so it is as confidential as that.
"""

from __future__ import annotations

from collections.abc import Iterator
from html import escape
from pathlib import Path
from typing import Any

import numpy as np

from medseg.calibration.trust import Trust
from medseg.inference.prediction import Prediction
from medseg.inference.record import NOTICE
from medseg.overlay import add_colour_bar, draw_heatmap, draw_overlay, label_colour
from medseg.report.html import data_uri, definitions, document

LONGEST_SIDE = 640

_STYLE = """
.views { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(100%, 17rem), 1fr)); gap: .8rem; }
.views img { height: 17rem; object-fit: contain; background: #101010; }
.swatch { display: inline-block; width: .8em; height: .8em; margin-right: .5em; border: 1px solid #101010; }
td, th { white-space: normal; } td.hash { overflow-wrap: anywhere; text-align: left; font-size: .8em; }
@media print { .views { grid-template-columns: repeat(4, 1fr); } .views img { height: 4.5cm; }
  h2 { margin-top: 1rem; } }
"""


def write_page(prediction: Prediction, path: Path, trust: Trust | None = None) -> None:
    """Write the page. `trust` is what `medseg.calibration.calibrate.judge` says of this prediction, where it can."""
    report = prediction.report()
    title = escape(f"{report['ensemble']}: one picture")
    sections = [
        f'<h1>{title}</h1>\n<p class="notice">{NOTICE}</p>',
        _found(prediction, report),
        *([] if trust is None else [_trust(trust)]),
        _views(prediction),
        "<h2>Models</h2>",
        _members(report),
        "<h2>Settings and hashes</h2>",
        definitions(_settings(report)),
    ]
    path.write_text(document(title, "\n".join(sections), _STYLE), encoding="utf-8")


def _found(prediction: Prediction, report: dict[str, Any]) -> str:
    """A row for each label: its colour, area and share of the picture."""
    height, width = prediction.image.size
    rows = [
        f'<tr><th scope="row"><span class="swatch" style="background: rgb{label_colour(index)}"></span>'
        f"{escape(label)}</th><td>{_area(area)}</td><td>{area['px'] / (height * width):.1%}</td></tr>"
        for index, (label, area) in enumerate(report["areas"].items())
    ]
    head = '<th scope="col">Found</th><th scope="col">Area</th><th scope="col">Of the picture</th>'
    return f"<table><thead><tr>{head}</tr></thead><tbody>{''.join(rows)}</tbody></table>"


def _area(area: dict[str, float]) -> str:
    if not area["px"]:
        return "nothing found"
    return f"{area['px']:,.0f} px" + (f", {area['mm2']:,.1f} mm²" if "mm2" in area else "")


def _trust(trust: Trust) -> str:
    doubt = " The mask may well be wrong: look yourself." if trust.look_yourself else ""
    return (
        f"<p>Expected Dice {trust.dice:.2f}, with 90 % between {trust.low:.2f} and {trust.high:.2f}, from how far the "
        f"models agree, for pictures like those of the validation split.{doubt}</p>"
    )


def _views(prediction: Prediction) -> str:
    pixels, masks = prediction.image.pixels, prediction.masks
    views = {
        "The picture": draw_overlay(pixels, np.zeros_like(masks)),
        "With what was found": draw_overlay(pixels, masks),
        "Probability, of several labels the largest": add_colour_bar(
            draw_heatmap(prediction.probabilities.max(axis=0), pixels)
        ),
        "Disagreement of the models": add_colour_bar(draw_heatmap(prediction.disagreement, pixels)),
    }
    figures = [
        f'<figure><img src="{data_uri(view, LONGEST_SIDE)}" alt="{name}"><figcaption>{name}</figcaption></figure>'
        for name, view in views.items()
    ]
    return f'<div class="views">{"".join(figures)}</div>'


def _members(report: dict[str, Any]) -> str:
    rows = [
        f'<tr><th scope="row">{escape(member["name"])}</th><td>{_weight(member["weight"])}</td>'
        f'<td class="hash"><code>{member["sha256"]}</code></td></tr>'
        for member in report["members"]
    ]
    head = '<th scope="col">Model</th><th scope="col">Weight</th><th scope="col">sha256 of member.json</th>'
    return f"<table><thead><tr>{head}</tr></thead><tbody>{''.join(rows)}</tbody></table>"


def _weight(weight: float | tuple[float, ...]) -> str:
    return " / ".join(f"{share:.0%}" for share in (weight if isinstance(weight, tuple) else (weight,)))


def _settings(report: dict[str, Any]) -> Iterator[tuple[str, str]]:
    """The report's other entries, one line each, in words where a line has some."""
    image, source = report["image"], report["source"]
    yield "Picture", f"{image['width']} × {image['height']} px, frame {image['frame'] + 1} of {image['frames']}"
    yield from (("Note", note) for note in image["notes"])
    if image["window"]:
        yield "Window", "centre {:g}, width {:g}".format(*image["window"])
    if image["spacing_mm"]:
        yield "Spacing", "{:g} × {:g} mm (row × column)".format(*image["spacing_mm"])
    yield "Blend", report["blend"] + (f", stacker {report['stacker']['sha256']}" if report["stacker"] else "")
    yield "Threshold", f"{report['threshold']:g}"
    done = [f"{step.replace('_', ' ')} {value}" for step, value in report["cleanup"].items() if value]
    yield "Clean-up", ", ".join(done) or "none"
    yield "Averaged over", report["tta"] or "nothing: each model saw the picture once"
    yield from (("Left out", reason) for reason in report["left_out"])
    if source:
        yield "Ensemble", " ".join(source[key] for key in ("name", "revision", "sha256") if source[key])
    yield "Picture's pixels", image["sha256"]
    if image["file_sha256"]:
        yield "Picture's file", image["file_sha256"]
    yield "Masks", report["masks_sha256"]
    yield "Versions", ", ".join(f"{name} {version}" for name, version in report["versions"].items())
