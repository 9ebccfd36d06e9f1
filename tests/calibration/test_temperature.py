"""Reliability by hand and against torchmetrics; the temperature against one that is known."""

import numpy as np
import pytest
import torch
from torchmetrics.functional.classification import binary_calibration_error

from medseg.calibration.temperature import band, brier, ece, fit_temperature, pool, reliability
from medseg.config import Task
from medseg.errors import InputError
from medseg.inference.uncertainty import tempered


def pixels(*values: float) -> np.ndarray:
    return np.array(values, np.float32).reshape(1, 1, -1)


def test_probabilities_that_come_true_as_often_as_they_say_have_no_error() -> None:
    said, true = pixels(0.25, 0.25, 0.25, 0.25, 1, 0), pixels(1, 0, 0, 0, 1, 0) > 0
    assert ece(reliability(said, true)) == 0


def test_calibration_error_and_brier_by_hand() -> None:
    table = reliability(pixels(0.9, 0.9, 0.9, 0.1), pixels(1, 1, 0, 0) > 0)
    assert ece(table) == pytest.approx((3 * (0.9 - 2 / 3) + 0.1) / 4)
    assert brier(table) == pytest.approx((0.01 + 0.01 + 0.81 + 0.01) / 4)


def test_calibration_error_is_that_of_torchmetrics() -> None:
    rng = np.random.default_rng(0)
    said = rng.random((1, 60, 60)).astype(np.float32)
    true = rng.random((1, 60, 60)) < said**2
    expected = binary_calibration_error(torch.from_numpy(said), torch.from_numpy(true).int(), n_bins=15).item()
    assert ece(reliability(said, true)) == pytest.approx(expected, abs=1e-5)


def test_every_image_counts_the_same_however_many_pixels_it_has() -> None:
    small, large = reliability(pixels(1), pixels(0) > 0), reliability(pixels(*[1] * 99), pixels(*[1] * 99) > 0)
    assert brier(pool([small, large])) == 0.5


def test_images_without_the_pixels_that_are_asked_for_are_left_out() -> None:
    nowhere = reliability(pixels(1), pixels(1) > 0, pixels(0) > 0)
    assert np.isnan(nowhere).all()
    assert brier(pool([nowhere, reliability(pixels(1), pixels(0) > 0)])) == 1
    assert np.isnan(pool([nowhere])).all()


def test_the_band_is_as_wide_on_either_side_of_the_boundary() -> None:
    truth = np.zeros((1, 1, 20), bool)
    truth[..., 10:] = True
    assert np.flatnonzero(band(truth, 3)).tolist() == [7, 8, 9, 10, 11, 12]


@pytest.mark.parametrize("value", [False, True])
def test_a_mask_without_boundary_has_no_band(value: bool) -> None:
    assert not band(np.full((1, 5, 5), value)).any()


def answers(task: Task, temperature: float) -> list[tuple[np.ndarray, np.ndarray]]:
    """Truth drawn by the very probabilities that are then made too sure or too timid by `temperature`."""
    rng = np.random.default_rng(1)
    found = []
    for _ in range(10):
        if task == "multiclass":
            honest = rng.dirichlet(np.ones(3), size=(64, 64)).transpose(2, 0, 1)
            outcome = (rng.random((64, 64)) > honest.cumsum(axis=0)[:-1]).sum(axis=0)
            honest, truth = honest[1:], np.stack([outcome == 1, outcome == 2])
        else:
            honest = rng.random((1, 64, 64))
            truth = rng.random((1, 64, 64)) < honest
        found.append((tempered(honest.astype(np.float32), 1 / temperature, task), truth))
    return found


@pytest.mark.parametrize("task", ["binary", "multiclass"])
@pytest.mark.parametrize("temperature", [0.5, 1, 2])
def test_the_temperature_that_made_answers_too_sure_is_found(task: Task, temperature: float) -> None:
    assert fit_temperature(answers(task, temperature), task) == pytest.approx(temperature, rel=0.06)


def test_the_fitted_temperature_lowers_the_calibration_error() -> None:
    sure = answers("binary", 3)
    temperature = fit_temperature(sure, "binary")
    before = pool([reliability(said, true) for said, true in sure])
    after = pool([reliability(tempered(said, temperature, "binary"), true) for said, true in sure])
    assert ece(after) < ece(before) / 5


def test_a_label_that_is_nowhere_leaves_the_temperature_finite() -> None:
    said = np.full((1, 8, 8), 0.1, np.float32)
    assert 0.1 <= fit_temperature([(said, np.zeros((1, 8, 8), bool))], "binary") <= 10


def test_a_temperature_without_answers_is_refused() -> None:
    with pytest.raises(InputError, match="got none"):
        fit_temperature([], "binary")
