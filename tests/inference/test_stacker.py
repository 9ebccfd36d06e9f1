"""The stacker's image: members' probabilities as channels, in an order that training and inference share."""

import numpy as np
import pytest

from medseg.errors import InputError
from medseg.image import Image
from medseg.inference.stacker import count_channels, stack_image

STACK = (np.arange(2 * 3 * 4 * 5).reshape(2, 3, 4, 5) / 128).astype(np.float16)  # exact in half precision
"""Two members, three labels, a working grid of 4 × 5."""


def test_the_channels_are_member_by_member_and_label_by_label() -> None:
    pixels = stack_image(STACK).pixels
    assert (pixels.shape, pixels.dtype) == ((4, 5, 6), np.float32)
    order = [(member, label) for member in range(2) for label in range(3)]
    for channel, (member, label) in enumerate(order):
        assert np.array_equal(pixels[..., channel], STACK[member, label])


def test_the_image_comes_last_on_the_working_grid() -> None:
    colours = np.zeros((8, 10, 3), np.float32)
    colours[..., 1] = 1
    pixels = stack_image(STACK, Image(colours)).pixels
    assert np.array_equal(pixels[..., :6], stack_image(STACK).pixels)
    np.testing.assert_allclose(pixels[0, 0, 6:], (0, 1, 0), atol=1e-6)


def test_a_grey_image_fills_three_channels() -> None:
    pixels = stack_image(STACK, Image(np.full((4, 5, 1), 0.25, np.float32))).pixels
    assert (pixels[..., 6:] == 0.25).all()


def test_an_image_turned_in_memory_is_taken() -> None:
    ramp = np.linspace(0, 1, 4 * 5 * 3, dtype=np.float32).reshape(4, 5, 3)
    turned = stack_image(STACK, Image(ramp[::-1, ::-1]))  # as EXIF orientation 3 leaves it: negative strides
    assert np.array_equal(turned.pixels[..., 6:], ramp[::-1, ::-1])


@pytest.mark.parametrize("image", [None, Image(np.zeros((4, 5, 3), np.float32))])
def test_the_channels_are_counted_as_they_are_stacked(image: Image | None) -> None:
    assert count_channels(2, 3, image is not None) == stack_image(STACK, image).pixels.shape[2]


def test_an_image_that_is_neither_grey_nor_colour_is_refused() -> None:
    with pytest.raises(InputError, match="wants an image of 3 channels, this one has 4"):
        stack_image(STACK, Image(np.zeros((4, 5, 4), np.float32)))
