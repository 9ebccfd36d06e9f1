"""The archive's client against a service that behaves, and one that does not."""

from __future__ import annotations

import logging
import shutil
import socket
import subprocess
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pydicom
import pytest

pytest.importorskip("dicomweb_client", reason="dicomweb-client is not installed (extra archive)")

from medseg.archive.client import Archive, open_archive
from medseg.archive.settings import Settings, read_settings
from medseg.errors import ArchiveError, CancelledError, ConfigError, InputError
from medseg.export.dicom_seg import write_dicom_seg
from medseg.reading.readers import read_image
from tests.archive.archive_server import Hospital, running_hospital
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


@pytest.fixture
def series(hospital: Hospital, tmp_path: Path) -> list[pydicom.Dataset]:
    paths = write_source("ct-series", tmp_path)
    hospital.add(*reversed(paths), *write_source("cr", tmp_path))
    return [pydicom.dcmread(path) for path in paths]


@pytest.fixture
def result(tmp_path: Path) -> Path:
    predictions, files = segment_files(write_source("cr", tmp_path), drawing_ensemble())
    write_dicom_seg(predictions, files, tmp_path / "seg.dcm")
    return tmp_path / "seg.dcm"


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
    (found,) = archive.find_series(study.uid)
    assert (found.uid, found.modality) == (series[0].SeriesInstanceUID, "CT")


def test_a_series_is_fetched_whole_and_in_order(
    archive: Archive, series: list[pydicom.Dataset], tmp_path: Path
) -> None:
    steps: list[tuple[int, int]] = []
    paths = fetched(archive, tmp_path / "in", series[0], progress=lambda *step: steps.append(step))
    assert [path.name for path in paths] == ["0001.dcm", "0002.dcm", "0003.dcm"]
    assert [pydicom.dcmread(path) for path in paths] == series
    assert steps == [(0, 3), (1, 3), (2, 3), (3, 3)]


def test_what_holds_no_image_is_left_out_and_counted(
    archive: Archive, hospital: Hospital, series: list[pydicom.Dataset], result: Path, tmp_path: Path
) -> None:
    hospital.add(result)
    (tmp_path / "in").mkdir()
    got = archive.fetch(tmp_path / "in", pydicom.dcmread(result).StudyInstanceUID)
    assert (len(got.paths), got.left_out) == (1, 1)


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
    hospital.mood["rows"] = "nonsense"
    assert len(fetched(archive, tmp_path / "in", series[0])) == 3


def test_a_result_that_arrived_though_the_answer_did_not_is_not_sent_twice(
    archive: Archive, hospital: Hospital, result: Path
) -> None:
    hospital.mood["STOW"] = "dies after"
    assert archive.store(result) == "stored"
    hospital.mood.clear()
    assert archive.store(result) == "already there"
    assert [request.split()[0] for request in hospital.requests].count("POST") == 1


FAULTS = [
    ({"GET": "401"}, "does not know us .401.: check MEDSEG_DICOMWEB_TOKEN"),
    ({"GET": "403"}, "does not allow this .403."),
    ({"GET": "404"}, "does not hold this .404."),
    ({"GET": "304"}, "a redirection .304."),
    ({"GET": "500"}, "answers with the status 500"),
    ({"GET": "silent"}, "does not answer in time"),
    ({"GET": "drips headers"}, "does not answer in time"),
    ({"GET": "web page"}, "is not DICOMweb"),
    ({"WADO": "half"}, "broke off|cannot be reached"),
    ({"WADO": "half without length"}, "broke off"),
    ({"WADO": "slow"}, "does not answer in time"),
    ({"WADO": "other image"}, "another image than was asked for"),
]


@pytest.mark.parametrize(("mood", "sentence"), FAULTS, ids=[" ".join(*mood.items()) for mood, _ in FAULTS])
def test_a_fault_while_fetching_is_one_sentence_and_leaves_no_file(
    mood: dict[str, str], sentence: str, archive: Archive, series: list[pydicom.Dataset], request: pytest.FixtureRequest
) -> None:
    hospital, tmp_path = request.getfixturevalue("hospital"), request.getfixturevalue("tmp_path")
    hospital.mood.update(mood)
    with pytest.raises(ArchiveError, match=sentence) as caught:
        fetched(archive, tmp_path / "in", series[0])
    assert list((tmp_path / "in").iterdir()) == []
    assert str(caught.value).endswith(".")
    assert TOKEN not in str(caught.value)
    hospital.mood.clear()
    assert len(fetched(archive, tmp_path / "in", series[0])) == 3


