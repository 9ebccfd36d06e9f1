"""The archive's client against a service that behaves, and one that does not."""

from __future__ import annotations

import logging
import shutil
import socket
import traceback
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import pydicom
import pytest

pytest.importorskip("dicomweb_client", reason="dicomweb-client is not installed (extra archive)")

from medseg.archive.address import parse_address
from medseg.archive.client import Archive, open_archive
from medseg.archive.settings import Settings, read_settings
from medseg.errors import ArchiveError, CancelledError, ConfigError, InputError
from medseg.export.dicom_seg import write_dicom_seg
from medseg.export.results import write_results
from medseg.reading.readers import read_image
from tests.archive.archive_server import AFTER_ALL, FAULTS, OPERATIONS, Hospital, make_certificate, running_hospital
from tests.dicom_sources import write_source
from tests.segmented import drawing_ensemble, segment_files

TOKEN = "canary-token"  # noqa: S105 - a made-up one


@pytest.fixture
def hospital() -> Iterator[Hospital]:
    with running_hospital() as service:
        yield service


@pytest.fixture
def archive(hospital: Hospital) -> Iterator[Archive]:
    opened = Archive(Settings(hospital.url, token=TOKEN))
    opened.session.limits = (1.0, 1.0, 2.0)
    with opened.session:
        yield opened


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[Path]]:
    """A series, a film, and a SEG of that."""
    folder = tmp_path_factory.mktemp("files")
    film = write_source("cr", folder)
    predictions, sources = segment_files(film, drawing_ensemble())
    write_dicom_seg(predictions, sources, folder / "seg.dcm")
    return {"series": write_source("ct-series", folder), "film": film, "seg": [folder / "seg.dcm"]}


@pytest.fixture
def series(hospital: Hospital, files: dict[str, list[Path]]) -> list[pydicom.Dataset]:
    hospital.add(*reversed(files["series"]), *files["film"])
    return [pydicom.dcmread(path) for path in files["series"]]


@pytest.fixture
def result(files: dict[str, list[Path]], tmp_path: Path) -> Path:
    return Path(shutil.copy(files["seg"][0], tmp_path / "seg.dcm"))


def fetched(archive: Archive, folder: Path, image: pydicom.Dataset, **options: object) -> list[Path]:
    folder.mkdir(exist_ok=True)
    return archive.fetch(folder, image.StudyInstanceUID, image.SeriesInstanceUID, **options).paths


def test_studies_are_found_without_the_patients_name(archive: Archive, series: list[pydicom.Dataset]) -> None:
    (study,) = archive.find_studies(patient="Doe^ct")
    assert study.uid == series[0].StudyInstanceUID
    assert "Doe" not in repr(study)
    assert study.instances is None  # this archive does not say
    assert len(archive.find_studies()) == 2
    assert archive.find_studies(accession="nothing") == []
    (listed,) = archive.find_series(study.uid)
    assert (listed.uid, listed.modality) == (series[0].SeriesInstanceUID, "CT")


def test_a_series_is_fetched_whole_and_in_order(
    archive: Archive, series: list[pydicom.Dataset], tmp_path: Path
) -> None:
    steps: list[tuple[int, int]] = []
    paths = fetched(archive, tmp_path / "in", series[0], progress=lambda *step: steps.append(step))
    assert [path.name for path in paths] == ["0001.dcm", "0002.dcm", "0003.dcm"]
    assert [pydicom.dcmread(path) for path in paths] == series
    assert steps == [(0, 3), (1, 3), (2, 3), (3, 3)]


def test_what_holds_no_image_or_is_a_result_is_left_out_and_counted(
    archive: Archive, hospital: Hospital, files: dict[str, list[Path]], tmp_path: Path
) -> None:
    """A capture is an image too, and would be segmented again with every run."""
    film = files["film"]
    written = write_results(*segment_files(film, drawing_ensemble()), tmp_path / "result", ["seg", "capture", "map"])
    hospital.add(*film, *written)
    (tmp_path / "in").mkdir()
    fetched = archive.fetch(tmp_path / "in", pydicom.dcmread(film[0]).StudyInstanceUID)
    assert (len(fetched.paths), fetched.left_out) == (1, len(written))


def test_a_result_is_stored_once(archive: Archive, hospital: Hospital, result: Path) -> None:
    assert archive.store(result) == "stored"
    assert archive.store(result) == "already there"
    assert [request.split()[0] for request in hospital.requests].count("POST") == 1
    assert set(hospital.authorization) == {f"Bearer {TOKEN}"}


