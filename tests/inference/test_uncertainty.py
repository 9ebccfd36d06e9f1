"""Uncertainty of pixels that can be worked out by hand, and its laws as properties."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy import stats
from scipy.special import expit, logit

from medseg.config import Task
from medseg.errors import InputError
from medseg.inference.uncertainty import distributions, entropy, tempered, tempered_threshold

TASKS: tuple[Task, ...] = ("binary", "multilabel", "multiclass")
TEMPERATURES = st.floats(0.1, 10)


@st.composite
def stacks(draw: st.DrawFn) -> np.ndarray:
    """Up to three members' answers for up to three labels whose sum stays at or below 1, as multiclass needs."""
    members, labels = draw(st.integers(1, 3)), draw(st.integers(1, 3))
    values = draw(hnp.arrays(np.float16, (members, labels, 2, 2), elements=st.floats(0, 1, width=16)))
    return (values.astype(np.float32) / labels).astype(np.float16)


def at(*values: float) -> np.ndarray:
    """One pixel with a probability for each label."""
    return np.array(values, np.float32).reshape(-1, 1, 1)


@pytest.mark.parametrize(("probability", "bits"), [(0, 0), (0.5, 1), (1, 0), (0.25, 0.8112781), (0.75, 0.8112781)])
def test_entropy_of_one_label_is_in_bits(probability: float, bits: float) -> None:
    assert entropy(at(probability), "binary").item() == pytest.approx(bits, abs=1e-6)


def test_labels_that_may_overlap_have_a_map_each() -> None:
    np.testing.assert_allclose(entropy(at(0.5, 1), "multilabel").ravel(), [1, 0], atol=1e-6)


def test_entropy_of_labels_that_exclude_each_other_is_1_where_all_outcomes_are_as_likely() -> None:
    found = entropy(at(0.25, 0.25, 0.25), "multiclass")
    assert found.shape == (1, 1, 1)
    assert found.item() == pytest.approx(1)


def test_entropy_is_that_of_scipy() -> None:
    chances = np.random.default_rng(0).dirichlet(np.ones(4), size=50).T.astype(np.float32)
    expected = stats.entropy(chances, base=4)
    np.testing.assert_allclose(entropy(chances[1:, :, None], "multiclass")[0, :, 0], expected, atol=1e-5)


@given(stacks(), st.sampled_from(TASKS))
def test_the_outcomes_of_a_pixel_sum_to_1(stack: np.ndarray, task: Task) -> None:
    chances = distributions(stack[0].astype(np.float32), task)
    np.testing.assert_allclose(chances.sum(axis=1), 1, atol=2e-3)


@given(stacks(), st.sampled_from(TASKS))
def test_temperature_1_changes_nothing(stack: np.ndarray, task: Task) -> None:
    probabilities = stack[0].astype(np.float32)
    np.testing.assert_allclose(tempered(probabilities, 1, task), probabilities, atol=1e-3)


@given(st.floats(0.001, 0.999), TEMPERATURES)
def test_tempering_divides_the_logit(probability: float, temperature: float) -> None:
    expected = expit(logit(np.float32(probability)) / temperature)
    assert tempered(at(probability), temperature, "binary").item() == pytest.approx(expected, abs=1e-5)


@given(TEMPERATURES)
def test_sure_pixels_and_one_half_stay_what_they_are(temperature: float) -> None:
    np.testing.assert_allclose(tempered(at(0, 0.5, 1), temperature, "multilabel").ravel(), [0, 0.5, 1], atol=1e-6)


@given(TEMPERATURES, st.lists(st.floats(0, 1, width=32), min_size=2, max_size=9))
def test_tempering_keeps_the_order_of_pixels(temperature: float, values: list[float]) -> None:
    ordered = np.sort(np.array(values, np.float32)).reshape(1, 1, -1)
    assert (np.diff(tempered(ordered, temperature, "binary")) >= 0).all()


def test_a_high_temperature_makes_excluding_outcomes_alike() -> None:
    np.testing.assert_allclose(tempered(at(0.7, 0.2), 1e6, "multiclass").ravel(), [1 / 3, 1 / 3], atol=1e-4)


@given(st.floats(0.05, 0.95), TEMPERATURES, st.floats(0.01, 0.99))
def test_the_tempered_threshold_cuts_the_same_mask(threshold: float, temperature: float, probability: float) -> None:
    if abs(threshold - probability) < 1e-3:
        return  # float32 cannot tell them apart
    moved = tempered(at(probability), temperature, "binary").item()
    assert (moved >= tempered_threshold(threshold, temperature)) == (probability >= threshold)


@pytest.mark.parametrize("temperature", [0, -1, float("nan"), float("inf")])
def test_a_temperature_that_is_none_is_refused(temperature: float) -> None:
    with pytest.raises(InputError, match="finite number above 0"):
        tempered(at(0.5), temperature, "binary")
