"""Images of five channels all the way: file → image → training → member folder → prediction → overlay."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import PIL.Image
import pytest
import tifffile
import torch

from medseg.data.samples import load_data
from medseg.errors import InputError
from medseg.inference.ensemble import Ensemble
from medseg.overlay import draw_overlay
from medseg.reading.readers import read_image
from medseg.training.loop import train
from medseg.training.recipe import Recipe
from tests.conftest import disc

SIZE = (64, 64)
SEEN = 3
"""The one of the five channels in which the disc is to be seen."""


@pytest.fixture(autouse=True)
def on_one_thread_of_the_cpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ACCELERATE_USE_CPU", "true")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)


def channels_with_disc(seed: int) -> tuple[np.ndarray, np.ndarray]:
    """(64, 64, 5) bytes of noise, in one channel of which a bright disc lies, and the disc."""
    rng = np.random.default_rng(seed)
    mask = disc(SIZE, (rng.uniform(20, 44), rng.uniform(20, 44)), rng.uniform(8, 14))
    pixels = rng.integers(0, 40, (*SIZE, 5)).astype(np.uint8)
    pixels[mask, SEEN] += 200
    return pixels, mask


def write_tiffs(root: Path) -> Path:
    """Pairs: TIFFs with five samples a pixel, masks as PNG. Returns one image."""
    for folder in ("images", "masks"):
        (root / folder).mkdir(parents=True)
    for number in range(16):
        pixels, mask = channels_with_disc(number)
        path = root / "images" / f"{number:02}.tif"
        tifffile.imwrite(path, pixels, photometric="minisblack", planarconfig="contig")
        PIL.Image.fromarray(mask).save(root / "masks" / f"{number:02}.png")
    return root / "images" / "00.tif"


def write_volumes(root: Path) -> Path:
    """The Decathlon's layout: 4-D volumes of two slices and five modalities. Returns one volume."""
    for folder in ("imagesTr", "labelsTr"):
        (root / folder).mkdir(parents=True)
    for number in range(12):
        slices = [channels_with_disc(2 * number + slice_) for slice_ in range(2)]
        volume = np.stack([pixels for pixels, _ in slices], axis=2)
        labels = np.stack([mask for _, mask in slices], axis=2)
        for folder, voxels in (("imagesTr", volume.astype(np.int16)), ("labelsTr", labels.astype(np.uint8))):
            nibabel.save(nibabel.Nifti1Image(voxels, np.eye(4)), root / folder / f"v{number}.nii.gz")
    return root / "imagesTr" / "v0.nii.gz"


TRAININGS: dict[str, tuple[Any, dict[str, Any]]] = {
    "an smp network on TIFFs": (
        write_tiffs,
        {"encoder": "tu-test_efficientnet", "decoder": {"decoder_channels": [32, 16, 16, 8, 8]}, "epochs": 15},
    ),
    "plainunet on volumes": (
        write_volumes,
        {"architecture": "plainunet", "encoder": "none", "decoder": {"depth": 2, "width": 8}, "epochs": 6},
    ),
}


@pytest.mark.parametrize("kind", TRAININGS)
def test_five_channels_are_trained_on_and_predicted_from(tmp_path: Path, kind: str) -> None:
    write, network = TRAININGS[kind]
    path = write(tmp_path / "data")
    recipe = Recipe(
        data=str(tmp_path / "data"), output=str(tmp_path / "run"), labels=("disc",), channels=5, size=64,
        batch_size=4, learning_rate=1e-2, augmentation="heavy", **network,
    )  # fmt: skip
    ensemble = Ensemble.from_pretrained(train(recipe))
    image = read_image(path)
    assert image.pixels.shape == (*SIZE, 5)
    prediction = ensemble.predict(image)
    (sample,) = [s for s in load_data(tmp_path / "data").samples if (s.image, s.frame) == (path, image.frame)]
    (found,), (truth,) = prediction.masks, sample.read(["disc"])[1]
    assert (found & truth).sum() > 0.7 * (found | truth).sum()
    drawn = draw_overlay(image.pixels, np.zeros((0, *SIZE), dtype=bool))
    assert (drawn == np.round(image.pixels[..., :1] * 255)).all()


def test_images_of_other_channels_than_the_recipe_are_refused_by_name(tmp_path: Path) -> None:
    write_tiffs(tmp_path / "data")
    recipe = Recipe(data=str(tmp_path / "data"), output=str(tmp_path / "run"), labels=("disc",), channels=4, size=64)
    with pytest.raises(InputError, match=r"\.tif: This model wants an image of 4 channels, this one has 5\. Set chan"):
        train(recipe)
