"""Folders, zips and CDs of single DICOM files: one series is one stack, and what is missing or doubled is said."""

from __future__ import annotations

import gc
import zipfile
from pathlib import Path

import numpy as np
import pydicom
import pytest
from PIL import Image as Pillow

import medseg
from medseg.errors import InputError, ReadError
from medseg.image import Image
from medseg.reading.readers import count_frames, read_file, read_image
from medseg.reading.series import Series
from medseg.reading.studies import _of_zip, list_series, series_among, stack_files
from tests.reading.test_readers import RAMP, write_dicom

FEET_FIRST = [1, 0, 0, 0, 1, 0]
WINDOW = {"WindowCenter": 10.5, "WindowWidth": 21}


def write_series(
    folder: Path, heights: list[float | None], *, uid: str = "1.2.9", side: int = 0, **attributes: object
) -> Path:
    """A slice per height in mm, in files whose names say nothing; each slice's values are its index."""
    folder.mkdir(parents=True, exist_ok=True)
    for index, height in enumerate(heights):
        place = (
            {} if height is None else {"ImagePositionPatient": [0, 0, height], "ImageOrientationPatient": FEET_FIRST}
        )
        own = {"InstanceNumber": index + 1, "SOPInstanceUID": f"{uid}.{index + 1}", "SeriesInstanceUID": uid}
        stored = np.full((side, side) if side else (2, 3), index, np.uint16)
        write_dicom(folder / f"{(index * 7) % 11:02}{uid}", stored, **{**own, **place, **WINDOW, **attributes})
    return folder


def values(source: Path | Series) -> list[int]:
    """The stored value of each slice, by the window that shows 0 to 20 as black to white."""
    return [
        round(float(read_image(source, frame=index).pixels.max()) * 20) for index in range(read_image(source).frames)
    ]


def notes(image: Image) -> str:
    return " ".join(image.notes)


def test_a_folder_of_slices_is_one_stack_in_the_order_of_position_open_in_the_middle(tmp_path: Path) -> None:
    folder = write_series(tmp_path / "a", [30, 10, 20, 0, 40])
    assert values(folder) == [3, 1, 2, 0, 4]
    image = read_image(folder)
    assert (image.frame, image.frames, image.modality) == (2, 5, "CT")
    assert "missing" not in notes(image)
    (series,) = medseg.list_series(folder)
    assert (series.distance_mm, series.size) == (10, (2, 3))


def test_slices_turned_over_are_counted_from_the_feet_all_the_same(tmp_path: Path) -> None:
    turned = [-1, 0, 0, 0, 1, 0]  # its normal points to the feet
    assert values(write_series(tmp_path / "a", [30, 10, 20], ImageOrientationPatient=turned)) == [1, 2, 0]


def test_missing_and_doubled_slices_are_named(tmp_path: Path) -> None:
    image = read_image(write_series(tmp_path / "a", [0, 3, 6, 15, 18, 18, 21]))
    assert (
        "Slices are missing, 2 in all at the usual distance of 3 mm: 2 between slices 2 and 3 (6 and 15 mm)"
        in notes(image)
    )
    assert "Doubled slices, several at one place: slices 4 to 5 at 18 mm." in notes(image)
    assert image.frames == 7


def test_several_times_at_each_place_are_no_doubles(tmp_path: Path) -> None:
    folder = write_series(tmp_path / "a", [0, 5, 10, 0, 5, 10])
    assert "Each of 3 places holds 2 slices" in notes(read_image(folder))
    assert values(folder) == [0, 3, 1, 4, 2, 5]


def test_uneven_distances_are_said(tmp_path: Path) -> None:
    assert "equal distances: 2 to 2.6 mm" in notes(read_image(write_series(tmp_path / "a", [0, 2, 4.6, 6.6])))


def test_without_positions_instance_numbers_give_the_order_and_their_gaps_are_named(tmp_path: Path) -> None:
    folder = write_series(tmp_path / "a", [None] * 4)
    path = sorted(folder.iterdir())[0]
    dataset = pydicom.dcmread(path)
    dataset.InstanceNumber = 6
    dataset.save_as(path)
    image = read_image(folder)
    assert values(folder) == [1, 2, 3, 0]
    assert "in the order of their instance numbers" in notes(image)
    assert "Missing instance numbers: 5." in notes(image)


