"""What an image cannot have is said in the words in which the writer refuses it."""

from __future__ import annotations

from pathlib import Path

import PIL.Image
import pydicom
import pytest

from medseg.errors import MedsegError
from medseg.export.results import GONE, KINDS, why_not, write_results
from tests.dicom_sources import write_source
from tests.segmented import drawing_ensemble, segment_files


def without_study(path: Path) -> Path:
    image = pydicom.dcmread(path)
    del image.StudyInstanceUID
    image.save_as(path)
    return path


def with_uid(path: Path, keyword: str, uid: str) -> Path:
    image = pydicom.dcmread(path)
    setattr(image, keyword, uid)
    image.save_as(path)
    return path


def png(path: Path) -> Path:
    PIL.Image.new("L", (128, 96)).save(path)
    return path


@pytest.mark.parametrize("source", ["png", "no study", "cr"])
def test_the_reason_is_the_writers_own_sentence(source: str, tmp_path: Path) -> None:
    path = png(tmp_path / "a.png") if source == "png" else write_source("cr", tmp_path)[0]
    path = without_study(path) if source == "no study" else path
    predictions, files = segment_files([path], drawing_ensemble(("polyp",)))
    for kind in KINDS:
        reason = why_not(kind, ("polyp",), path)
        assert (reason is None) == (source == "cr")
        if reason:
            with pytest.raises(MedsegError) as refused:
                write_results(predictions, files, tmp_path / "out", [kind])
            assert str(refused.value) == reason


def test_a_map_of_several_labels_and_a_file_that_is_gone_have_their_reasons(tmp_path: Path) -> None:
    (path,) = write_source("cr", tmp_path)
    assert "choose one of polyp, lung" in str(why_not("map", ("polyp", "lung"), path))
    assert why_not("seg", ("polyp", "lung"), path) is None
    path.unlink()
    assert why_not("seg", ("polyp",), path) == GONE


@pytest.mark.filterwarnings("ignore:Invalid value", "ignore:The value length")
@pytest.mark.parametrize("keyword", ["StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID"])
@pytest.mark.parametrize("uid", ["../../1.2", "1.2.abc", "1.2." + "3" * 80, "1.2\\1.3"])
def test_nothing_refers_to_what_is_no_uid(keyword: str, uid: str, tmp_path: Path) -> None:
    """It would become part of a result, and of an archive's address."""
    path = with_uid(write_source("cr", tmp_path)[0], keyword, uid)
    assert "holds no usable UID" in str(why_not("seg", ("polyp",), path))


@pytest.mark.filterwarnings("ignore:Invalid value", "ignore:The value length")
def test_a_frame_of_reference_that_is_no_uid_is_left_out(tmp_path: Path) -> None:
    path = with_uid(write_source("ct", tmp_path)[0], "FrameOfReferenceUID", "anywhere")
    predictions, files = segment_files([path], drawing_ensemble(("polyp",)))
    (seg,) = write_results(predictions, files, tmp_path / "out", ["seg"])
    assert "FrameOfReferenceUID" not in pydicom.dcmread(seg)


@pytest.mark.parametrize("direction", [[0] * 6, [1, 0, 0, 1, 0, 0], [0.9, 0.1, 0, 0, 1, 0]])
def test_a_direction_that_is_none_places_nothing(direction: list[float], tmp_path: Path) -> None:
    """Of a plane without two perpendicular unit vectors (PS3.3 C.7.6.2.1.1) dcmqi dies, and others draw it anywhere."""
    (path,) = write_source("ct", tmp_path)
    image = pydicom.dcmread(path)
    image.ImageOrientationPatient, image.SliceThickness = direction, -3
    image.save_as(path)
    predictions, files = segment_files([path], drawing_ensemble(("polyp",)))
    seg = pydicom.dcmread(write_results(predictions, files, tmp_path / "out", ["seg"])[0])
    shared = seg.SharedFunctionalGroupsSequence[0]
    assert shared.PlaneOrientationSequence[0].ImageOrientationPatient == [1, 0, 0, 0, 1, 0]
    assert shared.PixelMeasuresSequence[0].SliceThickness == 1
    assert "lies nowhere in the patient" in seg.SegmentSequence[0].SegmentDescription
    assert "FrameOfReferenceUID" not in seg


def test_a_label_of_any_text_is_one_value_of_its_length(tmp_path: Path) -> None:
    label = "lesi\\ón ü" * 10
    predictions, files = segment_files(write_source("cr", tmp_path), drawing_ensemble((label,)))
    written = write_results(predictions, files, tmp_path / "out", ["seg", "map"])
    segment = pydicom.dcmread(written[0]).SegmentSequence[0]
    assert segment.SegmentLabel.startswith("lesi ón ü")
    assert 50 < len(segment.SegmentLabel.encode()) <= 64
    mapping = pydicom.dcmread(written[1]).SharedFunctionalGroupsSequence[0].RealWorldValueMappingSequence[0]
    assert len(mapping.LUTLabel.encode()) <= 16
