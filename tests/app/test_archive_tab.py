"""The page and the archive: found without names, opened, sent after a look, kept where it was not stored."""

from __future__ import annotations

import io
import re
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import gradio as gr
import numpy as np
import pydicom
import pytest

pytest.importorskip("dicomweb_client", reason="dicomweb-client is not installed (extra archive)")

from medseg.app.server.settings import read_settings
from medseg.app.state.archive import ArchiveDesk
from medseg.app.state.session import Session
from medseg.app.tabs import archive
from medseg.archive.address import Address
from medseg.errors import CancelledError, InputError
from medseg.inference.ensemble import Ensemble
from tests.archive.archive_server import Hospital, running_hospital
from tests.dicom_sources import write_source


@pytest.fixture
def hospital(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Hospital]:
    with running_hospital() as service:
        monkeypatch.setenv("MEDSEG_DICOMWEB", service.url)
        service.add(*write_source("ct-series", tmp_path))
        yield service


@pytest.fixture
def session(tiny_ensemble: Path, tmp_path: Path) -> Session:
    visitor = Session()
    visitor.open(write_source("cr", tmp_path)[0], Ensemble.from_pretrained(tiny_ensemble))
    return visitor


def opened(desk: ArchiveDesk, session: Session) -> None:
    desk.find(patient="ct", accession="", date="", modality="")
    desk.choose(0)
    assert fetched(desk) == "3 images fetched."
    desk.open(session, 2)


def fetched(desk: ArchiveDesk, progress: Callable[[int, int], None] = lambda done, total: None) -> str:
    return desk.fetch(Address(desk.study, desk.series[0].uid), progress)


def test_the_tab_is_there_where_the_owner_names_an_archive() -> None:
    assert read_settings({"MEDSEG_DICOMWEB": "https://pacs.example"}).archive
    assert not read_settings({}).archive


def test_a_series_is_found_and_opened_without_its_patients_name(hospital: Hospital, session: Session) -> None:
    desk = ArchiveDesk()
    rows, _, sentence = archive._find(desk, "Doe", "", "", "")
    assert (len(rows), sentence) == (1, "1 study.")
    assert "Doe" not in str(rows)
    opened(desk, session)
    assert desk.frames == 3
    source = pydicom.dcmread(session.view_state.path)
    assert source.InstanceNumber == 2
    assert source.SOPInstanceUID in hospital.held


def test_nothing_is_sent_before_the_visitor_saw_what_goes_where(hospital: Hospital, session: Session) -> None:
    desk = ArchiveDesk()
    opened(desk, session)
    sentence = desk.prepare(session, ["seg", "capture"])
    assert re.match(r"medseg-seg.dcm \(\d+ kB\), medseg-capture001.dcm \(\d+ kB\): results of one image", sentence)
    assert "Stored at 127.0.0.1" in sentence
    assert "name and ID" in sentence
    assert not any(request.startswith("POST") for request in hospital.requests)
    assert desk.outgoing.send().count("stored.") == 2
    assert len(hospital.held) == 5
    assert desk.outgoing.send() == "Nothing waits to be sent."


def test_what_was_not_stored_is_kept_for_another_try(hospital: Hospital, session: Session) -> None:
    desk = ArchiveDesk()
    opened(desk, session)
    desk.prepare(session, ["seg"])
    hospital.mood["STOW"] = "503"
    sentence, button = archive._send(desk)
    assert "medseg-seg.dcm: not stored. The archive" in sentence
    assert "kept for another try" in sentence
    assert (button["value"], button["interactive"]) == ("Try again", True)
    hospital.mood.clear()
    assert "stored." in desk.outgoing.send()
    assert desk.outgoing.waiting == []


def test_a_fault_is_a_warning_on_the_page(hospital: Hospital) -> None:
    hospital.mood["QIDO"] = "401"
    with pytest.warns(UserWarning, match="does not know us"):
        assert archive._find(ArchiveDesk(), "", "", "", "") == gr.skip()


def test_fetching_can_be_cancelled(hospital: Hospital, session: Session) -> None:
    desk = ArchiveDesk()
    desk.find(patient="", accession="", date="", modality="")
    desk.choose(0)
    with pytest.raises(CancelledError):
        fetched(desk, lambda done, total: desk.stop())
    assert desk.frames == 0


