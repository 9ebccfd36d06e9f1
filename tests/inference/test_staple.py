"""STAPLE beside ITK's, and the cases in which there is nothing to estimate."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from medseg.inference.staple import staple
from tests.conftest import disc


def observers(seed: int, count: int, errors: float) -> np.ndarray:
    """Masks (count, 48, 40) of one disc, each with its own share of wrong pixels, up to `errors`."""
    rng = np.random.default_rng(seed)
    wrong = rng.uniform(0.01, errors, count)[:, None, None]
    return disc((48, 40), (20, 22), 9) ^ (rng.random((count, 48, 40)) < wrong)


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("count", [2, 3, 5, 9])
@pytest.mark.parametrize("errors", [0.05, 0.3])
def test_the_posterior_is_that_of_itk(seed: int, count: int, errors: float) -> None:
    sitk = pytest.importorskip("SimpleITK", reason="SimpleITK is not installed (extra dev)")
    masks = observers(seed, count, errors)
    images = [sitk.GetImageFromArray(mask.astype(np.uint8)) for mask in masks]
    theirs = sitk.GetArrayFromImage(sitk.STAPLE(images, 1.0))  # foreground 1, and its prior as it finds it
    np.testing.assert_allclose(staple(masks), theirs, atol=1e-3)


def test_random_masks_have_the_posterior_of_itk_too() -> None:
    sitk = pytest.importorskip("SimpleITK", reason="SimpleITK is not installed (extra dev)")
    masks = np.random.default_rng(0).random((4, 30, 30)) < 0.4
    theirs = sitk.GetArrayFromImage(sitk.STAPLE([sitk.GetImageFromArray(m.astype(np.uint8)) for m in masks], 1.0))
    np.testing.assert_allclose(staple(masks), theirs, atol=1e-3)


@pytest.mark.parametrize("count", [1, 2, 5, 32])
@pytest.mark.parametrize("radius", [0, 8, 100], ids=["one pixel", "disc", "all"])
def test_observers_who_agree_are_believed(count: int, radius: float) -> None:
    mask = disc((24, 24), (12, 12), radius)
    np.testing.assert_allclose(staple(np.stack([mask] * count)), mask, atol=1e-4)


@pytest.mark.parametrize("count", [1, 3])
def test_where_nobody_marks_anything_there_is_nothing(count: int) -> None:
    assert staple(np.zeros((count, 4, 5), bool)).tolist() == np.zeros((4, 5)).tolist()


def test_a_careless_observer_is_outvoted_by_those_who_are_borne_out() -> None:
    """Three draw the disc, two mark everything: outside the disc two of five vote for foreground."""
    truth = disc((24, 24), (12, 12), 6)
    everything = np.ones_like(truth)
    found = staple(np.stack([truth, truth, truth, everything, everything]))
    np.testing.assert_allclose(found, truth, atol=1e-4)


def test_two_good_observers_outvote_three_who_guess() -> None:
    """The truth, the truth but for 2 % of the pixels, and three masks that are right at 60 % of them."""
    rng = np.random.default_rng(0)
    truth = disc((48, 48), (24, 24), 14)
    masks = np.stack([truth, truth ^ (rng.random(truth.shape) < 0.02), *(truth ^ (rng.random((3, 48, 48)) < 0.4))])
    wrong_by_vote = ((masks.mean(axis=0) >= 0.5) ^ truth).mean()
    assert ((staple(masks) >= 0.5) ^ truth).mean() < wrong_by_vote / 3


@given(st.integers(0, 99), st.permutations(range(4)))
def test_the_order_of_observers_does_not_matter(seed: int, order: list[int]) -> None:
    masks = observers(seed, 4, 0.2)
    np.testing.assert_allclose(staple(masks[order]), staple(masks), atol=1e-5)


def test_the_posterior_is_float32_between_0_and_1() -> None:
    found = staple(observers(0, 32, 0.4))
    assert found.dtype == np.float32
    assert ((found >= 0) & (found <= 1)).all()
