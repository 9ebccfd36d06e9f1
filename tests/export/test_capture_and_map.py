"""What a Secondary Capture and a Parametric Map show and say; `test_seg_everywhere` has them read by others."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pydicom
import pytest

from medseg.errors import InputError, ReadError
from medseg.export.parametric_map import write_parametric_map
from medseg.export.results import write_results
from medseg.export.secondary_capture import draw_capture, write_secondary_capture
from medseg.inference.record import NOTICE
from medseg.overlay import label_colour
from tests.conftest import ROOT
from tests.dicom_sources import write_source
from tests.segmented import drawing_ensemble, segment_files


def test_a_map_says_what_its_values_are(tmp_path: Path) -> None:
    predictions, files = segment_files(write_source("us-cine", tmp_path), drawing_ensemble())
    write_parametric_map(predictions, files, tmp_path / "map.dcm", label="polyp")
    image = pydicom.dcmread(tmp_path / "map.dcm")
    (mapping,) = image.SharedFunctionalGroupsSequence[0].RealWorldValueMappingSequence
    assert (mapping.LUTExplanation, mapping.RealWorldValueSlope) == ("Probability of polyp", 1.0)
    assert NOTICE in image.ImageComments


def test_a_map_of_several_labels_wants_one_of_them(tmp_path: Path) -> None:
    predictions, files = segment_files(write_source("cr", tmp_path), drawing_ensemble())
    with pytest.raises(InputError, match="choose one of polyp, lung, instrument"):
        write_parametric_map(predictions, files, tmp_path / "map.dcm")


def test_a_capture_shows_image_outlines_and_areas_and_names_its_source(tmp_path: Path) -> None:
    predictions, files = segment_files(write_source("us-cine", tmp_path), drawing_ensemble())
    write_secondary_capture(predictions[1], files[1], tmp_path / "capture.dcm")
    capture, source = pydicom.dcmread(tmp_path / "capture.dcm"), pydicom.dcmread(files[0])
    assert (capture.Rows > 4 * 96, capture.Columns) == (True, 4 * 128)  # each pixel is four wide, the text lies below
    pixels = capture.pixel_array
    assert tuple(pixels[4 * 40 + 1, 4 * 30]) == label_colour(1)
    assert tuple(pixels[4 * 70, 4 * 30]) == (63, 63, 63)
    assert pixels[4 * 96 :].max() > 200
    (reference,) = capture.SourceImageSequence
    assert (reference.ReferencedSOPInstanceUID, reference.ReferencedFrameNumber) == (source.SOPInstanceUID, 2)
    assert capture.DerivationDescription.startswith(NOTICE)
    assert (capture.PatientID, capture.StudyInstanceUID) == (source.PatientID, source.StudyInstanceUID)
    assert "PixelSpacing" not in capture


def test_a_capture_keeps_the_scale_of_the_patient_only(tmp_path: Path) -> None:
    for source, spacing in (("ct", [0.2, 0.2]), ("cr-pixel-spacing", [0.0425, 0.0425]), ("cr-imager-spacing", None)):
        predictions, files = segment_files(write_source(source, tmp_path), drawing_ensemble())
        write_secondary_capture(predictions[0], files[0], tmp_path / "capture.dcm")
        capture = pydicom.dcmread(tmp_path / "capture.dcm")
        assert capture.get("PixelSpacing") == spacing


def test_captures_of_a_series_are_one_series_in_order(tmp_path: Path) -> None:
    predictions, files = segment_files(write_source("ct-series", tmp_path), drawing_ensemble())
    captures = [pydicom.dcmread(path) for path in write_results(predictions, files, tmp_path / "a", ["capture"])]
    for keyword in ("SeriesInstanceUID", "SeriesNumber", "SeriesDescription", "SeriesTime"):
        assert len({capture[keyword].value for capture in captures}) == 1
    assert [capture.InstanceNumber for capture in captures] == [1, 2, 3]
    assert len({capture.SOPInstanceUID for capture in captures}) == 3


def test_nothing_found_is_said_in_the_capture(tmp_path: Path) -> None:
    (full,), _ = segment_files(write_source("cr", tmp_path), drawing_ensemble())
    (empty,), _ = segment_files(write_source("cr", tmp_path), drawing_ensemble(empty=True))
    drawn, factor = draw_capture(empty)
    assert factor == 4
    assert (np.ptp(drawn[: 4 * 96], axis=-1) == 0).all()  # grey, without an outline
    assert not np.array_equal(drawn[4 * 96 :], draw_capture(full)[0][4 * 96 :])


@pytest.mark.parametrize("write", [write_secondary_capture, lambda one, *rest: write_parametric_map([one], *rest)])
def test_a_photograph_in_png_has_neither(write: object, tmp_path: Path) -> None:
    from medseg.reading.readers import read_image

    png = next((ROOT / "assets" / "examples").glob("endoscopy-*.png"))
    prediction = drawing_ensemble(("polyp",)).predict(read_image(png))
    with pytest.raises(ReadError, match="file is a PNG"):
        write(prediction, png, tmp_path / "result.dcm")
    assert not (tmp_path / "result.dcm").exists()
