"""Augmentation: image and masks move together, and chance belongs to (seed, epoch, sample)."""

from __future__ import annotations

import pytest
import torch
from torchvision import tv_tensors

from medseg.training.augment import VarySequences, augment, make_augmentation
from tests.conftest import disc

STRENGTHS = ("light", "medium", "heavy", "sequences", "centres", "upright")
KEYS = [(0, epoch, sample) for epoch in range(4) for sample in range(10)]


def scene(channels: int = 3) -> tuple[torch.Tensor, torch.Tensor]:
    """A white disc off the centre of a black image (C, 64, 64), and its mask, twice as if of two labels."""
    mask = torch.from_numpy(disc((64, 64), (26, 38), 12))
    return mask.float().expand(channels, 64, 64).clone(), torch.stack([mask, ~mask])


@pytest.mark.parametrize("channels", [1, 3, 5])
@pytest.mark.parametrize("strength", STRENGTHS)
def test_image_and_masks_move_together(strength: str, channels: int) -> None:
    image, masks = scene(channels)
    transform = make_augmentation(strength, channels)
    assert transform is not None
    moved = 0
    for key in KEYS:
        varied, found = augment(image, masks, transform, key)
        bright = varied.mean(dim=0) > (varied.max() + varied.min()) / 2
        overlap = (bright & found[0]).sum() / (bright | found[0]).sum()
        # the image is interpolated, the mask takes the nearest pixel; a disc made small has few but border pixels
        assert overlap > {"heavy": 0.86, "sequences": 0.86, "centres": 0.7}.get(strength, 0.93), key
        assert not (found[0] & found[1]).any()
        moved += not torch.equal(found[0], masks[0])
    assert moved > len(KEYS) // 2


@pytest.mark.parametrize("channels", [1, 3, 5])
@pytest.mark.parametrize("strength", STRENGTHS)
def test_ranges_shapes_and_types_stay_and_the_input_is_not_touched(strength: str, channels: int) -> None:
    image, masks = scene(channels)
    before = image.clone(), masks.clone()
    transform = make_augmentation(strength, channels)
    assert transform is not None
    for key in KEYS:
        varied, found = augment(image, masks, transform, key)
        assert (type(varied), varied.dtype, varied.shape) == (torch.Tensor, torch.float32, image.shape)
        assert (type(found), found.dtype, found.shape) == (torch.Tensor, torch.bool, masks.shape)
        assert varied.min() >= 0
        assert varied.max() <= 1
    assert torch.equal(image, before[0])
    assert torch.equal(masks, before[1])


def test_upright_images_are_turned_to_neither_side() -> None:
    """Another strength flips: a disc right of the middle and above it is then met in all quarters."""
    mask = torch.from_numpy(disc((64, 64), (18, 46), 8))
    image, masks = mask.float().expand(3, 64, 64).clone(), mask[None]
    quarters = {}
    for strength in ("upright", "light"):
        transform = make_augmentation(strength)
        assert transform is not None
        found = [augment(image, masks, transform, key)[1][0].nonzero().float().mean(dim=0) > 32 for key in KEYS]
        quarters[strength] = {tuple(each.tolist()) for each in found}
    assert quarters == {"upright": {(False, True)}, "light": {(a, b) for a in (False, True) for b in (False, True)}}


@pytest.mark.parametrize("strength", STRENGTHS)
def test_one_key_gives_one_result_whatever_was_drawn_before(strength: str) -> None:
    image, masks = scene()
    transform = make_augmentation(strength)
    assert transform is not None
    first = [augment(image, masks, transform, key) for key in KEYS]
    torch.manual_seed(99)
    torch.rand(5)
    again = {key: augment(image, masks, transform, key) for key in reversed(KEYS)}
    for key, (varied, found) in zip(KEYS, first, strict=True):
        assert torch.equal(varied, again[key][0])
        assert torch.equal(found, again[key][1])


def test_every_part_of_the_key_counts() -> None:
    image, masks = scene()
    transform = make_augmentation("medium")
    assert transform is not None
    keys = [(0, 0, 0), (1, 0, 0), (0, 1, 0), (0, 0, 1), (0, 11, 1), (0, 1, 11)]
    results = [augment(image, masks, transform, key)[0] for key in keys]
    assert not any(torch.equal(a, b) for i, a in enumerate(results) for b in results[:i])


def test_the_global_generator_is_left_as_it_was() -> None:
    image, masks = scene()
    transform = make_augmentation("medium")
    assert transform is not None
    before = torch.get_rng_state()
    augment(image, masks, transform, (0, 0, 0))
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize("strength", ["light", "medium", "heavy"])
def test_measured_channels_keep_their_values_where_nothing_is_blurred(strength: str) -> None:
    """Of an image of one value each channel has that value, or the black of what came into view."""
    transform = make_augmentation(strength, 2)
    assert transform is not None
    image = torch.tensor([0.25, 0.75])[:, None, None].expand(2, 64, 64)
    for key in KEYS:
        varied, _ = augment(image, torch.ones(1, 64, 64, dtype=torch.bool), transform, key)
        assert varied[:, 32, 32].tolist() == pytest.approx([0.25, 0.75], abs=0.2 if strength == "heavy" else 1e-3)


def test_none_means_no_transform() -> None:
    assert make_augmentation("none") is None


def test_sequences_vary_each_for_itself_and_stand_in_for_each_other() -> None:
    """Of an image of one value a channel, what each became; no channel is a mixture of two."""
    values = torch.tensor([0.2, 0.5, 0.8])
    image = values[:, None, None].expand(3, 8, 8)
    vary = VarySequences()
    answers = []
    for seed in range(300):
        torch.manual_seed(seed)
        varied, mask = vary(tv_tensors.Image(image), tv_tensors.Mask(torch.ones(1, 8, 8)))
        assert mask.eq(1).all()
        assert (varied == varied[:, :1, :1]).all()
        answers.append(varied[:, 0, 0].tolist())
    found = torch.tensor(answers)
    assert found.T.corrcoef().triu(1).abs().max() < 0.3  # channels know nothing of each other
    assert found[:, 0].median() == pytest.approx(0.2, abs=0.05)
    assert found.min() >= 0.7 * 0.2**1.6
    assert found.max() == 1
    spread = (found[:, 0] > 1.4 * 0.2**0.6).float().mean()  # more than 0.2 can become: another channel's value
    assert 0.02 < spread < 0.1


def test_one_sequence_alone_has_no_other_to_stand_in_for_it() -> None:
    for seed in range(50):
        torch.manual_seed(seed)
        varied = VarySequences()(tv_tensors.Image(torch.full((1, 4, 4), 0.5)))
        assert 0.7 * 0.5**1.6 <= varied.min() == varied.max() <= 1.4 * 0.5**0.6