def test_one_slice_without_a_position_puts_all_in_the_order_of_numbers(tmp_path: Path) -> None:
    folder = write_series(tmp_path / "a", [30, 20, 10])
    write_dicom(folder / "x", RAMP, InstanceNumber=9, SeriesInstanceUID="1.2.9", SOPInstanceUID="1.2.9.9", **WINDOW)
    assert values(folder)[:3] == [0, 1, 2]
    assert "Not all slices say where they lie" in notes(read_image(folder))


def test_copies_and_other_files_are_left_out_and_counted(tmp_path: Path) -> None:
    folder = write_series(tmp_path / "a", [0, 10])
    (folder / "copies").mkdir()
    (folder / "copies" / "again.dcm").write_bytes(sorted(folder.glob("0*"))[0].read_bytes())
    (folder / "README.TXT").write_text("a viewer lies beside it")
    Pillow.fromarray(np.zeros((2, 2), np.uint8)).save(folder / "a.png")
    (folder / "broken").write_bytes(bytes(128) + b"DICM" + b"\xff" * 40)
    image = read_image(folder)
    assert image.frames == 2
    assert "Copies of slices of the series are left out: 1." in notes(image)
    assert "Of the folder's files 3 hold no DICOM image and are left out: README.TXT, a.png, broken." in notes(image)


def test_several_series_are_listed_by_description_and_read_one_by_one(tmp_path: Path) -> None:
    write_series(tmp_path / "cd" / "1", [0, 10, 20], uid="1.2.8", SeriesDescription="AX T2 FLAIR", SeriesNumber=2)
    write_series(tmp_path / "cd" / "2", [0, 10], uid="1.2.7", SeriesDescription="SCOUT", SeriesNumber=1)
    (tmp_path / "cd" / "DICOMDIR").write_bytes(b"not even read")
    with pytest.raises(
        ReadError, match=r"\[0\] series 1, CT, 2 slices of 3 × 2; \[1\] series 2, CT, 3 slices"
    ) as caught:
        read_image(tmp_path / "cd")
    assert "SCOUT" not in str(caught.value)
    for path in (tmp_path / "cd", tmp_path / "cd" / "DICOMDIR"):
        listed = list_series(path)
        assert [(each.description, each.frames) for each in listed] == [("SCOUT", 2), ("AX T2 FLAIR", 3)]
        assert listed[0].title == "“SCOUT”, series 1, CT, 2 slices of 3 × 2"
    assert read_image(listed[1]).frame == 1
    path, frame = listed[1].place(2)
    assert read_image(path, frame=frame).file_sha256 == read_image(listed[1], frame=2).file_sha256


def test_a_slice_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    folder = write_series(tmp_path / "a", [0, 10, 20])
    last = folder / "031.2.9"
    last.write_bytes(last.read_bytes()[:-4])
    with pytest.raises(ReadError, match=r"Slice 2 \(031\.2\.9\): .* it holds 8"):
        read_image(folder, frame=2)


def test_films_of_one_series_are_no_stack(tmp_path: Path) -> None:
    write_series(tmp_path / "a", [None, None], Modality="DX")
    write_series(tmp_path / "b", [0, 5], uid="1.2.8")
    (series,), _, imageless = series_among(sorted(tmp_path.rglob("*.*")))
    assert not imageless
    assert [Path(path).parent.name for path in series.files] == ["b", "b"]


def test_slices_of_other_sizes_and_directions_are_stacks_of_their_own(tmp_path: Path) -> None:
    folder = write_series(tmp_path / "a", [0, 10, 20])
    write_dicom(folder / "wide", np.zeros((4, 4), np.uint16), SeriesInstanceUID="1.2.9", SOPInstanceUID="1.2.9.20")
    coronal = {"ImagePositionPatient": [0, 5, 0], "ImageOrientationPatient": [1, 0, 0, 0, 0, -1]}
    write_dicom(folder / "scout", RAMP, SeriesInstanceUID="1.2.9", SOPInstanceUID="1.2.9.21", **coronal)
    assert sorted(each.frames for each in list_series(folder)) == [1, 1, 3]


def test_a_zip_is_read_as_its_folder_and_leaves_nothing_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "temp"))
    (tmp_path / "temp").mkdir()
    folder = write_series(tmp_path / "a", [20, 0, 10])
    with zipfile.ZipFile(tmp_path / "study.zip", "w") as file:
        for path in folder.iterdir():
            file.write(path, f"study/{path.name}")
    assert values(tmp_path / "study.zip") == [1, 2, 0]
    assert len(list((tmp_path / "temp").iterdir())) == 1
    (series,) = list_series(tmp_path / "study.zip")
    _of_zip.cache_clear()
    assert count_frames(series) == 3
    del series
    gc.collect()
    assert list((tmp_path / "temp").iterdir()) == []


