"""All frames of a file in one run: areas and masks, frame by frame."""

from __future__ import annotations

import csv
import io
import json
import zipfile
from pathlib import Path

import nibabel
import numpy as np
import PIL.Image
import pytest

from medseg.config import EnsembleConfig, MemberReference
from medseg.errors import ReadError
from medseg.export import frames
from medseg.export.frames import segment_frames
from medseg.inference.ensemble import Ensemble
from medseg.inference.record import NOTICE
from medseg.reading.readers import read_image
from tests.conftest import fake_member
from tests.reading.test_readers import write_dicom

SIDES = (4, 0, 8)
"""Of the bright square in each frame."""


@pytest.fixture
def film(tmp_path: Path) -> Path:
    """A DICOM of three frames of 16 × 16 pixels, 2 × 3 mm each, with squares of the value 100 on 0."""
    stack = np.zeros((3, 16, 16), np.uint16)
    for frame, side in zip(stack, SIDES, strict=True):
        frame[:side, :side] = 100
    return write_dicom(tmp_path / "film.dcm", stack, PixelSpacing=[2, 3], WindowCenter=50, WindowWidth=100)


@pytest.fixture
def ensemble() -> Ensemble:
    """It finds what is brighter than middle grey."""
    member = fake_member("bright", lambda image: image.pixels[..., 0][np.newaxis] > 0.5)
    return Ensemble(EnsembleConfig("bright", "binary", ("blob",), (MemberReference("m", "0" * 64, 1.0),)), [member])


def test_every_frames_area_is_given_in_pixels_and_square_millimetres(
    film: Path, ensemble: Ensemble, tmp_path: Path
) -> None:
    areas = segment_frames(film, ensemble.predict, tmp_path / "masks.zip")
    assert areas == [{"blob": {"px": side**2, "mm2": 6 * side**2}} for side in SIDES]


def test_the_zip_holds_each_frames_mask_the_areas_and_the_reports(
    film: Path, ensemble: Ensemble, tmp_path: Path
) -> None:
    segment_frames(film, ensemble.predict, tmp_path / "masks.zip")
    with zipfile.ZipFile(tmp_path / "masks.zip") as archive:
        for number, side in enumerate(SIDES, start=1):
            with PIL.Image.open(io.BytesIO(archive.read(f"frame-{number:03}.png"))) as image:
                found = np.asarray(image) == 255
            assert found[:side, :side].all()
            assert found.sum() == side**2
        rows = list(csv.DictReader(io.StringIO(archive.read("areas.csv").decode())))
        assert rows[2] == {"frame": "3", "label": "blob", "px": "64", "mm2": "384.0"}
        report = json.loads(archive.read("report.json"))
    assert report["notice"] == NOTICE
    assert [entry["image"]["frame"] for entry in report["frames"]] == [0, 1, 2]


def test_of_a_volume_the_zip_holds_the_masks_on_its_grid_too(ensemble: Ensemble, tmp_path: Path) -> None:
    """Its axes run to the foot, the left and the front, so that none is as a slice is shown."""
    voxels = np.random.default_rng(0).integers(0, 2, (17, 18, 19)).astype(np.uint8)
    affine = np.array([[0, -2, 0, 5], [0, 0, 3, -7], [-4, 0, 0, 9], [0, 0, 0, 1.0]])
    nibabel.save(nibabel.Nifti1Image(voxels, affine), tmp_path / "head.nii")
    segment_frames(tmp_path / "head.nii", ensemble.predict, tmp_path / "masks.zip")
    with zipfile.ZipFile(tmp_path / "masks.zip") as archive:
        assert "frame-017.png" in archive.namelist()
        found = nibabel.Nifti1Image.from_bytes(archive.read("mask.nii"))
    np.testing.assert_array_equal(np.asarray(found.dataobj), voxels)
    np.testing.assert_allclose(found.affine, affine)
    assert found.header.get_xyzt_units()[0] == "mm"


def test_other_files_have_no_grid_to_lay_a_volume_on(film: Path, ensemble: Ensemble, tmp_path: Path) -> None:
    segment_frames(film, ensemble.predict, tmp_path / "masks.zip")
    with zipfile.ZipFile(tmp_path / "masks.zip") as archive:
        assert "mask.nii" not in archive.namelist()


def test_the_chosen_window_holds_for_every_frame(film: Path, ensemble: Ensemble, tmp_path: Path) -> None:
    areas = segment_frames(film, ensemble.predict, tmp_path / "masks.zip", window=(500, 100))
    assert [found["blob"]["px"] for found in areas] == [0, 0, 0]  # 100 is black in a window from 450 to 550


def test_progress_counts_the_frames_that_are_done(film: Path, ensemble: Ensemble, tmp_path: Path) -> None:
    told: list[tuple[int, int]] = []
    segment_frames(film, ensemble.predict, tmp_path / "m.zip", progress=lambda *counts: told.append(counts))
    assert told == [(1, 3), (2, 3), (3, 3)]


def test_a_cancelled_run_stops_at_the_next_frame_and_leaves_no_file(
    film: Path, ensemble: Ensemble, tmp_path: Path
) -> None:
    told: list[int] = []
    target = tmp_path / "out" / "masks.zip"
    target.parent.mkdir()
    areas = segment_frames(
        film,
        ensemble.predict,
        target,
        progress=lambda done, total: told.append(done),
        cancelled=lambda: len(told) == 2,
    )
    assert areas == []
    assert told == [1, 2]
    assert list(target.parent.iterdir()) == []


def test_a_frame_that_cannot_be_read_is_named(
    film: Path, ensemble: Ensemble, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def failing(path: Path, *, frame: int, window: None) -> object:
        if frame == 1:
            raise ReadError("The file could not be decoded.")
        return read_image(path, frame=frame)

    monkeypatch.setattr(frames, "read_file", failing)
    with pytest.raises(ReadError, match=r"^Frame 2: The file could not be decoded\.$"):
        segment_frames(film, ensemble.predict, tmp_path / "masks.zip")
