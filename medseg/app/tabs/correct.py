"""A mask by hand: strokes from the viewer become the truth, which is scored at once, and a pair to train on."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import gradio as gr

from medseg.app.render import planes
from medseg.app.state.drawing import begin_drawing, discard_drawing, drawing, take_strokes
from medseg.app.state.editing import Editing
from medseg.app.state.session import Session
from medseg.app.tabs import handlers
from medseg.app.tabs.events import PRIVATE, QUIET, refusal, warning
from medseg.app.viewer.components import SAVE
from medseg.metrics import confusion

COUNTED = "() => { document.dispatchEvent(new Event('medseg:counted')); }"
"""The library has counted the strokes that came last, or refused them: the next may come."""


def connect_drawing(session: gr.State, viewer: Any, texts: Sequence[Any]) -> None:
    """Connect the tools of the `viewer` with the visitor's session; `texts` show the scores."""
    file = gr.DownloadButton(visible="hidden")
    viewer.begin(begin, session, viewer, **QUIET)
    viewer.strokes(count, session, [viewer, *texts], **QUIET).then(None, js=COUNTED)
    viewer.discard(discard, session, [viewer, *texts], **QUIET)
    viewer.pair(write_pair, session, file, **PRIVATE).success(None, file, None, js=SAVE, **PRIVATE)


@warning
def begin(session: Session, event: gr.EventData) -> Any:
    """The visitor begins to draw, on what the library has: its own masks, nothing, or the truth."""
    begin_drawing(session, str(event._data["beginning"]))
    editing = drawing(session)
    return handlers.view(session) | {"drawn": planes.drawing(session.view_state, editing)} if editing else gr.skip()


@warning
def count(session: Session, event: gr.EventData) -> list[Any]:
    """A stroke is done: it is part of the truth, and the library scores by it."""
    editing = _taken(session, event)
    counted = {"token": editing.token, "revision": event._data["revision"], "labels": counts(session, editing)}
    return [{"counted": counted}, *handlers.texts(session)]


@warning
def discard(session: Session) -> list[Any]:
    discard_drawing(session)
    return handlers.result(session)


@refusal
def write_pair(session: Session, event: gr.EventData) -> str:
    return str(session.write_pair(_taken(session, event).now.masks))


def counts(session: Session, editing: Editing) -> list[dict[str, float]]:
    """For each label the overlap of the ensemble's mask with the drawing, and what strokes changed, in pixels of the
    image's own grid."""
    masks = session.view_state.prediction.masks
    scores = [confusion(mask, drawn) for mask, drawn in zip(masks, editing.now.masks, strict=True)]
    return [
        {"dice": score.dice, "iou": score.iou, "added": change.fp, "removed": change.fn}
        | {"before": change.tp + change.fn, "after": change.tp + change.fp, "same": change.dice}
        for score, change in zip(scores, editing.now.changes, strict=True)
    ]


def _taken(session: Session, event: gr.EventData) -> Editing:
    return take_strokes(session, str(event._data["token"]), event._data["strokes"])
