"""The page and the archive: found without names, opened, sent after a look, kept where it was not stored."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import gradio as gr
import pydicom
import pytest

pytest.importorskip("dicomweb_client", reason="dicomweb-client is not installed (extra archive)")

from medseg.app.server.settings import read_settings
from medseg.app.state.archive import ArchiveDesk
from medseg.app.state.session import Session
from medseg.app.tabs import archive
from medseg.archive.session import CancelledError
from medseg.errors import InputError
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
    assert desk.fetch(0, lambda done, total: None) == 0
    desk.open(session, 2)


def test_the_tab_is_there_where_the_owner_names_an_archive() -> None:
    assert read_settings({"MEDSEG_DICOMWEB": "https://pacs.example"}).archive
    assert not read_settings({}).archive


def test_a_series_is_found_and_opened_without_its_patients_name(hospital: Hospital, session: Session) -> None:
    desk = ArchiveDesk()
    rows, _ = archive._find(desk, "Doe", "", "", "")
    assert len(rows) == 1
    assert "Doe" not in str(rows)
    opened(desk, session)
    assert len(desk.images) == 3
    source = pydicom.dcmread(session.view_state.path)
    assert source.InstanceNumber == 2
    assert source.SOPInstanceUID in hospital.held


def test_nothing_is_sent_before_the_visitor_saw_what_goes_where(hospital: Hospital, session: Session) -> None:
    desk = ArchiveDesk()
    opened(desk, session)
    sentence = desk.prepare(session, ["seg", "capture"])
    assert "medseg-seg.dcm, medseg-capture001.dcm will be stored at 127.0.0.1" in sentence
    assert "name and ID" in sentence
    assert not any(request.startswith("POST") for request in hospital.requests)
    assert desk.send().count("stored.") == 2
    assert len(hospital.held) == 5
    assert desk.send() == "Nothing waits to be sent."


def test_what_was_not_stored_is_kept_for_another_try(hospital: Hospital, session: Session) -> None:
    desk = ArchiveDesk()
    opened(desk, session)
    desk.prepare(session, ["seg"])
    hospital.mood["POST"] = "503"
    sentence, button = archive._send(desk)
    assert "not stored, and kept for another try" in sentence
    assert (button["value"], button["interactive"]) == ("Try again", True)
    hospital.mood.clear()
    assert "stored." in desk.send()
    assert desk.waiting == []


def test_a_fault_is_a_warning_on_the_page(hospital: Hospital) -> None:
    hospital.mood["GET"] = "401"
    with pytest.warns(UserWarning, match="does not know us"):
        assert archive._find(ArchiveDesk(), "", "", "", "") == gr.skip()


def test_fetching_can_be_cancelled(hospital: Hospital, session: Session) -> None:
    desk = ArchiveDesk()
    desk.find(patient="", accession="", date="", modality="")
    desk.choose(0)
    with pytest.raises(CancelledError):
        desk.fetch(0, lambda done, total: desk.stopped.set())
    assert desk.images == []


def test_a_result_needs_a_kind(session: Session) -> None:
    with pytest.raises(InputError, match="at least one kind"):
        ArchiveDesk().prepare(session, [])
