"""A corrected image goes back into training: what `load_data` reads is what was shown."""

from __future__ import annotations

import zipfile
from pathlib import Path

import numpy as np
import PIL.Image
import pytest

from medseg.__main__ import main
from medseg.data.samples import load_data
from medseg.errors import InputError
from medseg.export.training_pair import write_pair
from medseg.image import Image
from medseg.inference.record import NOTICE
from medseg.reading.readers import read_image


@pytest.fixture(autouse=True)
def _cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MEDSEG_CACHE", str(tmp_path / "cache"))


def noise(channels: int, levels: int) -> Image:
    """Random values of so many levels from 0 to 1."""
    values = np.random.default_rng(3).integers(0, levels, (20, 30, channels))
    return Image(values.astype(np.float32) / np.float32(levels - 1))


def some_masks(count: int) -> np.ndarray:
    """The first masks are squares that overlap, the last is empty where there are several."""
    masks = np.zeros((count, 20, 30), bool)
    for index in range(max(count - 1, 1)):
        masks[index, 2 + index : 12, 3:14] = True
    return masks


@pytest.mark.parametrize(
    ("channels", "levels", "suffix"),
    [
        (1, 256, ".png"),
        (3, 256, ".png"),
        (1, 4096, ".tiff"),
        (1, 65536, ".tiff"),
        (3, 65536, ".tiff"),
        (4, 256, ".tiff"),
    ],
)
def test_pixels_and_mask_come_back_as_they_were(tmp_path: Path, channels: int, levels: int, suffix: str) -> None:
    image, masks = noise(channels, levels), some_masks(1)
    write_pair(image, masks, ("blob",), tmp_path / "pair.zip")
    found = load_data(tmp_path / "pair.zip", labels=["blob"])
    assert found.layout == "pairs"
    (sample,) = found.samples
    assert sample.image.suffix == suffix
    read, truth = sample.read(["blob"])
    assert np.array_equal(read.pixels, image.pixels)
    assert np.array_equal(truth, masks)
    assert read.notes == ()


def test_several_labels_get_a_folder_each_and_may_overlap_or_be_empty(tmp_path: Path) -> None:
    image, masks, labels = noise(3, 256), some_masks(3), ("Effusion", "Left lung", "Mass")
    write_pair(image, masks, labels, tmp_path / "pair.zip")
    found = load_data(tmp_path / "pair.zip")
    assert (found.layout, found.labels) == ("class-folders", labels)
    _, truth = found.samples[0].read(labels)
    assert np.array_equal(truth, masks)


def test_a_turned_photograph_is_kept_as_the_networks_see_it(tmp_path: Path) -> None:
    exif = PIL.Image.Exif()
    exif[0x0112], exif[0x010E] = 6, "DOE^JOHN"
    pixels = np.random.default_rng(1).integers(0, 256, (20, 30, 3), dtype=np.uint8)
    PIL.Image.fromarray(pixels).save(tmp_path / "DOE.jpg", exif=exif)
    image = read_image(tmp_path / "DOE.jpg")
    masks = np.zeros((1, *image.size), bool)
    masks[0, :5] = True
    write_pair(image, masks, ("blob",), tmp_path / "pair.zip")
    assert b"DOE" not in (tmp_path / "pair.zip").read_bytes()
    read, truth = load_data(tmp_path / "pair.zip", labels=["blob"]).samples[0].read(["blob"])
    assert np.array_equal(read.pixels, image.pixels)
    assert np.array_equal(truth, masks)


def test_the_same_pair_is_the_same_file_and_says_what_it_is_for(tmp_path: Path) -> None:
    for name in ("one", "two"):
        write_pair(noise(1, 4096), some_masks(1), ("blob",), tmp_path / f"{name}.zip")
    assert (tmp_path / "one.zip").read_bytes() == (tmp_path / "two.zip").read_bytes()
    with zipfile.ZipFile(tmp_path / "one.zip") as archive:
        assert archive.comment.decode() == NOTICE


def test_inspect_reads_a_pair_as_any_data_set(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_pair(noise(3, 256), some_masks(3)[:2], ("lung", "heart"), tmp_path / "pair.zip")
    with pytest.raises(SystemExit):  # one image is too few to train on, which it says
        main(["inspect", str(tmp_path / "pair.zip")])
    assert "class-folders: 1 samples of 1 cases" in capsys.readouterr().out


@pytest.mark.parametrize("label", ["left/right", "..", "a:b"])
def test_a_label_that_names_no_folder_is_refused(tmp_path: Path, label: str) -> None:
    with pytest.raises(InputError, match="cannot name a folder"):
        write_pair(noise(1, 256), some_masks(2), (label, "other"), tmp_path / "pair.zip")
