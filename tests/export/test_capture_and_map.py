"""Secondary Capture and Parametric Map of every kind of source, read by programs that others wrote."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import highdicom
import nibabel
import numpy as np
import pydicom
import pytest

from medseg.errors import InputError, ReadError
from medseg.export.parametric_map import write_parametric_map
from medseg.export.secondary_capture import draw_capture, write_secondary_capture
from medseg.inference.record import NOTICE
from medseg.overlay import label_colour
from tests.conftest import ROOT
from tests.dicom_sources import KINDS, write_source
from tests.export.test_seg_everywhere import errors
from tests.segmented import drawing_ensemble, segment_files

DCMQI = Path(sys.executable).with_name("paramap2itkimage")


@pytest.mark.skipif(shutil.which("dciodvfy") is None, reason="dciodvfy is missing: apt-get install dicom3tools")
@pytest.mark.parametrize("source", KINDS)
def test_dciodvfy_finds_no_error_that_the_source_does_not_have(source: str, tmp_path: Path) -> None:
    own = errors(write_source(source, tmp_path)[0])
    predictions, files = segment_files(write_source(source, tmp_path), drawing_ensemble())
    write_secondary_capture(predictions[0], files[0], tmp_path / "capture.dcm")
    write_parametric_map(predictions, files, tmp_path / "map.dcm", label="lung")
    for name in ("capture.dcm", "map.dcm"):
        assert [error for error in errors(tmp_path / name) if error not in own] == []


@pytest.mark.parametrize("source", ["us-cine", "ct-series", "mr-enhanced", "cr"])
def test_a_map_holds_the_probabilities_as_they_are(source: str, tmp_path: Path) -> None:
    predictions, files = segment_files(write_source(source, tmp_path), drawing_ensemble())
    write_parametric_map(predictions, files, tmp_path / "map.dcm", label="polyp")
    image = highdicom.imread(tmp_path / "map.dcm")
    stored = image.pixel_array.reshape(len(predictions), *predictions[0].image.size)
    assert np.array_equal(stored, np.stack([one.probabilities[0] for one in predictions]))
    (mapping,) = image.SharedFunctionalGroupsSequence[0].RealWorldValueMappingSequence
    assert (mapping.LUTExplanation, mapping.RealWorldValueSlope) == ("Probability of polyp", 1.0)
    assert NOTICE in image.ImageComments


@pytest.mark.skipif(not DCMQI.exists(), reason="dcmqi is not installed (extra dev)")
@pytest.mark.parametrize("source", ["us-cine", "ct-series", "mr-enhanced", "cr"])
def test_dcmqi_reads_the_map(source: str, tmp_path: Path) -> None:
    predictions, files = segment_files(write_source(source, tmp_path), drawing_ensemble(("polyp",)))
    write_parametric_map(predictions, files, tmp_path / "map.dcm")
    command = [DCMQI, "--inputDICOM", tmp_path / "map.dcm", "--outputDirectory", tmp_path, "--outputType", "nifti"]
    subprocess.run(command, check=True, capture_output=True, timeout=120)
    (file,) = tmp_path.glob("*.nii.gz")
    volume = np.asarray(nibabel.load(file).dataobj)
    assert np.sort(volume.ravel()) == pytest.approx(
        np.sort(np.stack([one.probabilities for one in predictions]).ravel()), abs=1e-6
    )


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
