"""The frames of a file that has several: a slider to each, and all of them in one run."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import gradio as gr

from medseg.app.state.session import Session
from medseg.app.tabs import handlers
from medseg.app.tabs.events import NEWEST, PRIVATE, QUIET, warning
from medseg.report.words import threshold_words


def draw_frames(session: Session, state: gr.State, displayed: Sequence[Any]) -> None:
    """Draw the slider and the run for the session's file, where it has several frames, shown by `displayed`."""
    image = session.view_state.prediction.image
    if image.frames == 1:
        return
    slider = gr.Slider(
        1,
        image.frames,
        image.frame + 1,
        step=1,
        label=f"Frame, of {image.frames}",
        interactive=True,
        buttons=[],
        elem_id="frame",
    )
    slider.input(show_frame, [state, slider], list(displayed), **NEWEST)  # not .release, which keys do not raise
    with gr.Accordion("All frames", open=False, elem_id="all-frames"):
        with gr.Row():
            run = gr.Button(f"Segment all {image.frames} frames", size="sm", min_width=160)
            stop = gr.Button("Cancel", size="sm", scale=0, min_width=80)
        said = gr.Markdown("With the sliders as they stand. A row of the table then opens its frame.", min_height=40)
        table = gr.Dataframe(
            headers=_headers(session),
            type="array",
            label="Area in each frame",
            interactive=False,
            visible=False,
            max_height=320,
            buttons=[],
            elem_id="frame-areas",
        )
        save = gr.DownloadButton("Masks of all frames (zip)", size="sm", visible=False, elem_id="get-frames")
    run.click(segment_all, state, [said, table, save], show_progress_on=said, **PRIVATE)
    stop.click(stop_run, state, **QUIET)
    table.select(open_row, state, [slider, *displayed], **NEWEST)


@warning
def show_frame(session: Session, number: float) -> list[Any]:
    """Another frame, counted from 1."""
    session.look_again(int(number) - 1, session.view_state.window)
    return handlers.displayed(session)


@warning
def open_row(session: Session, event: gr.SelectData) -> list[Any]:
    row = int(event.index[0])
    return [row + 1, *show_frame(session, row + 1)]


def stop_run(session: Session) -> None:
    session.stopped.set()


@warning
def segment_all(session: Session, progress: gr.Progress = handlers.PROGRESS) -> list[Any]:
    """Every frame at the settings of now: what was found, the table, the zip."""
    prediction = session.view_state.prediction
    progress(0, desc=f"Frame 1 of {prediction.image.frames}")
    areas, masks = session.segment_frames(
        lambda done, total: progress((done, total), desc=f"Frame {min(done + 1, total)} of {total}")
    )
    if not areas:
        return ["Cancelled; nothing was kept.", gr.skip(), gr.skip()]
    how = f"by the {prediction.blend} at cut-off {threshold_words(prediction.threshold, '.2f')}"
    sentence = f"{len(areas)} frames {how}; sliders moved since do not change them. A row opens its frame."
    rows = [[number, *_cells(area)] for number, area in enumerate(areas, start=1)]
    table = gr.update(value=rows, visible=True)
    return [sentence, table, gr.update(value=str(masks), visible=True)]


def _headers(session: Session) -> list[str]:
    unit = "px" if session.view_state.prediction.image.spacing_mm is None else "mm²"
    return ["Frame", *(f"{label} ({unit})" for label in session.view_state.prediction.labels)]


def _cells(areas: dict[str, dict[str, float]]) -> list[float]:
    """The area of each label, in mm² where the spacing is known."""
    return [round(area.get("mm2", area["px"]), 1) for area in areas.values()]
