"""Overlays and heatmaps on flat images, where the colour of every pixel can be worked out."""

import numpy as np
import pytest

from medseg.overlay import HEAT, PALETTE, add_colour_bar, draw_heatmap, draw_overlay, errors, label_colour

BLACK = np.zeros((32, 32, 3), dtype=np.float32)
DARK = [16, 16, 16]


def square(top: int, left: int, side: int, shape: tuple[int, int] = (32, 32)) -> np.ndarray:
    mask = np.zeros((1, *shape), dtype=bool)
    mask[0, top : top + side, left : left + side] = True
    return mask


def luminance(colours: np.ndarray) -> np.ndarray:
    """Relative luminance of sRGB colours (IEC 61966-2-1)."""
    values = np.asarray(colours) / 255
    linear = np.where(values <= 0.04045, values / 12.92, ((values + 0.055) / 1.055) ** 2.4)
    return linear @ (0.2126, 0.7152, 0.0722)


def test_an_image_without_masks_is_the_image() -> None:
    pixels = np.random.default_rng(0).random((5, 7, 3)).astype(np.float32)
    for masks in (np.zeros((0, 5, 7), dtype=bool), np.zeros((2, 5, 7), dtype=bool)):
        np.testing.assert_array_equal(draw_overlay(pixels, masks), np.floor(pixels * 255 + np.float32(0.5)))


def test_grey_images_become_rgb() -> None:
    grey = np.full((4, 6, 1), 0.2, dtype=np.float32)
    assert draw_overlay(grey, np.zeros((1, 4, 6), dtype=bool)).tolist() == [[[51, 51, 51]] * 6] * 4


@pytest.mark.parametrize("channels", [2, 5])
def test_of_other_channels_the_first_is_drawn_in_grey(channels: int) -> None:
    pixels = np.ones((4, 6, channels), dtype=np.float32)
    pixels[..., 0] = 0.2
    assert draw_overlay(pixels, np.zeros((1, 4, 6), dtype=bool)).tolist() == [[[51, 51, 51]] * 6] * 4
    black = draw_heatmap(np.zeros((4, 6), dtype=np.float32), pixels)
    assert black.tolist() == [[[51, 51, 51]] * 6] * 4


def test_tint_line_and_edge_lie_where_they_should() -> None:
    image = draw_overlay(BLACK + 1, square(10, 10, 12), opacity=0.5)
    assert image[16, 10].tolist() == list(PALETTE[0])  # the mask's first column: the contour
    assert image[16, 9].tolist() == DARK  # just outside: its edge
    assert image[16, 8].tolist() == [255, 255, 255]
    # 127.5 of white and 127.5 of the colour, give or take one step of rounding
    assert np.abs(image[16, 11] - (np.array(PALETTE[0]) + 255) / 2).max() <= 1


def test_contours_stay_opaque_without_tint() -> None:
    image = draw_overlay(BLACK, square(10, 10, 12), opacity=0.0)
    assert image[10, 16].tolist() == list(PALETTE[0])
    assert image[16, 16].tolist() == [0, 0, 0]