def test_a_result_that_is_listed_is_stored_though_the_answer_says_nothing(
    archive: Archive, hospital: Hospital, result: Path
) -> None:
    hospital.mood["STOW"] = "keeps and says nothing"
    assert archive.store(result) == "stored"


def test_an_attribute_that_holds_nonsense_spoils_no_search(
    archive: Archive, hospital: Hospital, series: list[pydicom.Dataset], tmp_path: Path
) -> None:
    hospital.lies = {"00200013": {"vr": "IS", "Value": ["one"]}, "zz": 3, "00080060": {"vr": "SQ", "Value": [7]}}
    assert len(fetched(archive, tmp_path / "in", series[0])) == 3


PATIENT = (60.0, 60.0, 60.0)


@pytest.mark.parametrize("operation", OPERATIONS)
@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_is_one_sentence_and_nothing_is_lost_doubled_or_given_away(
    fault: str, operation: str, archive: Archive, series: list[pydicom.Dataset], request: pytest.FixtureRequest
) -> None:
    hospital, result, log, patch, folder = map(
        request.getfixturevalue, ("hospital", "result", "caplog", "monkeypatch", "tmp_path")
    )
    log.set_level(logging.DEBUG)
    patch.setattr("medseg.archive.client.MAX_BYTES", 8 * 2**20)

    def ask() -> object:
        if operation == "retrieve":
            return len(fetched(archive, folder / "in", series[0]))
        return len(archive.find_studies()) if operation == "query" else archive.store(result)

    hospital.mood[OPERATIONS[operation]] = fault
    hurried = (0.5, 0.5, 2.0 if operation == "store" else 0.8)
    archive.session.limits = hurried if fault.startswith(("silent", "slow")) else PATIENT
    if operation == "store" and fault in AFTER_ALL:
        assert ask() == "stored"
    else:
        with pytest.raises(ArchiveError, match=rf"({FAULTS[fault]}).*\.$") as caught:
            ask()
        assert TOKEN not in "".join(traceback.format_exception(caught.value))
    assert not (folder / "in").exists() or list((folder / "in").iterdir()) == []
    hospital.mood.clear()
    archive.session.limits = PATIENT
    assert ask() in (3, 2, "stored", "already there")
    assert set(hospital.arrivals.values()) == ({1} if operation == "store" else set())
    assert log.text
    assert TOKEN not in log.text


@pytest.mark.parametrize("other", ["other image", "other study"])
def test_another_image_than_was_asked_for_is_refused(
    other: str, archive: Archive, hospital: Hospital, series: list[pydicom.Dataset], tmp_path: Path
) -> None:
    """A result of it would be stored with another patient."""
    hospital.mood["WADO"] = other
    with pytest.raises(ArchiveError, match="another image than was asked for"):
        fetched(archive, tmp_path / "in", series[0])
    assert list((tmp_path / "in").iterdir()) == []


@pytest.mark.parametrize(
    ("mood", "sentence"), [("fails", "does not take it .reason A700."), ("says nothing", "does not say that it stored")]
)
def test_a_positive_answer_that_stores_nothing_is_no_success(
    mood: str, sentence: str, archive: Archive, hospital: Hospital, result: Path
) -> None:
    hospital.mood["STOW"] = mood
    with pytest.raises(ArchiveError, match=sentence):
        archive.store(result)
    hospital.mood.clear()
    assert archive.store(result) == "stored"


def test_an_archive_that_takes_no_more_of_a_large_file_ends_in_a_sentence(
    archive: Archive, hospital: Hospital, result: Path
) -> None:
    large = pydicom.dcmread(result)
    large.add_new(0x00091001, "OB", bytes(16 * 2**20))
    large.save_as(result)
    hospital.mood["STOW"] = "reads nothing"
    with pytest.raises(ArchiveError, match="does not answer in time"):
        archive.store(result)


def test_no_redirection_is_followed(archive: Archive, hospital: Hospital, result: Path) -> None:
    """A 307 would hand the file, and with it the patient, to whatever host it names."""
    with running_hospital() as other:
        hospital.elsewhere = f"{other.url}/studies"
        for operation in ("STOW", "QIDO"):
            hospital.mood[operation] = "redirection"
            with pytest.raises(ArchiveError, match=r"a redirection \(307\)"):
                archive.store(result)
        assert other.requests == []


