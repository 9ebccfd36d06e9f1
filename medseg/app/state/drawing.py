"""Drawing by hand on the open image: begun, stroke by stroke the truth, let go of."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from medseg.app.state.editing import BEGINNINGS, Editing
from medseg.correct import begin
from medseg.data.rle import decode_rle
from medseg.errors import InputError

if TYPE_CHECKING:
    from medseg.app.state.session import Session
    from medseg.app.state.view_state import ViewState
    from medseg.arrays import Masks


def where(session: Session) -> tuple[int, int]:
    """The opening and the frame that a drawing belongs to; another window is the same image."""
    return session.opened, session.view_state.prediction.image.frame


def drawing(session: Session) -> Editing | None:
    """The drawing of the open image and its labels, however they are weighed; None where there is none."""
    editing = session.editing
    if session.is_empty or editing is None or editing.where != where(session):
        return None
    return editing if editing.labels == session.view_state.prediction.labels else None


def begin_drawing(session: Session, beginning: str) -> None:
    """Begin anew with one of BEGINNINGS; the truth stays what it is until the first stroke."""
    view_state, before = session.view_state, drawing(session)
    correction = begin(_masks(view_state, beginning), view_state.prediction.ensemble.task)
    truth = before.before if before else (view_state.truth, view_state.truth_source)
    labels = view_state.prediction.labels
    session.editing = Editing(where(session), labels, beginning, correction, correction, truth)


def _masks(view_state: ViewState, beginning: str) -> Masks:
    masks = view_state.prediction.masks
    if beginning == "nothing":
        return np.zeros_like(masks)
    if beginning == "ensemble" and not view_state.withheld:
        return masks
    if beginning == "truth" and view_state.truth is not None:
        return view_state.truth
    raise InputError("This image has no such mask to begin with: begin with an empty one.")


def take_strokes(session: Session, token: str, strokes: Sequence[tuple[str, str]]) -> Editing:
    """The drawing with `strokes`, for each label the run lengths of what was painted and of what was erased on the
    grid of the view; it is the truth from here on. Raises InputError where they are of another image."""
    editing, view_state = drawing(session), session.view_state
    if editing is None or token != editing.token or len(strokes) != len(editing.labels):
        raise InputError("What was drawn belongs to another image: begin again with this one.")
    size, now = view_state.view.image.size, editing.base
    for label, (painted, erased) in enumerate(strokes):
        now = now.drawn(label, decode_rle(painted, size, "counts"), decode_rle(erased, size, "counts"))
    session.editing = dataclasses.replace(editing, now=now)
    source = f"drawn here, begun with {BEGINNINGS[editing.beginning]}"
    session.set_truth(view_state.prediction.image, now.masks, source)
    return session.editing


def discard_drawing(session: Session) -> None:
    """Let go of the drawing: the truth is again what it was before."""
    editing, session.editing = drawing(session), None
    if editing:
        session.set_truth(session.view_state.prediction.image, *editing.before)
