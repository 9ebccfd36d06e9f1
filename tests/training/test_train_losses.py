"""Loss expressions against values worked out by hand."""

from __future__ import annotations

import math
from typing import get_args

import pytest
import torch

from medseg.config import Task
from medseg.errors import ConfigError
from medseg.training.losses import make_loss

NAMES = ("bce", "dice", "jaccard", "focal", "lovasz", "tversky")
FITTING = [
    *((name, task) for task in get_args(Task) for name in NAMES),
    ("soft_bce", "binary"),
    ("soft_bce", "multilabel"),
    ("image_dice", "binary"),
    ("image_dice", "multilabel"),
    ("mcc", "binary"),
]


def quarter() -> torch.Tensor:
    """A mask (1, 1, 4, 4) with its upper left quarter marked."""
    masks = torch.zeros(1, 1, 4, 4, dtype=torch.bool)
    masks[..., :2, :2] = True
    return masks


# Undecided everywhere (logit 0, probability 1/2) with 4 of 16 pixels marked: bce is ln 2 at every pixel; shared are
# 4 × 1/2 = 2, in all 16 × 1/2 + 4 = 12, so Dice is 2 · 2 / 12 = 1/3 and IoU 2 / (12 − 2) = 1/5.
@pytest.mark.parametrize(
    ("expression", "value"),
    [
        ("bce", math.log(2)),
        ("dice", 2 / 3),
        ("jaccard", 4 / 5),
        ("0.7*bce + 0.3*dice", 0.7 * math.log(2) + 0.3 * 2 / 3),
        ("bce+dice", math.log(2) + 2 / 3),
        ("  2 * bce+.5*dice ", 2 * math.log(2) + 1 / 3),
        ("dice + 0.3*bce + 0.4*bce", 2 / 3 + 0.7 * math.log(2)),
    ],
)
def test_a_weighted_sum_is_what_a_hand_calculation_gives(expression: str, value: float) -> None:
    loss = make_loss(expression, "binary")(torch.zeros(1, 1, 4, 4), quarter())
    assert loss.item() == pytest.approx(value, abs=1e-6)


def test_probabilities_other_than_a_half_are_counted_as_such() -> None:
    masks = quarter()
    logits = torch.where(masks, math.log(4), -math.log(4)).float()  # 0.8 on the mask, 0.2 elsewhere
    assert make_loss("bce", "binary")(logits, masks).item() == pytest.approx(-math.log(0.8), abs=1e-6)
    dice = 2 * (4 * 0.8) / (4 * 0.8 + 12 * 0.2 + 4)
    assert make_loss("dice", "binary")(logits, masks).item() == pytest.approx(1 - dice, abs=1e-6)


def test_the_image_dice_weighs_images_with_a_finding_alike_whatever_its_size() -> None:
    small = torch.zeros(1, 1, 4, 4, dtype=torch.bool)
    small[..., 0, 0] = True
    masks = torch.cat([quarter(), small, torch.zeros_like(small)])
    found = make_loss("image_dice", "binary")(torch.zeros(3, 1, 4, 4), masks).item()
    assert found == pytest.approx((2 / 3 + (1 - 2 * 0.5 / 9)) / 2, abs=1e-6)  # shared 1/2, in all 16 × 1/2 + 1 = 9
    assert make_loss("dice", "binary")(torch.zeros(3, 1, 4, 4), masks).item() == pytest.approx(1 - 5 / 29, abs=1e-6)


def test_the_image_dice_of_images_without_a_finding_is_nothing() -> None:
    logits = torch.zeros(2, 1, 4, 4, requires_grad=True)
    loss = make_loss("image_dice", "binary")(logits, torch.zeros(2, 1, 4, 4, dtype=torch.bool))
    loss.backward()
    assert loss.item() == 0
    assert logits.grad is not None
    assert not logits.grad.any()


@pytest.mark.parametrize("weights", [[], [3.0, 5.0]])
def test_multiclass_learns_from_probabilities_of_the_classes(weights: list[float]) -> None:
    """On a smaller grid the pixels at the border of two labels are shares of both: no background."""
    logits = torch.randn(1, 3, 1, 2, generator=torch.Generator().manual_seed(3))
    masks = torch.tensor([[0.3, 0.2], [0.7, 0.1]])[None, :, None]  # and 0.7 of the second pixel is background
    shares, factors = torch.tensor([[0.0, 0.7], [0.3, 0.2], [0.7, 0.1]]), torch.tensor([1.0, *(weights or [1, 1])])
    by_hand = -(shares * factors[:, None] * logits[0, :, 0].log_softmax(dim=0)).sum(dim=0).mean()
    assert make_loss("bce", "multiclass", weights)(logits, masks).item() == pytest.approx(by_hand.item(), abs=1e-6)
    hard = torch.tensor([[False, False], [True, False]])[None, :, None]
    for name in ("dice", "focal", "tversky(0.3, 0.7)"):
        loss = make_loss(name, "multiclass")
        assert loss(logits, masks).item() == loss(logits, hard).item()


