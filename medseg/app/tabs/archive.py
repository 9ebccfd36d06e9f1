"""The archive's tab: find a study, open its images, send results back. It is there where the owner names an archive."""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from typing import Any

import gradio as gr
import PIL.Image

from medseg.app.render.images import THUMBNAIL, thumbnail
from medseg.app.state.archive import MAX_PREVIEWS, ArchiveDesk
from medseg.app.state.session import Session
from medseg.app.tabs.events import PRIVATE, QUIET, warning
from medseg.app.tabs.handlers import PROGRESS
from medseg.app.tabs.image import IMAGE_TAB
from medseg.app.viewer.components import SETTLED
from medseg.archive.address import Address, parse_address
from medseg.archive.client import MOST

_STUDIES = ["Date", "Modality", "Description", "Accession", "Images"]
_SERIES = ["Number", "Modality", "Description", "Images"]
_KINDS = [
    ("Mask (SEG)", "seg"),
    ("Probabilities (SEG)", "probabilities"),
    ("Image with outlines (capture)", "capture"),
    ("Probabilities (parametric map)", "map"),
]
_OPEN, _WHOLE = "The open image", "The whole series, at the settings of the open image"
_NOTHING = PIL.Image.new("L", THUMBNAIL, 224)


def draw_archive_tab(session: gr.State, tabs: gr.Tabs, changed: gr.State) -> None:
    """Draw the tab; a series opens in the first of `tabs`, which `changed` tells."""
    desk = gr.State(ArchiveDesk())
    gr.Markdown("Find a study of the hospital's archive. Names of patients are searched for and not shown.")
    with gr.Row():
        patient = gr.Textbox(label="Patient's ID or name", elem_id="archive-patient")
        accession = gr.Textbox(label="Accession number")
        date = gr.Textbox(label="Date or range", placeholder="20260101-20260131")
        modality = gr.Textbox(label="Modality", placeholder="CR, US, …")
        find = gr.Button("Find", elem_id="archive-find")
    studies = _table("Studies", _STUDIES, "archive-studies")
    series = _table("Series of the chosen study", _SERIES, "archive-series")
    previews = gr.Gallery(
        label=f"Middle images of its first {MAX_PREVIEWS} series; a click opens one",
        columns=8,
        height=190,
        object_fit="contain",
        allow_preview=False,
        interactive=False,
        visible=False,
        buttons=[],
        elem_id="archive-previews",
        elem_classes="captioned",
    )
    with gr.Row():
        said = gr.Markdown("A row of the studies lists its series; a row of the series opens its images.")
        stop = gr.Button("Cancel", size="sm", scale=0, min_width=80, elem_id="archive-stop")
    with gr.Row():
        place = gr.Textbox(
            label="Or open by UIDs",
            placeholder="study/series, study/series/instance or …/frame",
            elem_id="archive-uids",
        )
        by_uid = gr.Button("Open", size="sm", scale=0, min_width=80)
    number = gr.Slider(1, 2, 1, step=1, label="Image of the series", visible=False, elem_id="archive-image")
    gr.Markdown("### Send results to the archive")
    with gr.Row():
        kinds = gr.CheckboxGroup(_KINDS, value=["seg"], label="Results", elem_id="archive-kinds")
        of = gr.Radio([_OPEN, _WHOLE], value=_OPEN, label="Of", elem_id="archive-of")
    with gr.Row():
        prepare = gr.Button("Prepare", size="sm", elem_id="archive-prepare")
        send = gr.Button("Send now", size="sm", interactive=False, elem_id="archive-send")
    sent = gr.Markdown("Nothing is sent before you have seen what goes where.", elem_id="archive-sent")
    gr.on(
        [find.click, patient.submit],
        _find,
        [desk, patient, accession, date, modality],
        [studies, series, said],
        **PRIVATE,
    )
    chosen = studies.select(_choose, desk, series, **PRIVATE)
    chosen.then(_previews, desk, previews, **QUIET)
    opened = [tabs, changed, number, said]
    for event in (series.select, previews.select):
        event(_fetch_row, [session, desk], opened, show_progress_on=said, **PRIVATE)
    gr.on([by_uid.click, place.submit], _fetch_uids, [session, desk, place], opened, show_progress_on=said, **PRIVATE)
    number.release(_open, [session, desk, number], [tabs, changed], **PRIVATE)
    stop.click(lambda desk: desk.stop(), desk, **QUIET)
    prepare.click(_prepare, [session, desk, kinds, of], [sent, send], js=SETTLED, show_progress_on=sent, **PRIVATE)
    send.click(_send, desk, [sent, send], **PRIVATE)


