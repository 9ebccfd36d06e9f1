"""Masks and probabilities as NIfTI: read back, and laid over the volume that the image came from."""

from __future__ import annotations

import itertools
from pathlib import Path

import nibabel
import numpy as np
import PIL.Image
import pytest

from medseg.config import EnsembleConfig, MemberReference, Task
from medseg.export.nifti import write_mask_nifti, write_probabilities_nifti
from medseg.image import Image
from medseg.inference.ensemble import Ensemble
from medseg.inference.prediction import Prediction
from medseg.inference.record import NOTICE
from medseg.reading.readers import read_image, read_masks
from tests.conftest import fake_member

LABELS = ("bright", "left")
SHAPE = (18, 20, 22)


def predict(image: Image, labels: tuple[str, ...] = ("bright",)) -> Prediction:
    """One member that marks what is bright, and for a second label the left third."""
    task: Task = "binary" if len(labels) == 1 else "multilabel"

    def answer(image: Image) -> np.ndarray:
        left = np.zeros(image.size)
        left[:, : image.size[1] // 3] = 1
        return np.stack([image.pixels[..., 0], left][: len(labels)])

    member = fake_member("m", answer, labels=labels, task=task)
    config = EnsembleConfig("one", task, labels, (MemberReference("m", member.sha256, 1.0),))
    return Ensemble(config, [member]).predict(image)


def volume(path: Path, turn: np.ndarray, codes: int = 1) -> tuple[np.ndarray, np.ndarray]:
    """Write random voxels of 0 and 1 whose axes lie as `turn` says; returns them and the affine."""
    voxels = np.random.default_rng(0).integers(0, 2, SHAPE).astype(np.uint8)
    affine = np.eye(4)
    affine[:3, :3] = turn * np.array([0.5, 2, 3])
    affine[:3, 3] = 10, -20, 30
    image = nibabel.Nifti1Image(voxels, affine)
    image.set_sform(affine, codes)
    image.set_qform(affine, codes)
    nibabel.save(image, path)
    return voxels, affine


TURNS = [
    np.eye(3)[list(axes)] * np.array(signs)
    for axes in itertools.permutations(range(3))
    for signs in [(1, 1, 1), (-1, -1, 1), (1, -1, -1)]
]


@pytest.mark.parametrize("turn", TURNS)
def test_a_mask_marks_the_voxels_of_its_volume_that_the_image_showed(tmp_path: Path, turn: np.ndarray) -> None:
    voxels, affine = volume(tmp_path / "volume.nii", turn)
    image = read_image(tmp_path / "volume.nii", frame=5)
    write_mask_nifti(predict(image), tmp_path / "mask.nii.gz")
    mask = nibabel.load(tmp_path / "mask.nii.gz")
    here = np.argwhere(np.ones(mask.shape, bool))
    places = nibabel.affines.apply_affine(np.linalg.inv(affine) @ mask.affine, here)
    assert places == pytest.approx(places.round(), abs=1e-4)
    there = tuple(places.round().astype(int).T)
    assert np.array_equal(np.asarray(mask.dataobj)[tuple(here.T)], voxels[there])
    assert sorted(mask.shape)[0] == 1
    assert np.array_equal(nibabel.aff2axcodes(mask.affine), nibabel.aff2axcodes(affine))


@pytest.mark.parametrize("codes", [0, 1])
def test_a_mask_is_read_back_as_it_was_found(tmp_path: Path, codes: int) -> None:
    volume(tmp_path / "volume.nii", TURNS[4], codes)
    image = read_image(tmp_path / "volume.nii", frame=3)
    prediction = predict(image)
    write_mask_nifti(prediction, tmp_path / "mask.nii")
    assert np.array_equal(read_masks(tmp_path / "mask.nii", ["bright"], like=image), prediction.masks)
    assert read_image(tmp_path / "mask.nii").spacing_mm == pytest.approx(image.spacing_mm)


@pytest.mark.parametrize("orientation", [1, 6, 7])
def test_the_label_map_of_a_turned_image_lies_on_its_stored_grid(tmp_path: Path, orientation: int) -> None:
    exif = PIL.Image.Exif()
    exif[0x0112] = orientation
    pixels = np.random.default_rng(0).integers(0, 2, (20, 30), dtype=np.uint8) * 255
    PIL.Image.fromarray(pixels).save(tmp_path / "turned.png", exif=exif)
    image = read_image(tmp_path / "turned.png")
    prediction = predict(image, LABELS)
    write_mask_nifti(prediction, tmp_path / "map.nii")
    assert nibabel.load(tmp_path / "map.nii").shape == (30, 20, 1)
    bright, left = prediction.masks
    again = read_masks(tmp_path / "map.nii", LABELS, like=image)
    assert np.array_equal(again, [bright & ~left, left])  # where labels overlap the later one is seen


def test_probabilities_are_floats_with_a_volume_for_each_label(tmp_path: Path) -> None:
    spaced = Image(np.random.default_rng(1).random((20, 30, 1), np.float32), spacing_mm=(0.5, 0.25))
    prediction = predict(spaced, LABELS)
    write_probabilities_nifti(prediction, tmp_path / "p.nii.gz")
    stored = nibabel.load(tmp_path / "p.nii.gz")
    assert (stored.get_data_dtype(), stored.shape) == (np.float32, (30, 20, 1, 2))
    assert stored.header.get_zooms()[:2] == (0.25, 0.5)
    shown = np.asarray(stored.dataobj)[:, ::-1, 0].transpose(2, 1, 0)  # x runs along the image's rows, y up
    assert np.array_equal(shown, prediction.probabilities)


def test_the_file_names_its_labels_and_says_that_it_is_for_research(tmp_path: Path) -> None:
    write_mask_nifti(predict(Image(np.zeros((20, 30, 1), np.float32)), LABELS), tmp_path / "m.nii")
    header = nibabel.load(tmp_path / "m.nii").header
    assert NOTICE in bytes(header["descrip"]).decode()
    (comment,) = header.extensions
    assert comment.get_content() in (text := f"{NOTICE} Labels: 1 bright, 2 left", text.encode())
