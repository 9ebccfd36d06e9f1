"""The page's first tab: one picture, its mask, one slider a model. Layout and wiring only."""

from __future__ import annotations

from typing import Any

import gradio as gr

from ui import gallery, handlers
from ui.correct import draw_correct, refresh
from ui.downloads import draw_downloads
from ui.mixer import draw_mixer
from ui.session import Session
from ui.shelf import allows_hub
from ui.theme import CONTROLS_WIDTH, PICTURE_HEIGHT
from ui.truth import draw_truth, offered_labels

PRIVATE: dict[str, Any] = {"api_visibility": "private"}
QUIET: dict[str, Any] = {**PRIVATE, "show_progress": "hidden"}


def picture(alt: str, name: str) -> gr.Image:
    """A place for one view. JPEG is for looking only, so no button saves it; downloads are lossless files."""
    return gr.Image(
        alt_text=alt,
        elem_id=name,
        format="jpeg",
        height=PICTURE_HEIGHT,
        interactive=False,
        show_label=False,
        buttons=["fullscreen"],
    )


def draw_segment(page: gr.Blocks, session: gr.State) -> None:
    """Draw the tab on `page` and connect it to the visitor's session."""
    mixed = gr.State("")  # the ensemble that the sliders are made for
    with gr.Row():
        with gr.Column(scale=3, min_width=CONTROLS_WIDTH):
            upload = gr.File(label="Drop a picture: PNG, JPEG, TIFF, DICOM or NIfTI", height=180, elem_id="upload")
        with gr.Column(scale=6, min_width=340):
            examples = gr.Gallery(
                gallery.thumbnails(),
                label="Or pick an example",
                columns=5,
                height=180,
                object_fit="cover",
                allow_preview=False,
                interactive=False,
                buttons=[],
                elem_id="examples",
                elem_classes="captioned",
            )
    with gr.Row(elem_id="work"):
        with gr.Column(scale=3, min_width=CONTROLS_WIDTH):
            ensemble = gr.Dropdown(handlers.shelf.names, label="Ensemble", elem_id="ensemble")
            with gr.Accordion("Another one from the Hugging Face Hub", open=False, visible=allows_hub(), elem_id="hub"):
                repository = gr.Textbox(
                    label="Repository", placeholder="owner/name or owner/name@revision", max_length=300
                )
                with gr.Row():
                    load = gr.Button("Load", size="sm", min_width=80)
                    cancel = gr.Button("Cancel", size="sm", min_width=80)
            mixer = gr.Column(elem_id="mixer")
        with gr.Column(scale=6, min_width=340):
            with gr.Tabs() as tabs:
                with gr.Tab("Overlay"):
                    overlay = picture("The picture with each mask as a tint inside its outline", "overlay")
                with gr.Tab("Probability"):
                    probability = picture("Heatmap of the blended probability, with its colour bar", "probability")
                with gr.Tab("Disagreement"):
                    disagreement = picture("Heatmap of how far the models are apart, with its bar", "disagreement")
                with gr.Tab("Members"):
                    members = gr.Gallery(
                        format="jpeg",
                        columns=3,
                        height=PICTURE_HEIGHT,
                        object_fit="contain",
                        interactive=False,
                        show_label=False,
                        buttons=[],
                        elem_id="members",
                        elem_classes="captioned",
                    )
            summary = gr.Markdown("The models are being loaded for the first example …", elem_id="summary")
            notes = gr.Markdown(elem_id="notes")
            draw_downloads(session)
    truth, scores, label = draw_truth(session)
    pictures, texts = [overlay, probability, disagreement, members], [summary, *scores]
    corrected = draw_correct(session, texts)
    shown = [*pictures, *texts, notes, mixed]

    chosen = [session, ensemble]
    first = page.load(handlers.show_first, chosen, shown, show_progress_on=overlay, **PRIVATE)
    example = examples.select(handlers.pick_example, chosen, shown, show_progress_on=overlay, **PRIVATE)
    opened = upload.upload(handlers.open_file, [*chosen, upload], shown, show_progress_on=overlay, **PRIVATE)
    other = ensemble.select(handlers.pick_ensemble, chosen, shown, show_progress_on=overlay, **PRIVATE)
    fetched = gr.on(
        [load.click, repository.submit],
        handlers.load_from_hub,
        [session, repository],
        [ensemble, *shown],
        show_progress_on=[repository],
        **PRIVATE,
    )
    cancel.click(handlers.cancel_loading, session, **QUIET)
    added = truth.upload(handlers.add_truth, [session, truth], texts, show_progress_on=scores, **PRIVATE)
    for event in (first, example, opened, other, fetched):
        event.then(offered_labels, session, label, **QUIET).then(refresh, session, corrected, **QUIET)
    for event, field in ((opened, upload), (added, truth)):
        event.then(lambda: None, None, field, **QUIET)  # the field is free again, and the file's name is off the page
    tabs.select(handlers.show_tab, session, pictures, **QUIET)

    with mixer:

        @gr.render([session, mixed], triggers=[mixed.change], show_progress="hidden")
        def sliders(session_now: Session, _: str) -> None:
            draw_mixer(session_now, session, pictures, texts)