def test_what_strangers_upload_is_not_looked_into(tmp_path: Path) -> None:
    folder = write_series(tmp_path / "a", [0, 10])
    with zipfile.ZipFile(tmp_path / "study.png", "w") as file:
        file.write(next(folder.iterdir()), "slice")
    with pytest.raises(ReadError, match="content is none of"):
        read_file(tmp_path / "study.png")
    with pytest.raises(ReadError, match="cannot be opened"):
        read_file(folder)


def test_one_window_shows_all_slices_though_each_names_its_own(tmp_path: Path) -> None:
    folder = write_series(tmp_path / "a", [0, 10, 20])
    for index, path in enumerate(sorted(folder.iterdir())):
        dataset = pydicom.dcmread(path)
        dataset.WindowCenter, dataset.WindowWidth = 10 + index, 21
        dataset.save_as(path)
    windows = {read_image(folder, frame=index).window for index in range(3)}
    assert len(windows) == 1
    assert "that of slice 1 is used for all" in notes(read_image(folder))
    assert read_image(folder, window=(1, 5)).window == (1, 5)


def test_without_a_window_all_slices_are_stretched_alike(tmp_path: Path) -> None:
    folder = write_series(tmp_path / "a", [0, 10, 20], WindowCenter=None, WindowWidth=None)
    assert [float(read_image(folder, frame=index).pixels.max()) for index in range(3)] == [0, 0.5, 1]


def test_a_file_of_several_frames_is_a_series_of_its_own(tmp_path: Path) -> None:
    write_dicom(tmp_path / "cine", np.stack([RAMP, RAMP + 1, RAMP + 2]), SeriesDescription="cine")
    (series,) = list_series(tmp_path)
    assert (series.frames, read_image(series).frame) == (3, 0)
    assert series.place(2) == (str(tmp_path / "cine"), 2)
    assert read_image(series, frame=2).frames == 3


def test_what_holds_no_series_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("nothing")
    with pytest.raises(ReadError, match="no DICOM image among its 1 files"):
        list_series(tmp_path)
    with pytest.raises(ReadError, match="listed for a folder, a zip or a DICOMDIR"):
        list_series(tmp_path / "a.txt")
    (tmp_path / "SMITH.zip").write_bytes(b"PK\3\4" + bytes(60))
    with pytest.raises(ReadError, match="The zip cannot be unpacked"):
        read_image(tmp_path / "SMITH.zip")


def test_a_frame_that_a_series_does_not_have_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ReadError, match="so there is no frame 2"):
        read_image(write_series(tmp_path / "a", [0, 10]), frame=2)


def test_nothing_of_the_patient_leaves_the_listing(tmp_path: Path) -> None:
    canary = "CANARYSMITH"
    folder = write_series(tmp_path / "a", [0, 10], PatientName=canary, PatientID=canary, uid="1.2.123456789")
    (series,) = list_series(folder)
    said = repr([{**vars(each), "path": ""} for each in series.slices]) + notes(read_image(series))
    assert canary not in said
    assert "1.2.123456789" not in said


def test_an_empty_path_is_not_the_current_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_dicom(tmp_path / "a.dcm", np.zeros((4, 4), np.uint8))
    monkeypatch.chdir(tmp_path)
    assert read_image(".").size == (4, 4)
    for read in (read_image, list_series):
        with pytest.raises(InputError, match="The path is empty"):
            read("")


def test_films_of_one_series_are_one_each_where_that_is_asked_for(tmp_path: Path) -> None:
    for index in (1, 2):
        ids = {"SOPInstanceUID": f"1.2.7.{index}", "SeriesInstanceUID": "1.2.7", "InstanceNumber": index}
        write_dicom(tmp_path / f"{index}.dcm", np.full((2, 3), index, np.uint8), Modality="DX", **ids)
    paths = sorted(map(str, tmp_path.glob("*.dcm")))
    assert [len(each.slices) for each in stack_files(paths)] == [2]
    assert [[Path(one.path).name for one in each.slices] for each in stack_files(paths, films_apart=True)] == [
        ["1.dcm"],
        ["2.dcm"],
    ]
    slices = sorted(map(str, write_series(tmp_path / "s", [0, 3, 6]).iterdir()))
    assert [len(each.slices) for each in stack_files(slices, films_apart=True)] == [3]
