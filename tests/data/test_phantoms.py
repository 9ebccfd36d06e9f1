"""The phantoms: the same seed gives the same image, and every image has something to find in it."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from medseg.data import phantoms
from medseg.places import shipped

EXAMPLES = shipped("assets/examples")
KINDS = pytest.mark.parametrize("kind", phantoms.SCENES)


@KINDS
def test_a_seed_draws_the_same_image_each_time(kind: str) -> None:
    first, again = phantoms.draw(kind, 5, (48, 64)), phantoms.draw(kind, 5, (48, 64))
    assert all(np.array_equal(one, other) for one, other in zip(first, again, strict=True))


@KINDS
def test_seeds_draw_different_images_and_masks(kind: str) -> None:
    (pixels, mask), (other_pixels, other_mask) = phantoms.draw(kind, 1, (64, 64)), phantoms.draw(kind, 2, (64, 64))
    assert not np.array_equal(pixels, other_pixels)
    assert not np.array_equal(mask, other_mask)


@pytest.mark.parametrize(("kind", "channels"), [("endoscopy", (3,)), ("brain", (3,)), ("chest", ())])
def test_pixels_are_8_bit_and_the_mask_lies_on_their_grid(kind: str, channels: tuple[int, ...]) -> None:
    pixels, mask = phantoms.draw(kind, 0, (48, 80))
    assert (pixels.dtype, pixels.shape) == (np.uint8, (48, 80, *channels))
    assert (mask.dtype, mask.shape) == (bool, (48, 80))


@KINDS
def test_every_finding_has_some_size_and_lies_inside_the_image(kind: str) -> None:
    for seed in range(40):
        _, mask = phantoms.draw(kind, seed, (64, 64))
        assert 0.003 < mask.mean() < 0.4
        assert not mask[[0, -1]].any()
        assert not mask[:, [0, -1]].any()


@KINDS
def test_a_seed_is_the_same_scene_at_any_size(kind: str) -> None:
    (small_pixels, small), (large_pixels, large) = phantoms.draw(kind, 3, (96, 96)), phantoms.draw(kind, 3, (288, 288))
    large_at_small = large[1::3, 1::3]  # the centres of the small image's pixels
    assert (small & large_at_small).sum() > 0.95 * (small | large_at_small).sum()
    assert np.abs(small_pixels.astype(float) - large_pixels[1::3, 1::3]).mean() < 5


def test_an_unknown_kind_is_refused_with_the_known_ones() -> None:
    with pytest.raises(ValueError, match=r"'knee'; choose one of endoscopy, brain, chest"):
        phantoms.draw("knee", 0)


def test_write_pairs_gives_each_image_its_mask(tmp_path: Path) -> None:
    phantoms.write_pairs(tmp_path, 2, "endoscopy", (32, 40), seed=7)
    assert sorted(path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*.png")) == [
        "images/000.png",
        "images/001.png",
        "masks/000.png",
        "masks/001.png",
    ]
    pixels, mask = phantoms.draw("endoscopy", 8, (32, 40))
    assert np.array_equal(np.asarray(Image.open(tmp_path / "images/001.png")), pixels)
    assert np.array_equal(np.asarray(Image.open(tmp_path / "masks/001.png")), mask)


def test_the_committed_examples_are_what_the_generator_draws(tmp_path: Path) -> None:
    phantoms.write_examples(tmp_path / "first")
    phantoms.write_examples(tmp_path / "second")
    drawn = sorted((tmp_path / "first").iterdir())
    assert [path.name for path in drawn] == sorted(path.name for path in EXAMPLES.iterdir())
    for path in drawn:
        assert path.read_bytes() == (tmp_path / "second" / path.name).read_bytes()
        assert np.array_equal(np.asarray(Image.open(path)), np.asarray(Image.open(EXAMPLES / path.name)))