def test_a_search_of_a_silent_archive_can_be_cancelled(hospital: Hospital) -> None:
    hospital.mood["QIDO"] = "silent"
    desk = ArchiveDesk()
    threading.Timer(0.2, desk.stop).start()
    with pytest.raises(CancelledError):
        desk.find(patient="ct", accession="", date="", modality="")


def test_a_result_needs_a_kind(session: Session) -> None:
    with pytest.raises(InputError, match="at least one kind"):
        ArchiveDesk().prepare(session, [])


def test_a_whole_series_is_one_seg_of_every_slice_sent_after_the_look(hospital: Hospital, session: Session) -> None:
    desk, steps = ArchiveDesk(), list[int]()
    opened(desk, session)
    sentence = desk.prepare(session, ["seg"], True, lambda done, total: steps.append(done))
    assert steps == [0, 1, 2]
    assert "results of 3 images of the series" in sentence
    assert "medseg-seg.dcm: stored." in desk.outgoing.send()
    (result,) = (pydicom.dcmread(io.BytesIO(held)) for held in hospital.held.values() if b"research only" in held)
    assert result.NumberOfFrames == 3
    assert np.array_equal(result.pixel_array[1].astype(bool), session.view_state.prediction.masks[0])


def test_the_run_over_a_series_is_cancelled_and_leaves_nothing_to_send(hospital: Hospital, session: Session) -> None:
    desk = ArchiveDesk()
    opened(desk, session)
    with pytest.raises(InputError, match="Cancelled"):
        desk.prepare(session, ["seg"], True, lambda done, total: desk.stop())
    assert desk.outgoing.send() == "Nothing waits to be sent."


def test_a_capture_of_a_whole_series_is_refused(hospital: Hospital, session: Session) -> None:
    with pytest.raises(InputError, match="shows one image"):
        ArchiveDesk().prepare(session, ["capture"], True)


def test_a_result_of_an_image_that_the_archive_does_not_hold_is_not_sent(hospital: Hospital, session: Session) -> None:
    with pytest.raises(InputError, match="does not hold the open image"):
        ArchiveDesk().prepare(session, ["seg"])


def test_two_clicks_send_once(hospital: Hospital, session: Session) -> None:
    desk = ArchiveDesk()
    opened(desk, session)
    desk.prepare(session, ["seg"])
    with ThreadPoolExecutor(2) as threads:
        said = sorted(threads.map(lambda _: desk.outgoing.send(), range(2)))
    assert said == ["Nothing waits to be sent.", "medseg-seg.dcm: stored."]
    assert sum(request.startswith("POST") for request in hospital.requests) == 1


def test_what_was_not_stored_is_not_lost_when_another_result_is_prepared(hospital: Hospital, session: Session) -> None:
    desk = ArchiveDesk()
    opened(desk, session)
    desk.prepare(session, ["seg"])
    hospital.mood["STOW"] = "413"
    desk.outgoing.send()
    assert desk.prepare(session, ["map"]).startswith("medseg-seg.dcm")
    hospital.mood.clear()
    assert desk.outgoing.send().count("stored.") == 2


def test_previews_come_one_by_one_and_end_where_they_are_stopped(hospital: Hospital, session: Session) -> None:
    desk = ArchiveDesk()
    desk.find(patient="ct", accession="", date="", modality="")
    desk.choose(0)
    ((image, title),) = next(desk.previews())
    assert image.size == (12, 12)
    assert title == "1 · CT"
    steps = desk.previews()
    desk.series *= 2
    next(steps)
    desk.stop()
    assert list(steps) == []
    hospital.mood["QIDO"] = "404"
    assert [image for image, _ in list(desk.previews())[-1]] == [None, None]


def test_one_frame_is_opened_by_its_uids(hospital: Hospital, session: Session, tmp_path: Path) -> None:
    path = write_source("us-cine", tmp_path)[0]
    hospital.add(path)
    cine = pydicom.dcmread(path)
    desk = ArchiveDesk()
    place = f"{cine.StudyInstanceUID}/{cine.SeriesInstanceUID}/{cine.SOPInstanceUID}/3"
    _, _, slider, sentence = archive._fetch_uids(session, desk, place)
    assert (slider["value"], slider["maximum"], sentence) == (3, 3, "3 images fetched.")
    image = session.view_state.prediction.image
    assert (image.frame, image.frames) == (2, 3)
    with pytest.warns(UserWarning, match="UIDs and a number from 1"):
        archive._fetch_uids(session, desk, f"{place}/4")