def test_a_silent_archive_is_left_at_once_where_the_visitor_cancels(
    archive: Archive, series: list[pydicom.Dataset], hospital: Hospital, tmp_path: Path
) -> None:
    archive.session.limits = (20.0, 20.0, 20.0)

    def progress(done: int, _: int) -> None:
        if done == 1:
            hospital.mood["WADO"] = "silent"

    with pytest.raises(CancelledError):
        fetched(archive, tmp_path / "in", series[0], progress=progress, cancelled=lambda: bool(hospital.mood))
    assert list((tmp_path / "in").iterdir()) == []


def test_lists_that_the_archive_cuts_are_asked_for_whole(
    archive: Archive, hospital: Hospital, series: list[pydicom.Dataset], tmp_path: Path
) -> None:
    hospital.most = 2
    assert len(fetched(archive, tmp_path / "in", series[0])) == 3


def test_one_instance_is_fetched_by_its_uid(archive: Archive, series: list[pydicom.Dataset], tmp_path: Path) -> None:
    second = series[1]
    place = (second.StudyInstanceUID, second.SeriesInstanceUID)
    (path,) = archive.fetch(tmp_path, *place, second.SOPInstanceUID).paths
    assert pydicom.dcmread(path) == second
    with pytest.raises(ArchiveError, match="holds no image here"):
        archive.fetch(tmp_path, *place, "1.2.3")


def test_a_fetch_of_more_bytes_than_are_taken_leaves_nothing(
    archive: Archive, series: list[pydicom.Dataset], tmp_path: Path
) -> None:
    with pytest.raises(ArchiveError, match="choose fewer"):
        fetched(archive, tmp_path / "in", series[0], most_bytes=30_000)
    assert list((tmp_path / "in").iterdir()) == []


@pytest.mark.parametrize("rendering", ["", "404", "500"])
def test_a_preview_is_rendered_there_or_is_the_image_itself(
    rendering: str, archive: Archive, hospital: Hospital, series: list[pydicom.Dataset], tmp_path: Path
) -> None:
    hospital.mood["RENDER"] = rendering
    image = read_image(archive.fetch_preview(tmp_path, series[0].StudyInstanceUID, series[0].SeriesInstanceUID))
    assert image.size == ((96, 128) if rendering else (12, 12))


@pytest.mark.filterwarnings("ignore:Invalid value")
@pytest.mark.parametrize("uid", ["", "../../../admin", "1.2/studies/3", "1.2\\1.3"])
def test_a_file_whose_uids_are_none_is_not_sent(archive: Archive, hospital: Hospital, result: Path, uid: str) -> None:
    image = pydicom.dcmread(result)
    image.StudyInstanceUID = uid
    image.save_as(result)
    with pytest.raises(InputError, match="digits and dots"):
        archive.store(result)
    assert hospital.requests == []


def test_an_archive_that_is_down_is_named_without_its_path() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        archive = Archive(Settings(f"http://127.0.0.1:{taken.getsockname()[1]}/secret-path"))
        with archive.session, pytest.raises(ArchiveError, match="cannot be reached") as caught:
            archive.find_studies()
    assert "secret-path" not in str(caught.value)


@pytest.mark.skipif(shutil.which("openssl") is None, reason="openssl is missing")
def test_a_certificate_of_nobody_is_refused_until_its_file_is_named(tmp_path: Path) -> None:
    certificate, both = make_certificate(tmp_path)
    with running_hospital(both) as hospital:
        settings = Settings(hospital.url)
        archive = Archive(settings)
        with archive.session, pytest.raises(ArchiveError, match="certificate that is not trusted"):
            archive.find_studies()
        trusting = Archive(replace(settings, ca=str(certificate)))
        with trusting.session:
            assert trusting.find_studies() == []


def test_a_cancelled_fetch_leaves_no_file(archive: Archive, series: list[pydicom.Dataset], tmp_path: Path) -> None:
    calls: list[int] = []
    with pytest.raises(CancelledError):
        fetched(archive, tmp_path / "in", series[0], cancelled=lambda: calls.append(1) is None and len(calls) > 1)
    assert list((tmp_path / "in").iterdir()) == []


def test_the_token_is_in_no_log(
    archive: Archive, series: list[pydicom.Dataset], result: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.DEBUG):
        archive.find_studies()
        archive.store(result)
    assert caplog.text
    assert TOKEN not in caplog.text
    assert TOKEN not in repr(archive.settings)


