"""The page's first tab: one image, its mask, one slider a model. Layout and wiring only."""

from __future__ import annotations

from typing import Any

import gradio as gr
import PIL.Image

from medseg.app.render.theme import CONTROLS_WIDTH, IMAGE_HEIGHT
from medseg.app.state import registry
from medseg.app.state.registry import allows_hub
from medseg.app.state.session import Session
from medseg.app.tabs import handlers
from medseg.app.tabs.correct import draw_correct, refresh
from medseg.app.tabs.downloads import draw_downloads
from medseg.app.tabs.events import PRIVATE, QUIET, named_file
from medseg.app.tabs.frames import draw_frames
from medseg.app.tabs.mixer import draw_mixer
from medseg.app.tabs.truth import draw_truth, offered_labels
from medseg.app.tabs.window import draw_window

IMAGE_TAB = "image"


def place_for_view(alt: str, name: str) -> gr.Image:
    """A place for one view. JPEG is for looking only, so no button saves it; downloads are lossless files."""
    return gr.Image(
        alt_text=alt,
        elem_id=name,
        format="jpeg",
        height=IMAGE_HEIGHT,
        interactive=False,
        show_label=False,
        buttons=["fullscreen"],
    )


def draw_views() -> tuple[gr.Tabs, list[Any]]:
    """A tab for each of `handlers.TABS`, and the places of their images in that order."""
    with gr.Tabs(elem_id="views") as tabs:
        with gr.Tab("Mask"):
            overlay = place_for_view("The image with each mask as a tint inside its outline", "overlay")
        with gr.Tab("Probability"):
            probability = place_for_view("Heatmap of the blended probability, with its colour bar", "probability")
        with gr.Tab("Where models differ"):
            disagreement = place_for_view("Heatmap of how far the models are apart, with its bar", "disagreement")
        with gr.Tab("Uncertainty"):
            uncertainty = place_for_view(
                "Heatmap of the entropy of the probability, with its colour bar", "uncertainty"
            )
        with gr.Tab("Each model"):
            members = gr.Gallery(
                format="jpeg",
                columns=3,
                height=IMAGE_HEIGHT,
                object_fit="contain",
                interactive=False,
                show_label=False,
                buttons=[],
                elem_id="members",
                elem_classes="captioned",
            )
        with gr.Tab("Compare"):
            compare = gr.ImageSlider(
                format="jpeg",
                label="Drag the line: on its left the image alone, on its right with the masks",
                height=IMAGE_HEIGHT,
                max_height=IMAGE_HEIGHT,
                interactive=False,
                buttons=[],
                elem_id="compare",
            )
    return tabs, [overlay, probability, disagreement, uncertainty, members, compare]


def draw_image_tab(
    page: gr.Blocks, session: gr.State, changed: gr.State, thumbnails: list[tuple[PIL.Image.Image, str]]
) -> None:
    """Draw the tab on `page`, with the gallery's `thumbnails`, and connect it to the visitor's session, which is shown
    anew when `changed` changes."""
    mixed = gr.State("")  # the ensemble that the sliders are made for
    number = gr.State(0)  # of the opened file: for each, frames and window are offered anew
    with gr.Row():
        with gr.Column(scale=3, min_width=CONTROLS_WIDTH):
            upload = named_file(label="Drop an image: PNG, JPEG, TIFF, DICOM or NIfTI", height=180, elem_id="upload")
        with gr.Column(scale=6, min_width=340):
            examples = gr.Gallery(
                thumbnails,
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
        with gr.Column(scale=3, min_width=CONTROLS_WIDTH, elem_id="controls"):
            ensemble = gr.Dropdown(registry.ensembles.names, label="Ensemble", elem_id="ensemble")
            with gr.Accordion("Another one from the Hugging Face Hub", open=False, visible=allows_hub(), elem_id="hub"):
                repository = gr.Textbox(
                    label="Repository", placeholder="owner/name or owner/name@revision", max_length=300
                )
                with gr.Row():
                    load = gr.Button("Load", size="sm", min_width=80)
                    cancel = gr.Button("Cancel", size="sm", min_width=80)
            mixer = gr.Column(elem_id="mixer")
        with gr.Column(scale=6, min_width=340, elem_id="image"):
            tabs, views = draw_views()
            looking = gr.Column(elem_id="looking")
            summary = gr.Markdown("The models are being loaded for the first example …", elem_id="summary")
            verdict = gr.Markdown(elem_id="trust")
            notes = gr.Markdown(elem_id="notes")
            draw_downloads(session, [number, mixed])
    truth, scores, label = draw_truth(session)
    overlay, texts = views[0], [summary, verdict, *scores]
    corrected = draw_correct(session, texts)
    displayed = [*views, *texts, notes]
    changing = [*displayed, mixed, number]
    reopened = [ensemble, *changing]

    chosen = [session, ensemble]
    first = page.load(handlers.show_first, chosen, reopened, show_progress_on=overlay, **PRIVATE)
    example = examples.select(handlers.pick_example, chosen, reopened, show_progress_on=overlay, **PRIVATE)
    opened = upload.upload(handlers.open_file, [*chosen, upload], reopened, show_progress_on=overlay, **PRIVATE)
    other = ensemble.select(handlers.pick_ensemble, chosen, changing, show_progress_on=overlay, **PRIVATE)
    fetched = gr.on(
        [load.click, repository.submit],
        handlers.load_from_hub,
        [session, repository],
        reopened,
        show_progress_on=[repository],
        **PRIVATE,
    )
    again = changed.change(handlers.show_again, [session, changed], changing, show_progress_on=overlay, **PRIVATE)
    cancel.click(handlers.cancel_loading, session, **QUIET)
    added = truth.upload(handlers.add_truth, [session, truth], texts, show_progress_on=scores, **PRIVATE)
    for event in (first, example, opened, other, fetched, again):
        event.then(offered_labels, session, label, **QUIET).then(refresh, session, corrected, **QUIET)
    for event, field in ((opened, upload), (added, truth)):
        event.then(lambda: None, None, field, **QUIET)  # the field is free again, and the file's name is off the page
    tabs.select(handlers.show_tab, session, views, **QUIET)

    with mixer:

        @gr.render([session, mixed], triggers=[mixed.change], show_progress="hidden")
        def sliders(session_now: Session, _: str) -> None:
            draw_mixer(session_now, session, views, texts)

    with looking:

        @gr.render([session, number], triggers=[number.change], show_progress="hidden")
        def controls(session_now: Session, _: int) -> None:
            if not session_now.is_empty:
                draw_frames(session_now, session, displayed)
                draw_window(session_now, session, displayed)
