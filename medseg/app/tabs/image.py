"""The page's first tab: one image, its mask, one slider a model. Layout and wiring only."""

from __future__ import annotations

from html import escape
from typing import Any

import gradio as gr

from medseg.app.render.examples import Thumbnail
from medseg.app.state import registry
from medseg.app.state.registry import allows_hub
from medseg.app.state.session import Session
from medseg.app.tabs import handlers
from medseg.app.tabs.correct import connect_drawing
from medseg.app.tabs.downloads import draw_downloads, offered
from medseg.app.tabs.events import NEWEST, PRIVATE, QUIET, named_files
from medseg.app.tabs.frames import draw_frames
from medseg.app.tabs.truth import draw_truth, offered_labels
from medseg.app.tabs.window import draw_window
from medseg.app.viewer.components import DONE, WAITS, draw_sliders, draw_viewer

IMAGE_TAB = "image"

SHEETS = ("Models", "Result", "Truth", "Image")
"""The parts of the page that a phone shows one at a time under the image."""

CARD = (
    "<div class='file'><div class='name'><b id='file-name'>…</b><small id='file-size'>no image yet</small></div>"
    "<button type='button' class='change' onclick=\"document.querySelector('#upload input').click()\">Change</button>"
    "</div>"
)
PICK = """element.addEventListener('click', event => {
    const button = event.target.closest('[data-index]');
    if (button) trigger('click', {index: Number(button.dataset.index)});
});"""

WANTS = """(...values) => [...values.slice(0, -1), new URLSearchParams(location.hash.slice(1)).get("ensemble") ?? ""]"""
"""The ensemble that a link names comes last."""

INSIST = """element.addEventListener('click', event => {
    if (event.target.closest('.insist')) trigger('insist', {});
});"""


def draw_image_tab(page: gr.Blocks, session: gr.State, changed: gr.State, thumbnails: list[Thumbnail]) -> None:
    """Draw the tab on `page`, with `thumbnails` of the examples, and connect it to the visitor's session, which is
    shown anew when `changed` changes."""
    number = gr.State(0)  # of the opened file: for each, frames and window are offered anew
    upload = named_files(label="Image", visible="hidden", elem_id="upload")
    with gr.Row(elem_id="work"):
        gr.HTML(_sheets(), elem_id="sheets", apply_default_css=False)
        with gr.Column(elem_id="left", min_width=0):
            contents, examples, ensemble, mixer = _draw_left(thumbnails)
            load, cancel, repository = _draw_hub()
        with gr.Column(elem_id="centre", min_width=0):
            viewer = draw_viewer()
            looking = gr.Column(elem_id="looking")
        with gr.Column(elem_id="right", min_width=0):
            texts, notes, formats = _draw_result(session)
            with gr.Column(elem_classes=["card", "of-result"], elem_id="pull"):
                pulling = gr.HTML(apply_default_css=False)
            with gr.Column(elem_classes=["card", "of-truth"]):
                truth, scores, label = draw_truth(session)
    texts += scores
    connect_drawing(session, viewer, texts)
    displayed = [viewer, *texts, notes]
    changing = [contents, *displayed, mixer, number]
    reopened = [ensemble, *changing]

    chosen = [session, ensemble]
    slow: dict[str, Any] = {"show_progress_on": viewer, "js": WAITS, **PRIVATE}
    wanted = gr.Textbox(visible="hidden")
    first = page.load(handlers.show_first, [*chosen, wanted], reopened, **slow | {"js": WANTS})
    example = examples.click(handlers.pick_example, chosen, reopened, **slow)
    opened = upload.upload(handlers.open_files, [*chosen, upload], reopened, **slow)
    picked = contents.input(handlers.pick_content, [*chosen, contents], reopened, **slow)
    other = ensemble.select(handlers.pick_ensemble, chosen, changing, **slow)
    fetched = gr.on(
        [load.click, repository.submit],
        handlers.load_from_hub,
        [session, repository],
        reopened,
        show_progress_on=[repository],
        **PRIVATE,
    )
    again = changed.change(handlers.show_again, [session, changed], changing, **slow)
    cancel.click(handlers.cancel_loading, session, **QUIET)
    settled = mixer.settle(handlers.settle, session, [viewer, *texts], **NEWEST)
    insisted = texts[0].insist(handlers.insist, session, displayed, **QUIET)
    insisted.then(handlers.draw_pull, session, pulling, **NEWEST).then(offered, session, formats, **QUIET)
    gr.on([number.change, mixer.change], offered, session, formats, **QUIET)
    viewer.again(handlers.send_again, session, viewer, **NEWEST)
    added = truth.upload(handlers.add_truth, [session, truth], [viewer, *texts], show_progress_on=scores, **PRIVATE)
    for event in (first, example, opened, picked, other, fetched, again):
        event.then(None, viewer, js=DONE).then(handlers.settled, session, viewer, **QUIET).then(
            offered_labels, session, label, **QUIET
        )
    settled.then(None, viewer, js=DONE)
    for event in (first, example, opened, picked, other, fetched, again, settled, added):
        event.then(handlers.draw_pull, session, pulling, **NEWEST)
    for event, field in ((opened, upload), (added, truth)):
        event.then(lambda: None, None, field, **QUIET)  # the field is free again, and the file's name is off the page

    with looking:

        @gr.render([session, number], triggers=[number.change], show_progress="hidden")
        def controls(session_now: Session, _: int) -> None:
            if not session_now.is_empty:
                draw_frames(session_now, session, displayed)
                draw_window(session_now, session, displayed)


