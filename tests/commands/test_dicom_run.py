"""`predict` with DICOM results, and `send`: from the archive, and back into it."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pydicom
import pytest

pytest.importorskip("dicomweb_client", reason="dicomweb-client is not installed (extra archive)")

from medseg.__main__ import main
from medseg.commands import predict
from medseg.export import results
from tests.archive.archive_server import Hospital, running_hospital
from tests.dicom_sources import write_source


@pytest.fixture
def hospital(monkeypatch: pytest.MonkeyPatch) -> Iterator[Hospital]:
    with running_hospital() as service:
        monkeypatch.setenv("MEDSEG_DICOMWEB", service.url)
        yield service


def run(*arguments: object) -> None:
    main([str(argument) for argument in arguments])


def names(folder: Path, uid: str) -> list[str]:
    return sorted(path.name.removeprefix(f"{uid}-") for path in folder.iterdir())


def test_the_help_names_the_kinds_there_are() -> None:
    assert predict.KINDS == results.KINDS


def test_a_series_of_files_becomes_one_seg_and_a_capture_of_each_slice(tiny_ensemble: Path, tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    paths = write_source("ct-series", tmp_path / "in")
    run("predict", tiny_ensemble, tmp_path / "in", "--output", tmp_path / "out", "--dicom", "seg", "capture", "map")
    uid = pydicom.dcmread(paths[0]).SeriesInstanceUID
    captures = [f"capture{number:03}.dcm" for number in (1, 2, 3)]
    assert names(tmp_path / "out", uid) == [*captures, "map1.dcm", "seg.dcm"]
    assert pydicom.dcmread(tmp_path / "out" / f"{uid}-seg.dcm").NumberOfFrames == 3


def test_a_zip_of_series_is_segmented_and_what_is_unlike_the_training_images_is_said(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "in").mkdir()
    write_source("ct-series", tmp_path / "in")
    shutil.make_archive(str(tmp_path / "ct"), "zip", tmp_path / "in")
    run("predict", "chest", tmp_path / "ct.zip", "--output", tmp_path / "out", "--dicom", "seg")
    told = capsys.readouterr()
    assert "1 series segmented, 0 failed, 1 file in" in told.out
    assert "unlike the training images: 3 of 3 images, the first: This image is " in told.err
    assert "cannot be read" not in told.err


def test_a_series_of_the_archive_is_segmented_and_its_result_sent_back(
    tiny_ensemble: Path, hospital: Hospital, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    paths = write_source("mr-series", tmp_path)
    hospital.add(*paths)
    source = pydicom.dcmread(paths[0])
    run("predict", tiny_ensemble, f"dicomweb://{source.StudyInstanceUID}", "--output", tmp_path / "out", "--send")
    (result,) = (tmp_path / "out").iterdir()
    seg = pydicom.dcmread(result)
    assert (seg.StudyInstanceUID, seg.PatientID) == (source.StudyInstanceUID, source.PatientID)
    assert hospital.held[seg.SOPInstanceUID] == result.read_bytes()
    assert f"{result}: stored" in capsys.readouterr().out
    run("send", result)
    assert f"{result}: already there" in capsys.readouterr().out


def test_a_file_that_no_result_can_refer_to_is_named_and_the_others_go_on(
    tiny_ensemble: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "in").mkdir()
    _, (other,) = (write_source(kind, tmp_path / "in") for kind in ("cr", "dx"))
    film = pydicom.dcmread(other)
    del film.StudyInstanceUID
    film.save_as(other)
    with pytest.raises(SystemExit) as ended:
        run("predict", tiny_ensemble, tmp_path / "in", "--output", tmp_path / "out", "--dicom", "seg")
    assert ended.value.code == 1
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["cr-1-seg.dcm"]
    told = capsys.readouterr()
    assert f"{other.name}: This DICOM does not say its Study Instance UID" in told.err
    assert "1 series segmented, 1 failed, 1 file in" in told.out


def test_a_file_lends_its_name_to_its_result_where_no_other_has_it(tiny_ensemble: Path, tmp_path: Path) -> None:
    for folder, source in (("a", "cr"), ("b", "dx"), ("b", "us-cine")):
        (tmp_path / folder).mkdir(exist_ok=True)
        (path,) = write_source(source, tmp_path / folder)
        path.rename(tmp_path / folder / ("film.dcm" if source != "us-cine" else "cine 1.dcm"))
    run("predict", tiny_ensemble, tmp_path, "--output", tmp_path / "out", "--dicom", "seg")
    uids = [pydicom.dcmread(tmp_path / folder / "film.dcm").SeriesInstanceUID for folder in "ab"]
    written = {path.name for path in (tmp_path / "out").iterdir()}
    assert written == {"cine 1-seg.dcm", *(f"{uid}-seg.dcm" for uid in uids)}


def test_one_frame_of_an_instance_is_segmented_alone(tiny_ensemble: Path, hospital: Hospital, tmp_path: Path) -> None:
    path = write_source("us-cine", tmp_path)[0]
    hospital.add(path)
    source = pydicom.dcmread(path)
    place = f"{source.StudyInstanceUID}/{source.SeriesInstanceUID}/{source.SOPInstanceUID}"
    run("predict", tiny_ensemble, f"dicomweb://{place}/2", "--output", tmp_path / "out")
    (result,) = (tmp_path / "out").iterdir()
    (group,) = pydicom.dcmread(result).PerFrameFunctionalGroupsSequence
    assert group.DerivationImageSequence[0].SourceImageSequence[0].ReferencedFrameNumber == 2
    with pytest.raises(SystemExit, match="UIDs and a number from 1"):
        run("predict", tiny_ensemble, f"dicomweb://{place}/0", "--output", tmp_path / "out")


def test_what_is_not_stored_is_kept_and_named(
    tiny_ensemble: Path, hospital: Hospital, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = write_source("cr", tmp_path)[0]
    hospital.mood["STOW"] = "413"
    with pytest.raises(SystemExit) as ended:
        run("predict", tiny_ensemble, path, "--output", tmp_path / "out", "--send")
    assert ended.value.code == 1
    (result,) = (tmp_path / "out").iterdir()
    told = capsys.readouterr().out
    assert "not stored. The archive at" in told
    assert "repeat `medseg send`" in told
    hospital.mood.clear()
    run("send", result)
    assert pydicom.dcmread(result).SOPInstanceUID in hospital.held


def test_an_archive_that_nobody_named_is_one_sentence(
    tiny_ensemble: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("MEDSEG_DICOMWEB", raising=False)
    with pytest.raises(SystemExit, match="error: No archive is named: set MEDSEG_DICOMWEB"):
        run("predict", tiny_ensemble, "dicomweb://1.2.3", "--output", tmp_path / "out")
