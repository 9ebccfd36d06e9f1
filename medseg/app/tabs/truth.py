"""What is known of the truth, and the scores against it."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import gradio as gr

from medseg.app.render import charts, text
from medseg.app.state.session import Session
from medseg.app.tabs.events import QUIET, named_files, warning

if TYPE_CHECKING:
    from medseg.arrays import Masks

EVIDENCE: dict[str, Callable[[Session, Masks], str]] = {
    "Scores": charts.draw_table,
    "Bars": charts.draw_bars,
    "Error map": charts.draw_errors,
    "Cut-off": charts.draw_curve,
}


DRAW = (
    "<button type='button' class='draw-open' onclick=\"document.dispatchEvent(new Event('medseg:draw'))\">"
    "Draw the truth, or correct the mask</button>"
)


def draw_truth(session: gr.State) -> tuple[gr.File, list[Any], gr.Dropdown]:
    """Draw the field for the true mask and a tab for each way to look at the scores; returns the field, the places of
    `EVIDENCE`, and the list of labels to look at."""
    gr.HTML("<h2>Compare with the truth</h2>", apply_default_css=False)
    truth = named_files("single", label="Drop the true mask of this image", height=96, elem_id="truth")
    gr.HTML(DRAW, apply_default_css=False)
    label = gr.Dropdown(label="Label in the images of the scores", visible=False, elem_id="scored-label")
    with gr.Tabs(elem_id="evidence") as tabs:
        with gr.Tab("Scores"):
            places: list[Any] = [gr.Markdown(elem_id="scores")]
        for name in list(EVIDENCE)[1:]:
            with gr.Tab(name):
                places.append(gr.HTML(elem_id=name.lower().replace(" ", "-"), elem_classes="evidence"))
    tabs.select(show_evidence, session, places, **QUIET)
    label.input(look_at, [session, label], places, **QUIET)
    return truth, places, label


@warning
def show_evidence(session: Session, event: gr.SelectData) -> list[Any]:
    """Another tab of the scores is open."""
    if event.value in EVIDENCE:
        session.evidence = event.value
    return [gr.skip() for _ in EVIDENCE] if session.is_empty else against_truth(session)


@warning
def look_at(session: Session, label: str) -> list[Any]:
    """Draw the scores of another label."""
    session.wanted_label = label
    return against_truth(session)


def offered_labels(session: Session) -> Any:
    """The labels to choose from, shown where there are several."""
    if session.is_empty:
        return gr.skip()
    labels = session.view_state.prediction.labels
    return gr.update(choices=list(labels), value=session.label, visible=len(labels) > 1)


def against_truth(session: Session) -> list[Any]:
    """One value for each of EVIDENCE: the open one's, nothing for the others, so no slider waits for what is hidden."""
    truth = session.view_state.truth
    now = text.NO_TRUTH if truth is None else EVIDENCE[session.evidence](session, truth)
    return [now if name == session.evidence else gr.skip() for name in EVIDENCE]
