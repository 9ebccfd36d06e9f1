"""The endpoints for programs: /segment, /remix, /score, /ensembles; with MEDSEG_MCP=1 they are an agent's tools too.

A result is an identifier that /segment gives and the others take; nothing else lies between the calls. Research use
only, not for diagnosis. The docstrings are what programs and agents read; of an argument Gradio shows them one line.
"""

from __future__ import annotations

import json
import math
import sys
from pathlib import Path
from typing import Any

import gradio as gr

from medseg.app.render import images
from medseg.app.state import registry
from medseg.app.state.contents import Content, contents_of
from medseg.app.state.refusals import PATH
from medseg.app.state.results import Results
from medseg.app.state.session import Session
from medseg.app.state.uploaded_files import UploadedFile
from medseg.app.state.view_state import OPACITY, ViewState
from medseg.app.tabs.downloads import write
from medseg.app.tabs.events import refusal
from medseg.calibration.judgement import worth
from medseg.errors import InputError
from medseg.inference.record import NOTICE
from medseg.reading.readers import read_file
from medseg.reading.series import Series

results: Results[Session] = Results()

WEIGHTS_SCHEMA = {
    "type": "array",
    "items": {"anyOf": [{"type": "number"}, {"type": "array", "items": {"type": "number"}}]},
}


@refusal
def segment(image: str, ensemble: str | None = None) -> tuple[str, Any, str, dict[str, Any]]:
    """Segment an image (PNG, JPEG, TIFF, DICOM or NIfTI) with an ensemble of this app, at its fitted settings.
    Research use only, not for diagnosis.

    Args:
        image: the image's file or a zip of one DICOM series, uploaded or as data:image/png;base64,...; no links.
        ensemble: a name that /ensembles gives; where empty the first, or one whose training images it is more like.

    Returns:
        The result's identifier, for /remix and /score; the overlay; the mask as a lossless PNG on the image's own
        grid; the report (models, hashes, weights, settings, areas; how far to believe it).
    """
    _uploaded(image)
    session, source = Session(), _only(contents_of([UploadedFile(Path(image), "")]))
    opened = read_file(source)
    name = ensemble or registry.ensembles.suiting(opened, next(iter(registry.ensembles.names), None))
    session.take(opened, source, registry.ensembles.get(name))
    return results.keep(session), *_outputs(session, session.view_state)


@refusal
def remix(
    result: str,
    weights: list[Any],
    threshold: float = 0.5,
    blend: str = "weighted mean",
    opacity: float = OPACITY,
) -> tuple[Any, str, dict[str, Any]]:
    """Blend the members of a result again, which from then on has these settings; no network runs.

    Args:
        result: the identifier that /segment gave.
        weights: 0 or more for each member, not all 0, in the order of /ensembles; or a list of one per label for each.
        threshold: probability from which a pixel belongs to the mask, between 0 and 1.
        blend: weighted mean, geometric, median, majority vote, STAPLE, or stacking where the ensemble has a stacker.
        opacity: of the mask's tint in the overlay, 0 to 1.

    Returns:
        Overlay, mask and report, as /segment does.
    """
    session = results.get(result)
    numbers = (_number(threshold, "threshold"), _number(opacity, "opacity"))
    view_state = session.remix(_weights(weights), *numbers, blend)  # type: ignore[arg-type]
    return _outputs(session, view_state)


@refusal
def score(result: str, truth: str) -> list[dict[str, Any]]:
    """Score a result, at its settings of now, and every member against the image's true mask.

    Args:
        result: the identifier that /segment gave.
        truth: the true mask's file: 0 and one other value for one label, a label map for several.

    Returns:
        One row for each mask and label, the ensemble first: Dice, IoU, precision, recall, specificity, accuracy, and
        HD95 in pixels, or in millimetres where the spacing is known; null where one of the two masks is empty.
    """
    session = results.get(result)
    _uploaded(truth)
    rows = session.scores.rows(session.add_truth(truth, "the uploaded mask"))
    return [
        {key: None if isinstance(value, float) and math.isinf(value) else value for key, value in row.items()}
        for row in rows
    ]


@refusal
def ensembles() -> list[dict[str, Any]]:
    """The ensembles of this app: name, task, labels, members, fitted weights and threshold."""
    return registry.ensembles.describe()


def add_endpoints() -> None:
    """Offer the four functions to programs; their components are never drawn."""
    with gr.Column(visible=False):
        image, truth = gr.File(label="image"), gr.File(label="truth")
        name, result = gr.Textbox(label="ensemble"), gr.Textbox(label="result")
        weights = gr.JSON(label="weights")
        threshold = _any_number(0.5, "threshold")
        blend = gr.Textbox("weighted mean", label="blend")
        opacity = _any_number(OPACITY, "opacity")
        overlay, mask = gr.Image(label="overlay", format="png"), gr.File(label="mask")
        report, table, listed = gr.JSON(label="report"), gr.JSON(label="scores"), gr.JSON(label="ensembles")
    setattr(weights, "api_info", lambda: WEIGHTS_SCHEMA)  # noqa: B010 - that of gr.JSON is no JSON schema, and agents' clients refuse it
    outputs = [overlay, mask, report]
    gr.on([], segment, [image, name], [result, *outputs], api_name="segment")
    gr.on([], remix, [result, weights, threshold, blend, opacity], outputs, api_name="remix")
    gr.on([], score, [result, truth], table, api_name="score")
    gr.on([], ensembles, None, listed, api_name="ensembles")


def _only(contents: tuple[Content, ...]) -> Path | Series:
    """What an upload holds, where it is one thing."""
    if len(contents) > 1:
        titles = "; ".join(content.title for content in contents[:8])
        more = "; …" if len(contents) > 8 else ""
        raise InputError(f"The zip holds {len(contents)} series and images: {titles}{more}. Send one of them alone.")
    return contents[0].source


def _any_number(value: float, label: str) -> gr.Number:
    """A field that hands on whatever came: Gradio's own check answers with no sentence."""
    field = gr.Number(value, label=label)
    setattr(field, "preprocess", lambda payload: payload)  # noqa: B010 - mypy refuses to assign to a method
    return field


def _weights(values: Any) -> list[Any]:
    """`values` where they are numbers, or lists of numbers; raises InputError otherwise."""
    each = values if isinstance(values, list) else []
    if not each or not all(_is_number(number) for weight in each for number in _as_list(weight)):
        wanted = "a list with a number for each member, or with a list of one per label for each"
        raise InputError(f"weights wants {wanted}; got {_quoted(values)}.")
    return list(values)


def _as_list(weight: Any) -> list[Any]:
    return weight if isinstance(weight, list) else [weight]


def _uploaded(path: str | None) -> None:
    if path is None:
        raise InputError(PATH)


def _number(value: Any, name: str) -> float:
    if not _is_number(value):
        raise InputError(f"{name} wants a number between 0 and 1, got {_quoted(value)}.")
    return float(value)


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) <= sys.float_info.max


def _quoted(value: Any) -> str:
    return f"{json.dumps(value, default=str):.80}"


def _outputs(session: Session, view_state: ViewState) -> tuple[Any, str, dict[str, Any]]:
    """Overlay, mask and report of one state, whatever others make of the session meanwhile."""
    prediction = view_state.prediction
    report = {"notice": NOTICE, **prediction.report(), **worth(view_state.ensemble, prediction)}
    return images.overlay(view_state), str(write(session, "mask", view_state)), report