def test_multiclass_is_the_cross_entropy_over_background_and_labels() -> None:
    masks = torch.zeros(1, 2, 1, 3, dtype=torch.bool)
    masks[0, 0, 0, 1] = masks[0, 1, 0, 2] = True  # background, first label, second label
    logits = torch.zeros(1, 3, 1, 3)
    assert make_loss("bce", "multiclass")(logits, masks).item() == pytest.approx(math.log(3), abs=1e-6)
    for pixel in range(3):
        logits[0, pixel, 0, pixel] = math.log(8)  # the right class of each pixel: 8 / (8 + 1 + 1)
    assert make_loss("bce", "multiclass")(logits, masks).item() == pytest.approx(-math.log(0.8), abs=1e-6)
    # shared 0.8, in all 0.8 + 0.1 + 0.1 predicted and 1 true, alike for all three classes: Dice 0.8
    assert make_loss("dice", "multiclass")(logits, masks).item() == pytest.approx(0.2, abs=1e-6)


def test_multilabel_masks_may_overlap() -> None:
    masks = torch.ones(1, 2, 4, 4, dtype=torch.bool)
    assert make_loss("bce", "multilabel")(torch.full((1, 2, 4, 4), 20.0), masks).item() == pytest.approx(0, abs=1e-6)


@pytest.mark.parametrize(("name", "task"), FITTING)
def test_every_loss_falls_when_the_answer_is_right_and_has_a_gradient(name: str, task: Task) -> None:
    masks = torch.zeros(2, 1 if task == "binary" else 2, 8, 8, dtype=torch.bool)
    masks[:, 0, :4], masks[:, -1, 5:] = True, True
    channels = torch.cat([~masks.any(dim=1, keepdim=True), masks], dim=1) if task == "multiclass" else masks
    right = (channels.float() * 8 - 4).requires_grad_()
    loss = make_loss(name, task)
    value = loss(right, masks)
    value.backward()
    assert value.item() < loss(-right, masks).item()
    assert right.grad is not None
    assert torch.isfinite(right.grad).all()


@pytest.mark.parametrize(
    "expression", ["", "bce +", "0.7 bce", "-1*bce", "bce - dice", "nope", "0.5*nope", "0.5", "*bce"]
)
def test_what_is_no_term_is_refused_by_name(expression: str) -> None:
    with pytest.raises(ConfigError, match=r"is not a term; wanted e\.g\. 0\.7\*bce, of bce, dice, jaccard") as refusal:
        make_loss(expression, "binary")
    assert "\n" not in str(refusal.value)


@pytest.mark.parametrize(
    ("name", "task"),
    [("mcc", "multilabel"), ("mcc", "multiclass"), ("soft_bce", "multiclass"), ("image_dice", "multiclass")],
)
def test_a_loss_that_does_not_fit_the_task_is_refused(name: str, task: Task) -> None:
    with pytest.raises(ConfigError, match=f"'{name}' is not a term"):
        make_loss(name, task)


@pytest.mark.parametrize(
    ("name", "silent"),
    [("dice", True), ("jaccard", True), ("tversky(0.3, 0.7)", True), ("image_dice", True), ("bce + dice", False)],
)
def test_what_is_like_dice_has_no_gradient_where_nothing_is_marked(name: str, silent: bool) -> None:
    logits = torch.zeros(2, 1, 4, 4, requires_grad=True)
    make_loss(name, "binary")(logits, torch.zeros(2, 1, 4, 4, dtype=torch.bool)).backward()
    assert logits.grad is not None
    assert bool((logits.grad == 0).all()) is silent


def test_tversky_weighs_false_and_missed_pixels() -> None:
    """Probability 1/2 everywhere: of 4 marked pixels 2 are hit and 2 missed, and of 12 others 6 are false."""
    found = make_loss("tversky(0.25, 0.75)", "binary")(torch.zeros(1, 1, 4, 4), quarter()).item()
    assert found == pytest.approx(1 - 2 / (2 + 0.25 * 6 + 0.75 * 2), abs=1e-6)


def test_focal_turns_to_what_is_wrong_by_its_exponent() -> None:
    """Probability 1/2 everywhere: (1 − 1/2) to the exponent, times ln 2."""
    for exponent in (1, 3):
        found = make_loss(f"focal({exponent})", "binary")(torch.zeros(1, 1, 4, 4), quarter()).item()
        assert found == pytest.approx(0.5**exponent * math.log(2), abs=1e-6)


def test_label_weights_count_marked_pixels_of_each_label() -> None:
    masks = torch.zeros(1, 2, 2, 2, dtype=torch.bool)
    masks[0, 0, 0, 0] = masks[0, 1, 1, 1] = True
    several = make_loss("bce", "multilabel", [3.0, 5.0])(torch.zeros(1, 2, 2, 2), masks).item()
    assert several == pytest.approx((3 + 5 + 6) / 8 * math.log(2), abs=1e-6)
    logits = torch.zeros(1, 3, 2, 2)
    logits[0, 0] = math.log(2)  # the background has 1/2, each label 1/4
    exclusive = make_loss("bce", "multiclass", [3.0, 5.0])(logits, masks).item()
    # the mean weighted by the true class's weight: two pixels of background, one of each label
    assert exclusive == pytest.approx((2 * math.log(2) + (3 + 5) * math.log(4)) / (2 + 3 + 5), abs=1e-6)


@pytest.mark.parametrize("expression", ["focal(1, 2)", "tversky(0.3)", "dice(2)", "bce(1)"])
def test_numbers_that_a_loss_does_not_take_are_refused(expression: str) -> None:
    with pytest.raises(ConfigError, match=r"numbers in brackets: wanted focal\(2\) or tversky\(0\.3, 0\.7\)"):
        make_loss(expression, "binary")
