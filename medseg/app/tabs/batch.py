"""The page's second tab: many images at once, the most doubtful first."""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from typing import Any

import gradio as gr

from medseg.app.render import text
from medseg.app.render.batch_table import html_table
from medseg.app.render.theme import CONTROLS_WIDTH
from medseg.app.server.settings import keep_seconds
from medseg.app.state.batch import MAX_IMAGES, Batch
from medseg.app.state.refusals import sentence_of
from medseg.app.state.session import Session
from medseg.app.state.uploaded_files import UploadedFile
from medseg.app.tabs.events import PRIVATE, QUIET, named_files, stoppable, warning
from medseg.app.tabs.image import IMAGE_TAB
from medseg.errors import InputError

CLICKS = """element.addEventListener('click', event => {
    const button = event.target.closest('[data-row]');
    if (button) trigger('click', {row: Number(button.dataset.row)});
});"""
ORDER = "The most doubtful come first; click an image to open it in “Image”."


def draw_batch_tab(tab: gr.Tab, session: gr.State, tabs: gr.Tabs, changed: gr.State) -> None:
    """Draw the tab; a click on a row opens its image in the first of `tabs`, which `changed` tells."""
    batch = gr.State(Batch())
    with gr.Row():
        with gr.Column(scale=3, min_width=CONTROLS_WIDTH):
            files = named_files(label="Drop images or zips of images", height=220, elem_id="batch-files")
            settings = gr.Markdown(elem_id="batch-settings")
            named = gr.Checkbox(
                True, label="Names of my files in COCO and run lengths, else hashes", elem_id="batch-named"
            )
            with gr.Row():
                start = gr.Button("Segment them", variant="primary", min_width=120, elem_id="batch-start")
                stop = gr.Button("Stop", min_width=80, interactive=False, elem_id="batch-stop")
        with gr.Column(scale=6, min_width=CONTROLS_WIDTH):
            status = gr.Markdown(_before(), elem_id="batch-status")
            results = gr.DownloadButton("All results (zip)", size="sm", visible=False, elem_id="get-results")
            table = gr.HTML(js_on_load=CLICKS, elem_id="batch-table")
    gr.on([tab.select, start.click], _settings, session, settings, **QUIET)
    stoppable(
        start,
        stop,
        _segment,
        [session, batch, files, named],
        [status, table, results],
        show_progress="hidden",
        concurrency_limit=2,  # of all visitors: who has one image is not to wait for those who have many
        **PRIVATE,
    )
    stop.click(_stop, batch, **QUIET)
    table.click(_open, [session, batch], [tabs, changed], **QUIET)


def _before() -> str:
    return (
        f"Up to {MAX_IMAGES} images (PNG, JPEG, TIFF, DICOM, NIfTI), also in zips, become a table with areas and "
        "how far to believe each mask, and a zip of masks (PNG, COCO, run lengths), reports and results.csv. "
        f"{ORDER} Nobody else sees your files, which are deleted after {keep_seconds() / 60:.0f} minutes."
    )


@warning
def _settings(session: Session) -> str:
    """What the images are segmented with: one place on the page, the first tab, sets it."""
    return f"As set in “Image”: {text.setting(session.view_state)}"


def _segment(session: Session, batch: Batch, uploads: list[UploadedFile], named: bool) -> Iterator[list[Any]]:
    """Rows as they come are only counted; the table is drawn once."""
    yield ["Starting …", "", gr.update(visible=False)]
    try:
        for done, files in batch.run(uploads, session.view_state, named=named):
            yield [f"**{len(batch.rows)} images done**, file {done} of {files} …", gr.skip(), gr.skip()]
        yield [_summary(batch), html_table(batch.rows), gr.update(value=str(batch.write()), visible=True)]
    except Exception as error:
        gr.Warning(sentence_of(error), title="Not possible")
        yield [_before(), html_table(batch.rows), gr.skip()]


def _summary(batch: Batch) -> str:
    rows = batch.rows
    failed = sum(bool(row.reason) for row in rows)
    words = f"**{len(rows) - failed} segmented, {failed} without a result.**"
    if batch.cancelled.is_set():
        words += " Stopped: what was done until then is here."
    elif len(rows) - failed >= MAX_IMAGES:
        words += f" Stopped after {MAX_IMAGES} images; `medseg predict` knows no such bound."
    if any(row.trust for row in rows):
        return f"{words} Predicted Dice with its 90 % interval, from the ensemble's calibration. {ORDER}"
    return (
        f"{words} These settings are not calibrated, so there is the models' agreement instead: the mean Dice between "
        f"their masks, which says how much they differ and not how right they are. {ORDER}"
    )


def _stop(batch: Batch) -> None:
    batch.cancelled.set()


@warning
def _open(session: Session, batch: Batch, event: gr.EventData) -> list[Any]:
    """Open a row's image in the first tab, with the ensemble that is there."""
    row = batch.rows[int(event._data["row"])]
    if not row.path.exists():
        raise InputError("The image's file is no longer kept here: drop it again.")
    session.open(row.path, session.view_state.ensemble, called=row.file)
    if row.own_frame:
        session.look_again(row.own_frame, None)
    return [gr.Tabs(selected=IMAGE_TAB), secrets.token_hex(4)]
