"""The way from the image's grid to a member's input and back, on images that are not square."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from medseg.config import Preprocess
from medseg.errors import InputError
from medseg.preprocess import (
    masks_to_input_grid,
    normalise,
    to_channels,
    to_image_grid,
    to_input_grid,
    to_tensor,
    to_working_grid,
    working_size,
)
from tests.conftest import disc

PLAIN = {"channels": 1, "mean": (0.0,), "std": (1.0,)}
RESIZES = ("stretch", "letterbox")
SIZES = [(48, 64), (90, 200), (200, 90), (333, 500), (128, 128), (1100, 1400)]


def plain(height: int, width: int, resize: str) -> Preprocess:
    """An input grid without normalisation, so that values stay those of the image."""
    return Preprocess(height, width, resize=resize, **PLAIN)


def as_image(mask: np.ndarray) -> np.ndarray:
    return mask.astype(np.float32)[..., np.newaxis]


def iou(a: np.ndarray, b: np.ndarray) -> float:
    return float((a & b).sum() / (a | b).sum())


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("resize", RESIZES)
def test_a_mask_drawn_on_the_image_survives_the_round_trip(size: tuple[int, int], resize: str) -> None:
    mask = disc(size, (size[0] * 0.45, size[1] * 0.6), min(size) * 0.3)
    preprocess = plain(192, 256, resize)
    answer = to_tensor(as_image(mask), preprocess)[0]
    back = to_image_grid(to_working_grid(answer, preprocess, size), size)
    assert back.shape == (1, *size)
    assert iou(back[0] >= 0.5, mask) >= 0.95


def test_letterbox_keeps_the_pixels_of_an_image_that_fits_and_centres_them() -> None:
    image = np.random.default_rng(0).random((64, 30, 1), dtype=np.float32)
    batch = to_tensor(image, plain(64, 96, "letterbox"))
    assert batch.shape == (1, 1, 64, 96)
    assert np.array_equal(batch[0, 0, :, 33:63], image[..., 0])  # (96 − 30) / 2 = 33 columns on each side
    assert not batch[0, 0, :, :33].any()
    assert not batch[0, 0, :, 63:].any()


def test_letterbox_padding_is_cut_off_again_exactly() -> None:
    image = np.random.default_rng(0).random((31, 64, 1), dtype=np.float32)  # an odd number of rows is left over
    preprocess = plain(64, 64, "letterbox")
    back = to_working_grid(to_tensor(image, preprocess)[0], preprocess, (31, 64))
    assert np.array_equal(back[0], image[..., 0])


def test_letterbox_keeps_the_aspect_ratio_and_stretch_fills_the_grid() -> None:
    white = np.ones((50, 100, 1), np.float32)
    assert to_input_grid(white, plain(64, 64, "letterbox")).sum() == 32 * 64
    assert to_input_grid(white, plain(64, 64, "stretch")).sum() == 64 * 64


def test_padding_is_black_before_the_normalisation() -> None:
    preprocess = Preprocess(64, 64, 1, mean=(0.5,), std=(0.25,), resize="letterbox")
    batch = to_tensor(np.ones((32, 64, 1), np.float32), preprocess)
    assert np.unique(batch[0, 0, :16]).tolist() == [-2]
    assert np.unique(batch[0, 0, 16:48]).tolist() == [2]


def test_normalisation_is_per_channel() -> None:
    preprocess = Preprocess(32, 32, 3, mean=(0.0, 0.5, 1.0), std=(1.0, 0.5, 0.25))
    assert normalise(np.ones((1, 3, 1, 1), np.float32), preprocess).flatten().tolist() == [1, 1, 0]


def test_shrinking_averages_so_that_thin_lines_stay() -> None:
    lines = np.zeros((256, 256, 1), np.float32)
    lines[:, ::8] = 1
    assert to_input_grid(lines, plain(32, 32, "stretch")).min() > 0.05


@pytest.mark.parametrize("size", [*SIZES, (1, 900), (37, 1000)])
@pytest.mark.parametrize("grid", [(64, 96), (512, 512)])
def test_resizing_is_torchs_antialiased_bilinear_filter(size: tuple[int, int], grid: tuple[int, int]) -> None:
    image = np.random.default_rng(0).random((*size, 3), dtype=np.float32)
    planes = torch.from_numpy(image.transpose(2, 0, 1).copy())[None].double()
    expected = F.interpolate(planes, size=grid, mode="bilinear", antialias=True, align_corners=False)[0]
    found = to_input_grid(image, Preprocess(*grid))
    np.testing.assert_allclose(found, expected.numpy(), atol=2e-7)


def test_the_median_of_evening_is_torchs() -> None:
    plane = np.random.default_rng(3).uniform(0.04, 0.9, (1, 32, 32)).astype(np.float32)  # an even number of pixels
    preprocess = Preprocess(32, 32, 1, (0.0,), (1.0,), intensity="evened")
    expected = plane * np.clip(0.2 / torch.from_numpy(plane).median().item(), 0.4, 2.5)
    np.testing.assert_allclose(to_input_grid(plane.transpose(1, 2, 0), preprocess), expected.clip(0, 1), rtol=1e-6)


@pytest.mark.parametrize(
    ("size", "working"),
    [((1024, 1024), (1024, 1024)), ((2048, 1024), (1024, 512)), ((1000, 3000), (341, 1024)), ((1, 5000), (1, 1024))],
)
def test_the_working_grid_is_the_images_own_up_to_1024(size: tuple[int, int], working: tuple[int, int]) -> None:
    assert working_size(size) == working


def test_a_large_image_is_answered_on_the_working_grid() -> None:
    answer = np.random.default_rng(0).random((2, 32, 32), dtype=np.float32)
    assert to_working_grid(answer, plain(32, 32, "stretch"), (2048, 1024)).shape == (2, 1024, 512)


def test_the_working_grid_comes_back_to_the_images_own() -> None:
    probabilities = np.full((2, 512, 1024), 0.25, np.float32)
    back = to_image_grid(probabilities, (1500, 3000))
    assert back.shape == (2, 1500, 3000)
    assert back.min() == back.max() == 0.25


def test_grey_is_repeated_for_a_colour_network() -> None:
    grey = np.array([[[0.25]]], np.float32)
    assert to_channels(grey, 3).tolist() == [[[0.25, 0.25, 0.25]]]


def test_colour_becomes_its_luma_for_a_grey_network() -> None:
    primaries = np.eye(3, dtype=np.float32)[np.newaxis]  # red, green, blue
    np.testing.assert_allclose(to_channels(primaries, 1)[0, :, 0], [0.299, 0.587, 0.114])


@pytest.mark.parametrize(("has", "wanted"), [(3, 4), (1, 4), (4, 3), (4, 1)])
def test_an_image_of_other_channels_is_refused_by_number(has: int, wanted: int) -> None:
    with pytest.raises(InputError, match=f"wants an image of {wanted} channels, this one has {has}"):
        to_channels(np.zeros((2, 2, has), np.float32), wanted)


def test_an_image_that_may_not_be_written_is_taken_and_left_as_it_is() -> None:
    image = np.full((32, 32, 1), 0.5, np.float32)
    image.flags.writeable = False
    batch = to_tensor(image, Preprocess(32, 32, **PLAIN))
    batch += 1
    assert image.max() == 0.5


@pytest.mark.parametrize("resize", RESIZES)
def test_masks_move_as_the_image_does(resize: str) -> None:
    mask = disc((90, 200), (40, 120), 30)
    preprocess = plain(96, 128, resize)
    moved = masks_to_input_grid(mask[np.newaxis], preprocess)[0]
    assert np.array_equal(moved, to_input_grid(as_image(mask), preprocess)[0] >= 0.5)


def test_an_extreme_strip_keeps_at_least_one_row() -> None:
    preprocess = plain(32, 32, "letterbox")
    batch = to_tensor(np.ones((2, 900, 1), np.float32), preprocess)
    assert batch.sum() == 32
    assert to_working_grid(batch[0], preprocess, (2, 900)).shape == (1, 2, 900)


# --- intensities without a unit


def evened(pixels: np.ndarray) -> np.ndarray:
    preprocess = Preprocess(64, 64, 2, (0.0, 0.0), (1.0, 1.0), intensity="evened")
    return to_tensor(pixels, preprocess)[0]


def sequences(*gains: float) -> np.ndarray:
    """Two channels, dark around a disc of uneven brightness, each times a gain."""
    rng = np.random.default_rng(0)
    lit = disc((64, 64), (32, 32), 20)[..., np.newaxis]
    return np.where(lit, rng.uniform(0.1, 0.35, (64, 64, 2)), 0).astype(np.float32) * np.float32(gains)


def test_a_darker_or_brighter_sequence_is_the_same_once_evened() -> None:
    as_it_was, dark = evened(sequences(1, 1)), evened(sequences(0.7, 1.5))
    np.testing.assert_allclose(as_it_was, dark, atol=1e-6)
    for plane in as_it_was:
        assert np.median(plane[plane > 0]) == pytest.approx(0.2, abs=0.002)


def test_evening_has_bounds_and_leaves_an_all_but_dark_channel_alone() -> None:
    glaring = np.ones((64, 64, 2), np.float32)
    assert evened(glaring) == pytest.approx(0.4)  # not 0.2: a factor is 0.4 to 2.5
    nearly_dark = np.zeros((64, 64, 2), np.float32)
    nearly_dark[:5, :20] = 0.9
    assert np.array_equal(evened(nearly_dark), nearly_dark.transpose(2, 0, 1))
    assert evened(sequences(2.5, 1)).max() <= 1


def test_letterbox_bars_are_no_part_of_the_median() -> None:
    preprocess = Preprocess(64, 96, 2, (0.0, 0.0), (1.0, 1.0), "letterbox", "evened")
    inside = to_tensor(sequences(1, 1), preprocess)[0, :, :, 16:80]
    np.testing.assert_allclose(inside, evened(sequences(1, 1)), atol=1e-6)
