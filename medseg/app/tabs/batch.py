"""The page's second tab: many images at once, the most doubtful first."""

from __future__ import annotations

import secrets
import time
from collections.abc import Iterator
from html import escape
from typing import Any

import gradio as gr

from medseg.app.render import text
from medseg.app.render.batch_table import page_rows
from medseg.app.render.theme import CONTROLS_WIDTH
from medseg.app.render.work import bar
from medseg.app.server.settings import keep_seconds
from medseg.app.state.batch import MAX_IMAGES, Batch
from medseg.app.state.session import Session
from medseg.app.state.uploaded_files import UploadedFile
from medseg.app.tabs.events import PRIVATE, QUIET, named_files, say, stoppable, warning
from medseg.app.tabs.image import IMAGE_TAB
from medseg.app.viewer.components import SAVE_ZIP, draw_rows
from medseg.errors import InputError

ORDER = "The most doubtful come first; click a row to open its image in “Image”."
NAMES = "Names of files stay in your browser; those inside a zip come with it."
PAUSE_S = 0.4
"""Rows that are done within this time come together."""


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
            status = gr.HTML(_before(), elem_id="batch-status", apply_default_css=False)
            get = gr.Button("All results (zip)", size="sm", visible=False, elem_id="get-results")
            table = draw_rows()
    results = gr.DownloadButton(visible="hidden")
    gr.on([tab.select, start.click], _settings, session, settings, **QUIET)
    stoppable(
        start,
        stop,
        _segment,
        [session, batch, files, named],
        [status, table, results, get],
        show_progress="hidden",
        concurrency_limit=2,  # of all visitors: who has one image is not to wait for those who have many
        **PRIVATE,
    )
    stop.click(_stop, batch, **QUIET)
    get.click(None, results, None, js=SAVE_ZIP, **PRIVATE)
    table.open(_open, [session, batch], [tabs, changed], **QUIET)


def _before() -> str:
    return _said(
        f"Up to {MAX_IMAGES} images (PNG, JPEG, TIFF, DICOM, NIfTI), also in zips, become a table with areas and "
        "how far to believe each mask, and a zip of masks (PNG, COCO, run lengths), reports and results.csv. "
        f"{ORDER} {NAMES} Nobody else sees your files, which are deleted after {keep_seconds() / 60:.0f} minutes."
    )


def _said(words: str, bold: str = "") -> str:
    return f"<p role='status'><b>{escape(bold)}</b> {escape(words)}</p>"


@warning
def _settings(session: Session) -> str:
    """What the images are segmented with: one place on the page, the first tab, sets it."""
    return f"As set in “Image”: {text.setting(session.view_state)}"


def _segment(session: Session, batch: Batch, uploads: list[UploadedFile], named: bool) -> Iterator[list[Any]]:
    """The bar, the rows that are new, the zip when all are done, and its button. The last rows are all rows: on a slow
    line the browser may have missed some on the way."""
    run, sent, begun = secrets.token_hex(4), 0, time.monotonic()
    drawn, hidden = begun, gr.update(visible=False)
    yield [_said("Reading the files …"), {"run": run, "rows": []}, None, hidden]
    try:
        for done, files in batch.run(uploads, session.view_state, named=named):
            if time.monotonic() - drawn < PAUSE_S:
                continue
            drawn, rows = time.monotonic(), page_rows(batch.arrived, sent)
            sent += len(rows)
            yield [_bar(batch, done, files, drawn - begun), {"run": run, "rows": rows}, gr.skip(), gr.skip()]
        everything = {"run": run, "rows": page_rows(batch.arrived), "is_done": True}
        yield [_summary(batch), everything, str(batch.write()), gr.update(visible=True)]
    except Exception as error:
        say(error)
        yield [_before(), {"run": run, "rows": page_rows(batch.arrived), "is_done": True}, gr.skip(), gr.skip()]


def _bar(batch: Batch, done: int, files: int, seconds: float) -> str:
    failed = sum(bool(row.reason) for row in batch.arrived)
    return bar(f"Files done{f' ({failed} without a result)' if failed else ''}", done, files, seconds)


def _summary(batch: Batch) -> str:
    rows = batch.rows
    failed = sum(bool(row.reason) for row in rows)
    counts, words = f"{len(rows) - failed} segmented, {failed} without a result.", ""
    if batch.cancelled.is_set():
        words = "Stopped: what was done until then is here. "
    elif len(rows) - failed >= MAX_IMAGES:
        words = f"Stopped after {MAX_IMAGES} images; “medseg predict” knows no such bound. "
    if any(row.trust for row in rows):
        return _said(f"{words}Predicted Dice with its 90 % interval, from the ensemble's calibration. {ORDER}", counts)
    return _said(
        f"{words}These settings are not calibrated, so there is the models' agreement instead: the mean Dice between "
        f"their masks, which says how much they differ and not how right they are. {ORDER}",
        counts,
    )


def _stop(batch: Batch) -> None:
    batch.cancelled.set()


@warning
def _open(session: Session, batch: Batch, event: gr.EventData) -> list[Any]:
    """Open a row's image in the first tab, with the ensemble that is there."""
    row = batch.arrived[int(event._data["row"])]
    if not row.path.exists():
        raise InputError("The image's file is no longer kept here: drop it again.")
    session.open(row.path, session.view_state.ensemble, called=row.file)
    if row.own_frame:
        session.look_again(row.own_frame, None)
    return [gr.Tabs(selected=IMAGE_TAB), secrets.token_hex(4)]
