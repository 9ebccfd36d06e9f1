"""What the browser blends: probabilities as codes in PNGs, and the masks as bits."""

from __future__ import annotations

import base64
import io

import numpy as np
import PIL.Image
import pytest
from scipy.special import expit, logit

pytest.importorskip("gradio")

from medseg.app.render import planes
from medseg.image import Image
from medseg.inference.blend import NEAREST


def unpacked(sources: list[str]) -> np.ndarray:
    """The planes (n, h, w) of some PNGs."""
    images = [PIL.Image.open(io.BytesIO(base64.b64decode(source.split(",")[1]))) for source in sources]
    assert all(image.mode in ("RGB", "L") for image in images)
    return np.concatenate([np.atleast_3d(image).transpose(2, 0, 1) for image in images])


def chances(codes: np.ndarray) -> np.ndarray:
    """The probabilities that codes stand for, as blend.js has them."""
    middle = expit(((2 * codes.astype(float) + 1) / planes.CODES - 1) * planes.FARTHEST)
    return np.where(codes == 0, 0.0, np.where(codes == planes.CODES - 1, 1.0, middle))


def test_members_come_back_within_half_a_step_and_in_their_order() -> None:
    members = np.random.default_rng(0).random((5, 3, 7, 9)).astype(np.float16)
    back = unpacked(planes.member_planes(members)).astype(int)
    low = back[15:].repeat(4, axis=0)[:15] >> np.array([0, 2, 4, 6] * 4)[:15, None, None] & 3
    assert np.abs(chances(4 * back[:15] + low).reshape(5, 3, 7, 9) - members).max() <= planes.EXACT


def test_every_probability_is_near_its_code_also_by_its_log_odds() -> None:
    members = np.arange(0x3C01, dtype=np.uint16).view(np.float16).astype(np.float32)  # all of half precision to 1
    codes = planes.code_of(members)
    assert np.abs(chances(codes) - members).max() < 1 / 510
    odds = logit(members.clip(NEAREST, 1 - NEAREST))
    assert np.abs(((2 * codes.astype(float) + 1) / planes.CODES - 1) * planes.FARTHEST - odds).max() < 1 / 134
    assert planes.code_of(np.array(np.nan)) == 0


def test_a_vote_at_one_half_is_exact() -> None:
    around = np.array([0.49976, 0.5, 0.5005], np.float16)  # neighbours of 0.5 in half precision
    assert (planes.to_codes(around.reshape(3, 1, 1, 1)).ravel() >= planes.CODES // 2).tolist() == [False, True, True]


def test_what_no_member_doubts_is_sure() -> None:
    members = np.array([[0.0, 0.001, 0.001, 0.999, 1], [0.001, 0.001, 0.2, 0.9985, 0.9]], np.float16)
    first, second = planes.to_codes(members[:, np.newaxis, np.newaxis])[:, 0, 0].tolist()
    last = planes.CODES - 1
    assert (first[0], first[1], first[3], second[0], second[1], second[3]) == (0, 0, last, 0, 0, last)
    assert 0 < first[2] < second[2] < second[4] < first[4]


def test_masks_come_back_bit_by_bit() -> None:
    masks = np.random.default_rng(1).random((11, 4, 6)) < 0.5
    bits = unpacked(planes.pack(planes.mask_bits(masks)))
    back = np.stack([bits[label // 8] >> label % 8 & 1 for label in range(11)])
    assert np.array_equal(back, masks)


def test_grey_travels_with_16_bits_and_small_colour_without_loss() -> None:
    grey = np.linspace(0, 1, 60, dtype=np.float32).reshape(6, 10, 1)
    sent = planes.image_data(Image(grey))
    high, low = unpacked([sent["src"]]).reshape(2, 6, 10).astype(int)
    assert sent["deep"]
    assert np.abs((high * 256 + low) / 65535 - grey[..., 0]).max() <= 0.5 / 65535 + 1e-7
    colour = (np.arange(180).reshape(6, 10, 3) / 255).astype(np.float32)
    sent = planes.image_data(Image(colour))
    assert not sent["deep"]
    assert np.array_equal(unpacked([sent["src"]]).transpose(1, 2, 0), np.arange(180).reshape(6, 10, 3))