def _table(label: str, headers: list[str], name: str) -> gr.Dataframe:
    settings: dict[str, Any] = {"interactive": False, "max_height": 240, "buttons": []}
    return gr.Dataframe(headers=headers, type="array", label=label, elem_id=name, **settings)


@warning
def _find(desk: ArchiveDesk, patient: str, accession: str, date: str, modality: str) -> list[Any]:
    desk.find(patient=patient, accession=accession, date=date, modality=modality)
    rows = [
        [entry.date, entry.modalities, entry.description, entry.accession, entry.instances] for entry in desk.studies
    ]
    sentence = f"{len(rows)} {'study' if len(rows) == 1 else 'studies'}." if rows else "No study matches."
    if len(rows) == MOST:
        sentence = f"The newest of at least {MOST} studies: narrow the search for others."
    return [rows, [], sentence]


@warning
def _choose(desk: ArchiveDesk, event: gr.SelectData) -> list[Any]:
    desk.choose(int(event.index[0]))
    return [[series.number, series.modality, series.description, series.instances] for series in desk.series]


def _previews(desk: ArchiveDesk) -> Iterator[Any]:
    """One after the other; an archive that fails here fails in a sentence where the series is opened."""
    yield gr.update(value=[], visible=False)
    for shown in desk.previews():
        images = [(_NOTHING if image is None else thumbnail(image), title) for image, title in shown]
        yield gr.update(value=images, visible=True)


@warning
def _fetch_row(
    session: Session, desk: ArchiveDesk, event: gr.SelectData, progress: gr.Progress = PROGRESS
) -> list[Any]:
    row = event.index if isinstance(event.index, int) else event.index[0]
    return _fetched(session, desk, Address(desk.study, desk.series[row].uid), progress)


@warning
def _fetch_uids(session: Session, desk: ArchiveDesk, place: str, progress: gr.Progress = PROGRESS) -> list[Any]:
    return _fetched(session, desk, parse_address(place), progress)


def _fetched(session: Session, desk: ArchiveDesk, place: Address, progress: gr.Progress) -> list[Any]:
    sentence = desk.fetch(place, lambda done, total: progress((done, total), desc="Fetching"))
    count = desk.frames
    number = place.frame or (count + 1) // 2
    desk.open(session, number)
    slider = gr.update(maximum=max(count, 2), value=number, visible=count > 1)
    return [gr.Tabs(selected=IMAGE_TAB), secrets.token_hex(4), slider, sentence]


@warning
def _open(session: Session, desk: ArchiveDesk, number: float) -> list[Any]:
    desk.open(session, int(number))
    return [gr.Tabs(selected=IMAGE_TAB), secrets.token_hex(4)]


@warning
def _prepare(
    session: Session, desk: ArchiveDesk, kinds: list[str], of: str, progress: gr.Progress = PROGRESS
) -> list[Any]:
    sentence = desk.prepare(
        session, kinds, of == _WHOLE, lambda done, total: progress((done, total), desc="Segmenting the series")
    )
    return [sentence, gr.update(value="Send now", interactive=True)]


@warning
def _send(desk: ArchiveDesk) -> list[Any]:
    sentence, again = desk.outgoing.send(), bool(desk.outgoing.waiting)
    return [sentence, gr.update(value="Try again" if again else "Send now", interactive=again)]