def test_lines_grow_with_the_image() -> None:
    for side, thickness in ((64, 1), (512, 2), (1024, 4)):
        pixels = np.zeros((side, side, 1), dtype=np.float32)
        image = draw_overlay(pixels, square(side // 4, side // 4, side // 2, (side, side)), opacity=0.0)
        assert (image[side // 2] == PALETTE[0]).all(axis=-1).sum() == 2 * thickness


def test_masks_at_the_border_and_single_pixels_are_outlined() -> None:
    full = draw_overlay(BLACK, np.ones((1, 32, 32), dtype=bool), opacity=0.0)
    assert (full == PALETTE[0]).all(axis=-1).sum() == 4 * 31
    corner = draw_overlay(BLACK, square(31, 31, 1), opacity=0.0)
    assert corner[31, 31].tolist() == list(PALETTE[0])
    assert corner[30, 31].tolist() == corner[31, 30].tolist() == DARK
    single = draw_overlay(np.ones((1, 1, 3), dtype=np.float32), np.ones((1, 1, 1), dtype=bool))
    assert single.tolist() == [[list(PALETTE[0])]]


def test_holes_have_contours_too() -> None:
    mask = square(4, 4, 24)
    mask[0, 14:18, 14:18] = False
    image = draw_overlay(BLACK + 1, mask, opacity=0.0)
    assert image[15, 13].tolist() == list(PALETTE[0])
    assert image[15, 14].tolist() == DARK


def test_an_enclosed_label_keeps_its_contour_under_a_larger_one() -> None:
    masks = np.concatenate([square(12, 12, 8), square(4, 4, 24)])
    image = draw_overlay(BLACK, masks, opacity=1.0)
    assert image[15, 12].tolist() == list(PALETTE[0])
    assert image[15, 4].tolist() == image[15, 15].tolist() == list(PALETTE[1])


def test_a_mask_and_its_truth_part_into_hit_false_alarm_and_miss() -> None:
    mask, truth = np.array([[1, 1, 0, 0]], bool), np.array([[1, 0, 1, 0]], bool)
    assert errors(mask, truth)[:, 0].tolist() == [[1, 0, 0, 0], [0, 1, 0, 0], [0, 0, 1, 0]]


def test_inputs_are_left_alone() -> None:
    pixels, masks, values = BLACK.copy(), square(4, 4, 9), BLACK[..., 0].copy()
    draw_overlay(pixels, masks)
    draw_heatmap(values, pixels)
    np.testing.assert_array_equal(pixels, BLACK)
    np.testing.assert_array_equal(values, BLACK[..., 0])
    np.testing.assert_array_equal(masks, square(4, 4, 9))


def test_labels_have_their_own_colours() -> None:
    assert len(set(PALETTE)) == len(PALETTE) == 14
    assert label_colour(0) == label_colour(14) == PALETTE[0]


def test_the_first_colour_is_seen_on_tissue_and_on_greys() -> None:
    dark_edge = luminance(np.array(DARK))
    line = luminance(np.array(PALETTE[0]))
    for background in ([200, 110, 100], [150, 60, 50], [20, 20, 20], [128, 128, 128], [230, 230, 230]):
        behind = luminance(np.array(background))
        contrasts = [(max(behind, seen) + 0.05) / (min(behind, seen) + 0.05) for seen in (line, dark_edge)]
        assert max(contrasts) >= 3  # WCAG 2.1, 1.4.11, for graphical objects


def test_heat_runs_from_dark_violet_to_yellow_and_only_gets_lighter() -> None:
    assert HEAT[0].tolist() == [0x44, 0x01, 0x54]
    assert HEAT[255].tolist() == [0xFD, 0xE7, 0x25]
    lightness = 116 * np.cbrt(luminance(HEAT)) - 16
    assert (np.diff(luminance(HEAT[::5])) > 0).all()  # single steps waver by the rounding to bytes
    # Perceptually uniform: equal steps of value are about equal steps of CIE lightness.
    assert np.abs(lightness[16:] - np.linspace(lightness[16], lightness[255], 240)).max() < 3


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_heat_colours_follow_the_values(dtype: type) -> None:
    values = np.array([[0.0, 0.2, 1.0]], dtype=dtype)
    assert draw_heatmap(values).tolist() == [HEAT[[0, 51, 255]].tolist()]


def test_heat_over_an_image_is_transparent_at_nothing_and_full_from_one_half() -> None:
    values = np.array([[0.0, 0.6, 1.0]], dtype=np.float32)
    pixels = np.ones((1, 3, 1), dtype=np.float32)
    image = draw_heatmap(values, pixels, opacity=0.5)
    assert image[0, 0].tolist() == [255, 255, 255]
    for column, level in ((1, 153), (2, 255)):
        assert np.abs(image[0, column] - (255 + HEAT[level].astype(float)) / 2).max() <= 1


def test_the_colour_bar_stands_at_the_right_and_covers_the_whole_range() -> None:
    heat = draw_heatmap(np.zeros((300, 40), dtype=np.float32))
    image = add_colour_bar(heat)
    np.testing.assert_array_equal(image[:, :40], heat)
    bar = image[:, 40 + 15].astype(int)  # a column through the bar
    rows = np.flatnonzero((bar != DARK).any(axis=-1))
    assert np.abs(bar[rows[0]] - HEAT[255]).max() <= 4
    assert np.abs(bar[rows[-1]] - HEAT[0]).max() <= 4
    assert (np.diff(luminance(bar[rows][::5])) < 0).all()


def test_the_colour_bar_says_what_its_ends_mean() -> None:
    heat = draw_heatmap(np.zeros((300, 40), dtype=np.float32))
    assert (add_colour_bar(heat, 0.0, 1.0) != add_colour_bar(heat, 0.0, 0.5)).any()


@pytest.mark.parametrize("height", [1, 6, 64])
def test_small_images_get_a_colour_bar_too(height: int) -> None:
    heat = draw_heatmap(np.zeros((height, 5), dtype=np.float32))
    assert add_colour_bar(heat).shape[0] == height
