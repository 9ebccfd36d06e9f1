"""The page: `python app.py` starts it on this machine, and a Hugging Face Space runs the same file.

Layout and wiring only: what happens is in `ui/`, and every number and picture comes from `medseg/`.
"""

from __future__ import annotations

import os
import signal
import sys
from typing import Any

os.environ.setdefault("GRADIO_ANALYTICS_ENABLED", "False")  # before gradio is imported, which reports at import

import gradio as gr

from ui import gallery, handlers
from ui.endpoints import add_endpoints
from ui.mixer import draw_mixer
from ui.session import Session
from ui.shelf import allows_hub
from ui.theme import CONTROLS_WIDTH, CSS, PICTURE_HEIGHT, THEME

HOUR = 3600
PRIVATE: dict[str, Any] = {"api_visibility": "private"}
QUIET: dict[str, Any] = {**PRIVATE, "show_progress": "hidden"}

LAUNCH: dict[str, Any] = {
    "theme": THEME,
    "css": CSS,
    "max_file_size": "100mb",
    "state_session_capacity": 100,  # a session holds tens of megabytes; the longest unused goes first
    "ssr_mode": False,
    "run_history": False,  # it would keep the visitors' pictures in their browsers
    "footer_links": ["api"],
}


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


SAVE = "file => Object.assign(document.createElement('a'), {href: file.url, download: file.orig_name}).click()"


def add_download(label: str, write: Any, session: gr.State, name: str) -> None:
    """A button that writes the file when asked and then saves it: never one that was written before."""
    asked = gr.Button(label, size="sm", min_width=120, elem_id=f"get-{name}")
    file = gr.DownloadButton(visible="hidden")
    asked.click(write, session, file, **PRIVATE).success(None, file, None, js=SAVE, **PRIVATE)


with gr.Blocks(title="medseg", analytics_enabled=False, delete_cache=(HOUR, HOUR), fill_width=True) as demo:
    session = gr.State(Session())
    mixed = gr.State("")  # the ensemble that the sliders are made for

    gr.Markdown(
        "# medseg\nSegment a 2-D medical picture with several models at once, and steer how much each of them counts. "
        "**Research use only, not for diagnosis.**",
        elem_id="head",
    )
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
            with gr.Row():
                add_download("Mask (PNG)", handlers.write_mask, session, "mask")
                add_download("Probabilities (npz)", handlers.write_probabilities, session, "probabilities")
                add_download("Report (JSON)", handlers.write_report, session, "report")
    with gr.Row():
        with gr.Column(scale=3, min_width=CONTROLS_WIDTH):
            truth = gr.File(label="Score it: drop the true mask of this picture", height=160, elem_id="truth")
        with gr.Column(scale=6, min_width=340):
            scores = gr.Markdown(elem_id="scores")

    pictures, texts = [overlay, probability, disagreement, members], [summary, scores]
    page = [*pictures, *texts, notes, mixed]

    demo.load(handlers.show_first, [session, ensemble], page, show_progress_on=overlay, **PRIVATE)
    examples.select(handlers.pick_example, [session, ensemble], page, show_progress_on=overlay, **PRIVATE)
    opened = upload.upload(handlers.open_file, [session, ensemble, upload], page, show_progress_on=overlay, **PRIVATE)
    ensemble.select(handlers.pick_ensemble, [session, ensemble], page, show_progress_on=overlay, **PRIVATE)
    gr.on(
        [load.click, repository.submit],
        handlers.load_from_hub,
        [session, repository],
        [ensemble, *page],
        show_progress_on=[repository],
        **PRIVATE,
    )
    cancel.click(handlers.cancel_loading, session, **QUIET)
    added = truth.upload(handlers.add_truth, [session, truth], texts, show_progress_on=scores, **PRIVATE)
    for event, field in ((opened, upload), (added, truth)):
        event.then(lambda: None, None, field, **QUIET)  # the field is free again, and the file's name is off the page
    tabs.select(handlers.show_tab, session, pictures, **QUIET)

    with mixer:

        @gr.render([session, mixed], triggers=[mixed.change], show_progress="hidden")
        def sliders(session_now: Session, _: str) -> None:
            draw_mixer(session_now, session, pictures, texts)

    add_endpoints(session)

demo.queue(max_size=64, default_concurrency_limit=8)

if __name__ == "__main__":
    # a container is stopped so: leave in an orderly way, which removes the visitors' files
    signal.signal(signal.SIGTERM, lambda *_: sys.exit())
    demo.launch(**LAUNCH)
