"""Turning images upright and back, against Pillow."""

import io
from typing import Any

import numpy as np
import PIL.Image
import PIL.ImageOps
import pytest

from medseg.errors import InputError
from medseg.image import Image, to_stored, to_upright

STORED = np.arange(6, dtype=np.uint8).reshape(2, 3)  # 2 rows, 3 columns, no two pixels alike
ORIENTATIONS = range(1, 9)


def turned_by_pillow(pixels: np.ndarray, orientation: int) -> np.ndarray:
    exif = PIL.Image.Exif()
    exif[0x0112] = orientation
    file = io.BytesIO()
    PIL.Image.fromarray(pixels).save(file, format="PNG", exif=exif)
    return np.asarray(PIL.ImageOps.exif_transpose(PIL.Image.open(file)))


@pytest.mark.parametrize("orientation", ORIENTATIONS)
def test_upright_is_what_pillow_makes_of_the_exif_tag(orientation: int) -> None:
    assert np.array_equal(to_upright(STORED, orientation), turned_by_pillow(STORED, orientation))


@pytest.mark.parametrize("orientation", ORIENTATIONS)
def test_stored_undoes_upright(orientation: int) -> None:
    assert np.array_equal(to_stored(to_upright(STORED, orientation), orientation), STORED)


@pytest.mark.parametrize("orientation", ORIENTATIONS)
def test_leading_axes_are_left_alone(orientation: int) -> None:
    masks = np.stack([STORED, STORED + 10])
    assert np.array_equal(to_upright(masks, orientation)[1], to_upright(STORED + 10, orientation))


def test_size_is_height_and_width() -> None:
    assert Image(np.zeros((5, 7, 3), np.float32)).size == (5, 7)


def test_the_same_pixels_have_the_same_hash_whatever_they_came_in() -> None:
    pixels = np.random.default_rng(0).random((4, 6, 3), dtype=np.float32)
    turned = np.ascontiguousarray(pixels.transpose(1, 0, 2)).transpose(1, 0, 2)  # another memory layout
    assert Image(pixels).sha256 == Image(turned, modality="ES").sha256


def test_other_pixels_or_another_shape_have_another_hash() -> None:
    pixels = np.zeros((4, 6, 1), np.float32)
    changed = pixels.copy()
    changed[3, 5, 0] = 1e-6
    assert len({Image(p).sha256 for p in (pixels, changed, pixels.reshape(6, 4, 1))}) == 3


@pytest.mark.parametrize(
    ("pixels", "spacing", "words"),
    [
        (np.zeros((4, 4), np.float32), None, r"\(height, width, channels\), and these are of the shape \(4, 4\)"),
        (np.zeros((0, 4, 1), np.float32), None, r"of the shape \(0, 4, 1\)"),
        ([[0.0]], None, "these are a list"),
        (np.zeros((4, 4, 1), np.uint8), None, r"float32 in \[0, 1\], and these are uint8"),
        (np.full((4, 4, 1), 255, np.float32), None, "go from 255 to 255"),
        (np.full((4, 4, 1), np.nan, np.float32), None, "go from nan to nan"),
        (np.zeros((4, 4, 1), np.float32), (0.0, 1.0), r"two lengths above 0 in mm \(row, column\), not \(0\.0, 1\.0\)"),
        (np.zeros((4, 4, 1), np.float32), 0.5, "not 0.5"),
    ],
)
def test_an_image_of_other_pixels_or_spacing_is_refused(pixels: Any, spacing: Any, words: str) -> None:
    with pytest.raises(InputError, match=words):
        Image(pixels, spacing)
