"""What the browser blends: probabilities as bytes in PNGs, and the masks as bits."""

from __future__ import annotations

import base64
import io

import numpy as np
import PIL.Image
import pytest

pytest.importorskip("gradio")

from medseg.app.render import planes
from medseg.image import Image


def unpacked(sources: list[str]) -> np.ndarray:
    """The planes (n, h, w) of some PNGs."""
    images = [PIL.Image.open(io.BytesIO(base64.b64decode(source.split(",")[1]))) for source in sources]
    assert all(image.mode == "RGB" for image in images)
    return np.concatenate([np.asarray(image).transpose(2, 0, 1) for image in images])


def test_members_come_back_within_half_a_step_and_in_their_order() -> None:
    members = np.random.default_rng(0).random((5, 3, 7, 9)).astype(np.float16)
    back = unpacked(planes.member_planes(members))[:15].reshape(5, 3, 7, 9)
    assert np.abs(back / 255 - members).max() <= 0.5 / 255 + 1e-6


def test_a_vote_at_one_half_is_exact() -> None:
    around = np.array([0.49976, 0.5, 0.5005], np.float16).reshape(3, 1, 1, 1)  # neighbours of 0.5 in half precision
    assert (unpacked(planes.member_planes(around)).ravel() >= 128).tolist() == [False, True, True]


def test_masks_come_back_bit_by_bit() -> None:
    masks = np.random.default_rng(1).random((11, 4, 6)) < 0.5
    bits = unpacked(planes.pack(planes.mask_bits(masks)))
    back = np.stack([bits[label // 8] >> label % 8 & 1 for label in range(11)])
    assert np.array_equal(back, masks)


def test_grey_travels_with_16_bits_and_small_colour_without_loss() -> None:
    grey = np.linspace(0, 1, 60, dtype=np.float32).reshape(6, 10, 1)
    sent = planes.image_data(Image(grey))
    high, low, _ = unpacked([sent["src"]]).astype(int)
    assert sent["deep"]
    assert np.abs((high * 256 + low) / 65535 - grey[..., 0]).max() <= 0.5 / 65535 + 1e-7
    colour = (np.arange(180).reshape(6, 10, 3) / 255).astype(np.float32)
    sent = planes.image_data(Image(colour))
    assert not sent["deep"]
    assert np.array_equal(unpacked([sent["src"]]).transpose(1, 2, 0), np.arange(180).reshape(6, 10, 3))
