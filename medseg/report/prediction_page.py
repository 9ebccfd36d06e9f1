"""One image's result as one HTML page: what the ensemble found, how sure the models are, and what made it.

The page holds small copies of the image itself, so it is as confidential as that.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from medseg.calibration.trust import Trust
from medseg.inference.prediction import Prediction
from medseg.overlay import add_colour_bar, draw_heatmap, draw_overlay, label_colour
from medseg.report.html import data_uri, render
from medseg.report.words import area_words, threshold_words

LONGEST_SIDE = 640


def write_page(prediction: Prediction, path: Path, trust: Trust | None = None) -> None:
    """Write the page. `trust` is what `medseg.calibration.calibrate.judge` says of this prediction, where it can."""
    report = prediction.report()
    page = render(
        "prediction",
        title=f"{report['ensemble']}: one image",
        labels=_labels(prediction, report),
        trust=trust,
        views=[(name, data_uri(view, LONGEST_SIDE)) for name, view in _views(prediction)],
        members=[(member["name"], _weight(member["weight"]), member["sha256"]) for member in report["members"]],
        settings=_settings(report),
    )
    path.write_text(page, encoding="utf-8")


def _labels(prediction: Prediction, report: dict[str, Any]) -> Iterator[tuple[str, str, str, float]]:
    """Each label with its colour, its area and its share of the image."""
    height, width = prediction.image.size
    for index, (label, area) in enumerate(report["areas"].items()):
        yield label, f"rgb{label_colour(index)}", area_words(area), area["px"] / (height * width)


def _views(prediction: Prediction) -> Iterator[tuple[str, np.ndarray]]:
    pixels, masks = prediction.image.pixels, prediction.masks
    largest = prediction.probabilities.max(axis=0)
    yield "The image", draw_overlay(pixels, np.zeros_like(masks))
    yield "With the masks", draw_overlay(pixels, masks)
    yield "Probability, of several labels the largest", add_colour_bar(draw_heatmap(largest, pixels))
    yield "Where models differ", add_colour_bar(draw_heatmap(prediction.disagreement, pixels))


def _weight(weight: float | tuple[float, ...]) -> str:
    return " / ".join(f"{share:.0%}" for share in (weight if isinstance(weight, tuple) else (weight,)))


def _settings(report: dict[str, Any]) -> Iterator[tuple[str, str]]:
    """The report's other entries, one line each, in words where a line has some."""
    image, source = report["image"], report["source"]
    yield "Image", f"{image['width']} × {image['height']} px, frame {image['frame'] + 1} of {image['frames']}"
    yield from (("Note", note) for note in image["notes"])
    if image["window"]:
        yield "Window", "centre {:g}, width {:g}".format(*image["window"])
    if image["spacing_mm"]:
        yield "Spacing", "{:g} × {:g} mm (row × column)".format(*image["spacing_mm"])
    yield "Blend", report["blend"] + (f", stacker {report['stacker']['sha256']}" if report["stacker"] else "")
    yield "Threshold", threshold_words(report["threshold"])
    done = [f"{step.replace('_', ' ')} {value}" for step, value in report["cleanup"].items() if value]
    yield "Clean-up", ", ".join(done) or "none"
    yield "Averaged over", report["tta"] or "nothing: each model saw the image once"
    yield from (("Left out", reason) for reason in report["left_out"])
    if source:
        yield "Ensemble", " ".join(source[key] for key in ("name", "revision", "sha256") if source[key])
    yield "Pixels of the image", image["sha256"]
    if image["file_sha256"]:
        yield "File of the image", image["file_sha256"]
    yield "Masks", report["masks_sha256"]
    yield "Versions", ", ".join(f"{name} {version}" for name, version in report["versions"].items())