def _draw_left(thumbnails: list[Thumbnail]) -> tuple[Any, Any, Any, Any]:
    """What else was uploaded, examples, ensemble and sliders."""
    with gr.Column(elem_classes=["card", "of-image"]):
        gr.HTML(CARD, elem_id="image-card", apply_default_css=False)
        contents = gr.Dropdown(visible=False, filterable=False, interactive=True, elem_id="contents")
        examples = gr.HTML(_gallery(thumbnails), js_on_load=PICK, elem_id="examples", apply_default_css=False)
    with gr.Column(elem_classes=["card", "of-models"]):
        ensemble = gr.Dropdown(registry.ensembles.names, label="Ensemble", elem_id="ensemble")
        mixer = draw_sliders()
    return contents, examples, ensemble, mixer


def _draw_result(session: gr.State) -> tuple[list[Any], gr.Markdown, Any]:
    """The places of `handlers.texts` but for the scores, of the notes, and of the formats."""
    with gr.Column(elem_classes=["card", "of-result"]):
        figures = gr.HTML(js_on_load=INSIST, elem_id="figures", apply_default_css=False)
        verdict = gr.Markdown(elem_id="trust")
        formats = draw_downloads(session)
        summary = gr.Markdown(elem_id="summary")
        notes = gr.Markdown(elem_id="notes")
    return [figures, summary, verdict], notes, formats


def _draw_hub() -> tuple[gr.Button, gr.Button, gr.Textbox]:
    with gr.Accordion(
        "Another one from the Hugging Face Hub",
        open=False,
        visible=allows_hub(),
        elem_id="hub",
        elem_classes=["of-models"],
    ):
        repository = gr.Textbox(label="Repository", placeholder="owner/name or owner/name@revision", max_length=300)
        with gr.Row():
            load = gr.Button("Load", size="sm", min_width=80)
            cancel = gr.Button("Cancel", size="sm", min_width=80)
    return load, cancel, repository


def _gallery(thumbnails: list[Thumbnail]) -> str:
    """A button for each example."""
    return "".join(
        f"<button type='button' data-index='{index}' title='{escape(caption)}'><img src='{address}' alt=''>"
        f"<span>{escape(caption)}</span></button>"
        for index, (address, caption) in enumerate(thumbnails)
    )


def _sheets() -> str:
    buttons = (
        f"<button type='button' data-sheet='{name.lower()}' aria-pressed='{pressed}'>{name}</button>"
        for name, pressed in zip(SHEETS, ("true", "false", "false", "false"), strict=True)
    )
    return f"<div class='sheets' role='group' aria-label='Part of the page'>{''.join(buttons)}</div>"
