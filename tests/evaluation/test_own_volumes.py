"""What `medseg predict` leaves of a NIfTI volume can be evaluated: a PNG a slice, as the slice is shown."""

import json
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest
from nibabel.orientations import apply_orientation, axcodes2ornt, inv_ornt_aff

from medseg.__main__ import main
from medseg.config import EnsembleConfig, MemberReference
from medseg.image import Image
from medseg.inference.batch import Settings, predict_jobs
from medseg.inference.ensemble import Ensemble
from medseg.inference.jobs import find_jobs
from tests.conftest import fake_member

SIDE, SLICES = 24, 5
AFFINE = np.array([[0.9, 0, 0, -30], [0, 0.9, 0, 12], [0, 0, 2.5, 70], [0, 0, 0, 1]])


def drawn(number: int) -> np.ndarray:
    """An L in every slice but the first, longer and elsewhere in each: right, front and up are its axes."""
    volume = np.zeros((SIDE, SIDE, SLICES), np.uint8)
    for place in range(1, SLICES):
        volume[2 + number : 5 + number, 3 : 9 + 2 * place, place] = 1
        volume[2 + number : 15 + place, 3 : 6 + number, place] = 1
    return volume


def write(path: Path, volume: np.ndarray, axes: str) -> None:
    """The volume as a file whose axes point to `axes`."""
    path.parent.mkdir(parents=True, exist_ok=True)
    turn = nibabel.orientations.ornt_transform(axcodes2ornt("RAS"), axcodes2ornt(axes))
    nibabel.save(nibabel.Nifti1Image(apply_orientation(volume, turn), AFFINE @ inv_ornt_aff(turn, volume.shape)), path)


def data_set(root: Path, axes: str, classes: int = 1) -> Path:
    """Three volumes that show what is marked on them; of two classes the upper slices are the second."""
    for number in range(3):
        shown = drawn(number) * np.where(np.arange(SLICES) > 2, classes, 1).astype(np.uint8)
        write(root / "images" / f"v{number}.nii.gz", shown * np.float32(100 / classes), axes)
        write(root / "masks" / f"v{number}.nii.gz", shown, axes)
    return root


def predict(data: Path, output: Path, classes: int = 1) -> Path:
    """With an ensemble that marks what is bright; of two classes the half bright is the first."""

    def answer(image: Image) -> np.ndarray:
        grey = image.pixels[..., 0]
        return np.stack([abs(grey - (k + 1) / classes) < 0.1 for k in range(classes)]).astype(np.float32)

    labels = ("a", "b")[:classes]
    task: Any = "binary" if classes == 1 else "multiclass"
    member = fake_member("drawing", answer, labels=labels, task=task)
    ensemble = Ensemble(EnsembleConfig("e", task, labels, (MemberReference("drawing", member.sha256, 1.0),)), [member])
    assert predict_jobs(ensemble, find_jobs([str(data / "images")], output), output, Settings()) == 0
    return output


def scores(tmp_path: Path, predictions: Path, data: Path, *labels: str) -> dict[str, float]:
    """The mean Dice of each label, by images."""
    out = tmp_path / "out"
    main(["evaluate", "--predictions", f"p={predictions}", str(data), "--labels", *labels, "--output", str(out)])
    report: dict[str, Any] = json.loads((out / "scores.json").read_text())
    assert report["n"] == 3 * SLICES
    return {label: next(iter(kinds.values()))["dice"]["mean"] for label, kinds in report["rows"]["p"].items()}


@pytest.mark.parametrize("axes", ["RAS", "LPS", "LAS", "RPI", "SAR", "PIL", "ASR"])
def test_the_masks_of_a_volume_are_those_of_its_slices(axes: str, tmp_path: Path) -> None:
    data = data_set(tmp_path / "data", axes)
    own = predict(data, tmp_path / "own")
    assert len([*own.glob("*.png")]) == 3 * SLICES
    assert scores(tmp_path, own, data, "a") == {"a": 1.0}


def test_of_several_labels_the_report_names_them(tmp_path: Path) -> None:
    data = data_set(tmp_path / "data", "LPS", classes=2)
    own = predict(data, tmp_path / "own", classes=2)
    assert scores(tmp_path, own, data, "b=2", "a=1") == {"b": 1.0, "a": 1.0}
    assert scores(tmp_path, own, data, "b=2") == {"b": 1.0}


def test_a_mask_of_another_file_or_without_its_report_is_refused(tmp_path: Path) -> None:
    """The same volume, stored along other axes, may be shown alike; nothing says so."""
    data = data_set(tmp_path / "data", "RAS")
    own = predict(data, tmp_path / "own")
    with pytest.raises(SystemExit, match="report beside it is of another file than this image, and a PNG does not say"):
        scores(tmp_path, own, data_set(tmp_path / "turned", "LPS"), "a")
    for path in own.glob("*.json"):
        path.unlink()
    with pytest.raises(SystemExit, match="The mask, a PNG, does not say how it lies in the patient, and its image"):
        scores(tmp_path, own, data, "a")
