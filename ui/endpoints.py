"""The endpoints for programs: /segment, /remix, /score, /ensembles. A client's session keeps its picture between calls.

Research use only, not for diagnosis.
"""

from __future__ import annotations

import math
from typing import Any

import gradio as gr

from medseg import export
from ui import handlers, views
from ui.downloads import write
from ui.refusals import refusing
from ui.session import Session


@refusing
def segment(session: Session, image: str, ensemble: str | None) -> tuple[Any, str, dict[str, Any]]:
    """Segment a picture (PNG, JPEG, TIFF, DICOM or NIfTI) with an ensemble of this app, at its fitted settings or those
    of this session's last /remix. Research use only, not for diagnosis.

    Args:
        image: the picture's file.
        ensemble: a name that /ensembles gives; the first of them where empty.

    Returns:
        The overlay; the mask as a lossless PNG on the picture's own grid; the report (models, hashes, weights,
        settings, areas).
    """
    session.open(image, handlers.shelf.get(ensemble))
    return _answer(session)


@refusing
def remix(
    session: Session, weights: list[Any], threshold: float, opacity: float, blend: str
) -> tuple[Any, str, dict[str, Any]]:
    """Blend the members again for the picture of this session's last /segment; no network runs.

    Args:
        weights: one number of 0 or more for each member, not all 0, in the order of /ensembles; or for each member a
            list of one for each label.
        threshold: probability from which a pixel belongs to the mask, between 0 and 1.
        opacity: of the mask's tint in the overlay, 0 to 1.
        blend: "weighted mean", "geometric", "median", "majority vote" (the threshold acts on the share of votes),
            "STAPLE" (weights only say who takes part), or "stacking" where the ensemble has a stacker.

    Returns:
        As /segment does.
    """
    session.remix(weights, threshold, opacity, blend)  # type: ignore[arg-type]
    return _answer(session)


@refusing
def score(session: Session, truth: str) -> list[dict[str, Any]]:
    """Score the ensemble and every member against the true mask of the picture of this session's last /segment.

    Args:
        truth: the true mask's file: 0 and one other value for one label, a label map for several.

    Returns:
        One row for each mask and label, the ensemble first: Dice, IoU, precision, recall, specificity, accuracy, and
        HD95 in pixels, or in millimetres where the spacing is known; null where one of the two masks is empty.
    """
    session.add_truth(truth, "the uploaded mask")
    rows = session.scores.rows(session.shown)
    return [
        {key: None if isinstance(value, float) and math.isinf(value) else value for key, value in row.items()}
        for row in rows
    ]


@refusing
def ensembles() -> list[dict[str, Any]]:
    """The ensembles of this app: name, task, labels, members, fitted weights and threshold."""
    return handlers.shelf.describe()


def add_endpoints(session: gr.State) -> None:
    """Offer the four functions to programs; their components are never drawn."""
    with gr.Column(visible=False):
        image, truth = gr.File(label="image"), gr.File(label="truth")
        name = gr.Textbox(label="ensemble")
        weights = gr.JSON(label="weights")
        threshold = gr.Number(0.5, label="threshold")
        opacity = gr.Number(0.3, label="opacity")
        blend = gr.Textbox("weighted mean", label="blend")
        overlay, mask = gr.Image(label="overlay", format="png"), gr.File(label="mask")
        report, table, shelf_list = gr.JSON(label="report"), gr.JSON(label="scores"), gr.JSON(label="ensembles")
    answer = [overlay, mask, report]
    gr.on([], segment, [session, image, name], answer, api_name="segment")
    gr.on([], remix, [session, weights, threshold, opacity, blend], answer, api_name="remix")
    gr.on([], score, [session, truth], table, api_name="score")
    gr.on([], ensembles, None, shelf_list, api_name="ensembles")


def _answer(session: Session) -> tuple[Any, str, dict[str, Any]]:
    shown = session.shown
    report = {"notice": export.NOTICE, **shown.prediction.report()}
    return views.overlay(shown), str(write(session, "mask")), report
