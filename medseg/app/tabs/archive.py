"""The archive's tab: find a study, open its images, send results back. It is there where the owner names an archive."""

from __future__ import annotations

import secrets
from typing import Any

import gradio as gr

from medseg.app.state.archive import ArchiveDesk
from medseg.app.state.session import Session
from medseg.app.tabs.events import PRIVATE, QUIET, warning
from medseg.app.tabs.handlers import PROGRESS
from medseg.app.tabs.image import IMAGE_TAB

_STUDIES = ["Date", "Modality", "Description", "Accession", "Images"]
_SERIES = ["Number", "Modality", "Description", "Images"]
_KINDS = [
    ("Mask (SEG)", "seg"),
    ("Probabilities (SEG)", "probabilities"),
    ("Image with outlines (capture)", "capture"),
    ("Probabilities (parametric map)", "map"),
]


def draw_archive_tab(session: gr.State, tabs: gr.Tabs, changed: gr.State) -> None:
    """Draw the tab; a series opens in the first of `tabs`, which `changed` tells."""
    desk = gr.State(ArchiveDesk())
    gr.Markdown("Find a study of the hospital's archive. Names of patients are searched for and not shown.")
    with gr.Row():
        patient = gr.Textbox(label="Patient's ID or name", elem_id="archive-patient")
        accession = gr.Textbox(label="Accession number")
        date = gr.Textbox(label="Date", placeholder="20260131 or 20260101-20260131")
        modality = gr.Textbox(label="Modality", placeholder="CR, US, …")
        find = gr.Button("Find", elem_id="archive-find")
    studies = _table("Studies", _STUDIES)
    series = _table("Series of the chosen study", _SERIES)
    with gr.Row():
        said = gr.Markdown("A row of the studies lists its series; a row of the series opens its images.")
        stop = gr.Button("Cancel", size="sm", scale=0, min_width=80)
    number = gr.Slider(1, 2, 1, step=1, label="Image of the series", visible=False, elem_id="archive-image")
    gr.Markdown("### Send results of the open image to the archive")
    kinds = gr.CheckboxGroup(_KINDS, value=["seg"], show_label=False)
    with gr.Row():
        prepare = gr.Button("Prepare", size="sm")
        send = gr.Button("Send now", size="sm", interactive=False, elem_id="archive-send")
    sent = gr.Markdown("Nothing is sent before you have seen what goes where.", elem_id="archive-sent")
    find.click(_find, [desk, patient, accession, date, modality], [studies, series], **PRIVATE)
    studies.select(_choose, desk, series, **PRIVATE)
    opened = [tabs, changed, number, said]
    series.select(_fetch, [session, desk], opened, show_progress_on=said, **PRIVATE)
    number.release(_open, [session, desk, number], [tabs, changed], **PRIVATE)
    stop.click(lambda desk: desk.stopped.set(), desk, **QUIET)
    prepare.click(_prepare, [session, desk, kinds], [sent, send], **PRIVATE)
    send.click(_send, desk, [sent, send], **PRIVATE)


def _table(label: str, headers: list[str]) -> gr.Dataframe:
    return gr.Dataframe(headers=headers, type="array", label=label, interactive=False, max_height=240, buttons=[])


@warning
def _find(desk: ArchiveDesk, patient: str, accession: str, date: str, modality: str) -> list[Any]:
    desk.find(patient=patient, accession=accession, date=date, modality=modality)
    rows = [[one.date, one.modalities, one.description, one.accession, one.instances] for one in desk.studies]
    return [rows, []]


@warning
def _choose(desk: ArchiveDesk, event: gr.SelectData) -> list[Any]:
    desk.choose(int(event.index[0]))
    return [[one.number, one.modality, one.description, one.instances] for one in desk.series]


@warning
def _fetch(session: Session, desk: ArchiveDesk, event: gr.SelectData, progress: gr.Progress = PROGRESS) -> list[Any]:
    left_out = desk.fetch(int(event.index[0]), lambda done, total: progress((done, total), desc="Fetching"))
    count = len(desk.images)
    middle = (count + 1) // 2
    desk.open(session, middle)
    sentence = f"{count} images fetched" + (f", {left_out} instances without an image left out." if left_out else ".")
    slider = gr.update(maximum=max(count, 2), value=middle, visible=count > 1)
    return [gr.Tabs(selected=IMAGE_TAB), secrets.token_hex(4), slider, sentence]


@warning
def _open(session: Session, desk: ArchiveDesk, number: float) -> list[Any]:
    desk.open(session, int(number))
    return [gr.Tabs(selected=IMAGE_TAB), secrets.token_hex(4)]


@warning
def _prepare(session: Session, desk: ArchiveDesk, kinds: list[str]) -> list[Any]:
    return [desk.prepare(session, kinds), gr.update(value="Send now", interactive=True)]


@warning
def _send(desk: ArchiveDesk) -> list[Any]:
    sentence = desk.send()
    return [sentence, gr.update(value="Try again" if desk.waiting else "Send now", interactive=bool(desk.waiting))]