@pytest.mark.parametrize(
    ("mood", "sentence"),
    [
        ({"POST": "401"}, "does not know us .401."),
        ({"POST": "409"}, "conflicts with what it holds"),
        ({"POST": "413"}, "too large .413."),
        ({"POST": "silent"}, "does not answer in time"),
        ({"POST": "drips headers"}, "does not answer in time"),
        ({"POST": "503"}, "answers with the status 503"),
        ({"STOW": "fails"}, "does not take it .reason A700."),
        ({"STOW": "says nothing"}, "does not say that it stored it"),
        ({"POST": "web page"}, "not DICOMweb|does not say that it stored it"),
    ],
)
def test_a_fault_while_storing_keeps_the_file_for_another_try(
    mood: dict[str, str], sentence: str, archive: Archive, hospital: Hospital, result: Path
) -> None:
    hospital.mood.update(mood)
    with pytest.raises(ArchiveError, match=sentence):
        archive.store(result)
    assert [request.split()[0] for request in hospital.requests].count("POST") == 1
    hospital.mood.clear()
    assert archive.store(result) == "stored"


def test_an_archive_that_takes_no_more_of_a_large_file_ends_in_a_sentence(
    archive: Archive, hospital: Hospital, result: Path
) -> None:
    large = pydicom.dcmread(result)
    large.add_new(0x00091001, "OB", bytes(16 * 2**20))
    large.save_as(result)
    hospital.mood["POST"] = "reads nothing"
    with pytest.raises(ArchiveError, match="does not answer in time"):
        archive.store(result)


def test_no_redirection_is_followed(archive: Archive, hospital: Hospital, result: Path) -> None:
    """A 307 would hand the file, and with it the patient, to whatever host it names."""
    with running_hospital() as other:
        for method in ("POST", "GET"):
            hospital.mood[method] = f"{other.url}/studies"
            with pytest.raises(ArchiveError, match=r"a redirection \(307\)"):
                archive.store(result)
        assert other.requests == []


def test_a_silent_archive_is_left_at_once_where_the_visitor_cancels(
    archive: Archive, series: list[pydicom.Dataset], hospital: Hospital, tmp_path: Path
) -> None:
    archive.session.limits = (20.0, 20.0, 20.0)

    def progress(done: int, _: int) -> None:
        if done == 1:
            hospital.mood["GET"] = "silent"

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
    key, certificate = tmp_path / "key.pem", tmp_path / "certificate.pem"
    command = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "1", "-subj", "/CN=127.0.0.1"]
    names = ["-addext", "subjectAltName=IP:127.0.0.1", "-keyout", key, "-out", certificate]
    subprocess.run([*command, *names], check=True, capture_output=True)
    both = tmp_path / "both.pem"
    both.write_bytes(certificate.read_bytes() + key.read_bytes())
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


def test_a_fault_is_no_traceback_in_the_log(
    archive: Archive, hospital: Hospital, caplog: pytest.LogCaptureFixture
) -> None:
    hospital.mood["GET"] = "silent"
    with pytest.raises(ArchiveError):
        archive.find_studies()
    assert "File" not in caplog.text


def test_the_token_is_in_no_log(
    archive: Archive, series: list[pydicom.Dataset], result: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.DEBUG):
        archive.find_studies()
        archive.store(result)
    assert caplog.text
    assert TOKEN not in caplog.text
    assert TOKEN not in repr(archive.settings)


@pytest.mark.parametrize("uid", ["", "1.2/../../admin", "1.2?x=1", "1" * 65])
def test_only_a_uid_becomes_part_of_a_url(archive: Archive, uid: str) -> None:
    with pytest.raises(InputError, match="digits and dots"):
        archive.find_series(uid)


@pytest.mark.parametrize(
    ("environment", "sentence"),
    [
        ({"MEDSEG_DICOMWEB": "pacs.example"}, "must be the URL"),
        ({"MEDSEG_DICOMWEB": "file:///etc"}, "must be the URL"),
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
