"""The baseline under every member, where it can be worked out by hand."""

import numpy as np
import pytest

from medseg.fitting.baseline import PRIOR_SIDE, baseline_score, constant_counts, mean_mask, on_square, prior_counts
from medseg.fitting.measure import Measure

LEFT, RIGHT = np.zeros((2, 1, PRIOR_SIDE, PRIOR_SIDE), bool)
LEFT[..., :64] = True
RIGHT[..., 64:] = True


def baseline(masks: list[np.ndarray], measure: Measure) -> float:
    constant = [constant_counts(mask[0].size, mask.sum(axis=(1, 2))) for mask in masks]
    return baseline_score(prior_counts(on_square(masks), [*map(str, range(len(masks)))]), np.array(constant), measure)


def test_the_mean_mask_is_the_share_of_images_that_mark_a_pixel() -> None:
    right = np.zeros_like(LEFT)
    right[..., 32:] = True
    mean, dice = mean_mask([LEFT, right])
    assert mean[0, 0, ::32].tolist() == [0.5, 1, 0.5, 0.5]
    assert mean.shape == (1, 128, 128)
    assert dice[0] == pytest.approx((2 * 64 / (64 + 128) + 2 * 96 / (96 + 128)) / 2)  # 0.05: every column


def test_nothing_and_everything_are_answers_too() -> None:
    empty = np.zeros_like(LEFT)
    assert baseline([empty, empty, LEFT], Measure()) == pytest.approx(2 / 3)
    assert baseline([LEFT | RIGHT] * 2, Measure()) == 1


def test_an_image_has_no_part_in_its_own_prior() -> None:
    # the other one's mask is the prior of each: always wrong; everything is right on half of the pixels
    assert baseline([LEFT, RIGHT], Measure("dice")) == pytest.approx(2 / 3)
    assert baseline([LEFT, RIGHT], Measure("iou", "pooled")) == pytest.approx(1 / 2)


def test_a_place_that_is_always_marked_is_known_blindly() -> None:
    assert baseline([LEFT, LEFT, LEFT], Measure()) == 1


def test_another_image_of_the_case_has_no_part_in_the_prior_either() -> None:
    prior = prior_counts(on_square([LEFT, LEFT, RIGHT]), ["a", "a", "b"])
    assert prior[:, 0, 0].tolist() == [[0, 128 * 64, 128 * 64]] * 3


def test_constant_counts_are_those_of_empty_and_full_masks() -> None:
    assert constant_counts(100, np.array([30])).tolist() == [[[0, 0, 30], [30, 100, 30]]]