@pytest.mark.parametrize("uid", ["", "1.2/../../admin", "1.2?x=1", "1" * 65, "1.2\n", "*", "١.٢"])
def test_only_a_uid_becomes_part_of_a_url(
    archive: Archive, uid: str, hospital: Hospital, series: list[pydicom.Dataset], tmp_path: Path
) -> None:
    with pytest.raises(InputError, match="digits and dots"):
        archive.find_series(uid)
    hospital.lies = {"00080018": {"vr": "UI", "Value": [uid or "/"]}}  # an archive's UIDs are a stranger's too
    with pytest.raises(InputError, match="digits and dots"):
        fetched(archive, tmp_path / "in", series[0])
    assert not any("/instances/" in request for request in hospital.requests)


@pytest.mark.parametrize(
    ("field", "text", "sentence"),
    [
        *(("patient", "x" * 65, "up to 64 signs"), ("accession", "a\r\nHost: evil", "in one line")),
        *(("modality", "\u202eRC", "in one line"), ("date", "٢٠٢٦٠١٠٢", "A date is"), ("date", "2026", "A date is")),
    ],
)
def test_a_search_that_cannot_be_meant_is_not_sent(
    archive: Archive, hospital: Hospital, field: str, text: str, sentence: str
) -> None:
    with pytest.raises(InputError, match=sentence):
        archive.find_studies(**{field: text})
    assert hospital.requests == []


def test_a_search_stays_in_its_field(archive: Archive, hospital: Hospital) -> None:
    archive.find_studies(accession="a&PatientID=*#/../")
    assert [parse_qs(urlsplit(request).query) for request in hospital.requests] == [
        {"AccessionNumber": ["a?PatientID?*??..?"], "limit": ["100"]}
    ]


def test_a_search_for_signs_that_a_url_encodes_finds_these_alone(
    archive: Archive, hospital: Hospital, tmp_path: Path
) -> None:
    (path,) = write_source("cr", tmp_path)
    for number, name in enumerate(("Müller^Anna Lena", "Miller-Anna-Lena"), start=1):
        image = pydicom.dcmread(path)
        image.SpecificCharacterSet, image.PatientName = "ISO_IR 100", name
        image.PatientID, image.AccessionNumber = ("1/2", "A 1") if number == 1 else ("1-2", "A-1")
        image.StudyInstanceUID, image.SOPInstanceUID = f"1.2.{number}", f"1.3.{number}"
        image.save_as(path)
        hospital.add(path)
    for search in ({"patient": "müller^anna"}, {"patient": "1/2"}, {"accession": "A 1"}):
        assert [study.uid for study in archive.find_studies(**search)] == ["1.2.1"]
    assert len(archive.find_studies(patient="Anna?Lena")) == 2


@pytest.mark.parametrize("frame", ["0", "-1", "1.5", "9" * 5000, "²"])
def test_a_frame_is_a_number(frame: str) -> None:
    with pytest.raises(InputError, match="a number from 1"):
        parse_address(f"1.2/1.3/1.4/{frame}")


@pytest.mark.parametrize(
    ("environment", "sentence"),
    [
        ({"MEDSEG_DICOMWEB": "pacs.example"}, "must be the URL"),
        ({"MEDSEG_DICOMWEB": "file:///etc"}, "must be the URL"),
        ({"MEDSEG_DICOMWEB": "http://[::1"}, "must be the URL"),
        ({"MEDSEG_DICOMWEB": "http://a:99999"}, "must be the URL"),
        ({"MEDSEG_DICOMWEB": "https://me:canary@pacs.example"}, "must hold no password"),
        ({"MEDSEG_DICOMWEB": "https://a", "MEDSEG_DICOMWEB_TOKEN": "t", "MEDSEG_DICOMWEB_USER": "a:b"}, "one of them"),
        ({"MEDSEG_DICOMWEB": "https://a", "MEDSEG_DICOMWEB_USER": "canary"}, "must be name:password"),
        ({"MEDSEG_DICOMWEB": "https://a", "MEDSEG_DICOMWEB_CA": "/no/such"}, "names no file"),
    ],
)
def test_a_bad_setting_is_named_without_its_value(environment: dict[str, str], sentence: str) -> None:
    with pytest.raises(ConfigError, match=sentence) as caught:
        read_settings(environment)
    assert "canary" not in str(caught.value)


def test_without_the_setting_there_is_no_archive(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MEDSEG_DICOMWEB", raising=False)
    assert read_settings() is None
    with pytest.raises(ArchiveError, match="set MEDSEG_DICOMWEB to the URL"):
        open_archive()
