"""Conformal masks: thresholds by hand, and the promise kept on cases that were never seen."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy.special import expit

from medseg.calibration.conformal import (
    EVERYTHING,
    LEVELS,
    NOTHING,
    Bounds,
    false_share,
    fit_bounds,
    inner_outer,
    missed,
)
from medseg.errors import ConfigError, InputError

PIXELS = hnp.arrays(np.float32, (2, 1, 9), elements=st.floats(0, 1, width=32))


def row(*values: float) -> np.ndarray:
    return np.array(values, np.float32).reshape(1, -1)


def level(value: float) -> int:
    """The index of the first level above `value`."""
    return int(np.searchsorted(LEVELS, value, side="right"))


def test_missed_counts_true_pixels_below_the_level() -> None:
    found = missed(row(0.2, 0.6, 0.9, 0.1), row(1, 1, 1, 0) > 0)
    assert found[level(0.1)] == 0
    assert found[level(0.2)] == pytest.approx(1 / 3)
    assert found[level(0.6)] == pytest.approx(2 / 3)
    assert found[-1] == 1


def test_the_false_share_never_rises_with_the_level() -> None:
    found = false_share(row(0.2, 0.6, 0.9), row(1, 1, 0) > 0)  # the false pixel goes last
    assert found[level(0.6)] == 1
    assert found[0] == 1
    assert found[-1] == 0  # above 0.9 nothing is left that could be false


@given(PIXELS)
def test_losses_are_shares_and_monotone(drawn: np.ndarray) -> None:
    said, truth = drawn[0], drawn[1] > 0.5
    truth[0, 0] = True
    for curve in (missed(said, truth), -false_share(said, truth)):
        assert (np.diff(curve) >= 0).all()
        assert (np.abs(curve) <= 1).all()


def test_a_perfect_answer_is_bounded_by_itself() -> None:
    truth = np.array([[[False, True]]])
    bounds = fit_bounds([(truth.astype(np.float32), truth)] * 9, list("abcdefghi"), 0.1)
    inner, outer = inner_outer(truth.astype(np.float32), truth, bounds)
    np.testing.assert_array_equal(inner, truth)
    np.testing.assert_array_equal(outer, truth)


def test_where_nothing_can_be_promised_the_outer_mask_is_everything_and_the_inner_one_nothing() -> None:
    said, truth = np.array([[[0.0, 1.0]]], np.float32), np.array([[[True, False]]])
    bounds = fit_bounds([(said, truth)] * 9, list("abcdefghi"), 0.1)
    assert (bounds.outer, bounds.inner) == ((EVERYTHING,), (NOTHING,))
    inner, outer = inner_outer(said, np.zeros_like(truth), bounds)
    assert outer.all()
    assert not inner.any()


def test_the_next_case_is_counted_as_the_worst() -> None:
    """Nine cases of one true pixel each, at 0.1 to 0.9: of these and the next, ten in all, alpha 0.25 lets two be
    missed, and one of them is the next."""
    truth = np.array([[[False, True]]])
    said = [np.array([[[0.0, value]]], np.float32) for value in np.arange(1, 10) / 10]
    bounds = fit_bounds([(answer, truth) for answer in said], list("abcdefghi"), 0.25)
    assert 0.1 < bounds.outer[0] <= 0.2


def test_images_of_one_case_count_as_one() -> None:
    truth = np.array([[[False, True]]])
    with pytest.raises(InputError, match=r"rate of 0\.1 needs at least 9 held-out cases, got 1"):
        fit_bounds([(truth.astype(np.float32), truth)] * 20, ["same"] * 20, 0.1)


def test_images_without_the_label_say_nothing_about_misses() -> None:
    empty = (np.zeros((1, 1, 2), np.float32), np.zeros((1, 1, 2), bool))
    with pytest.raises(InputError, match="needs at least 9 held-out cases, got 0"):
        fit_bounds([empty] * 9, list("abcdefghi"), 0.1)


def test_no_answers_at_all_are_refused() -> None:
    with pytest.raises(InputError, match="got 0"):
        fit_bounds([], [], 0.2)


def test_labels_have_thresholds_of_their_own() -> None:
    truth = np.array([[[False, True]], [[False, True]]])
    said = np.array([[[0.1, 0.9]], [[0.1, 0.3]]], np.float32)
    bounds = fit_bounds([(said, truth)] * 9, list("abcdefghi"), 0.1)
    assert bounds.outer[0] == pytest.approx(0.9, abs=0.01)
    assert bounds.outer[1] == pytest.approx(0.3, abs=0.02)
    assert bounds.outer_cases == (9, 9)


@given(PIXELS, st.floats(0, 1), st.floats(0, 1))
def test_inner_mask_and_outer_are_nested(drawn: np.ndarray, outer: float, inner: float) -> None:
    masks = drawn >= 0.5
    found = inner_outer(drawn, masks, Bounds(0.1, (outer, outer), (inner, inner), (9, 9), (9, 9)))
    assert (found[0] <= masks).all()
    assert (masks <= found[1]).all()


def test_a_stricter_promise_needs_wider_masks() -> None:
    rng = np.random.default_rng(3)
    drawn = [simulated(rng) for _ in range(60)]
    found = [fit_bounds(drawn, [str(i) for i in range(60)], alpha) for alpha in (0.05, 0.1, 0.2)]
    assert found[0].outer < found[1].outer < found[2].outer
    assert found[0].inner > found[1].inner > found[2].inner


def simulated(rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """A case of 60 pixels whose network is good, bad or hopeless."""
    truth = rng.random((1, 1, 60)) < rng.uniform(0.1, 0.6)
    truth[0, 0, 0] = True
    skill = rng.exponential(2.5)
    return expit((truth - 0.5) * skill + rng.normal(0, 1, truth.shape)).astype(np.float32), truth


@pytest.mark.parametrize("alpha", [0.1, 0.2])
def test_the_promise_holds_on_average_for_cases_never_seen(alpha: float) -> None:
    rng = np.random.default_rng(0)
    cases = [str(i) for i in range(30)]
    misses, errors = [], []
    for _ in range(200):
        bounds = fit_bounds([simulated(rng) for _ in cases], cases, alpha)
        for said, truth in (simulated(rng) for _ in range(5)):
            outer, inner = said >= bounds.outer[0], said >= bounds.inner[0]
            misses.append((truth & ~outer).sum() / truth.sum())
            errors.append((inner & ~truth).sum() / max(inner.sum(), 1))
    for losses in (misses, errors):
        by_repeat = np.mean(np.reshape(losses, (200, 5)), axis=1)
        assert by_repeat.mean() <= alpha + 3 * by_repeat.std() / 200**0.5
        assert by_repeat.mean() > alpha / 4  # and the masks are not wider than the promise asks for


@pytest.mark.parametrize(
    ("alpha", "outer", "sentence"), [(0, (0.5,), "alpha"), (0.1, (3.0,), "0 to 2"), (0.1, (0.5, 0.5), "each label")]
)
def test_bounds_that_make_no_sense_are_refused(alpha: float, outer: tuple[float, ...], sentence: str) -> None:
    with pytest.raises(ConfigError, match=sentence):
        Bounds(alpha, outer, (0.5,), (9,), (9,))
