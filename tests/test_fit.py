"""Fitting weights and threshold where the best choice is known by hand."""

import math
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from medseg import schema
from medseg.config import Fitted, Task
from medseg.errors import InputError
from medseg.fit import (
    MAX_SEARCHED,
    STEPS,
    THRESHOLDS,
    _simplex,
    _steps,
    decision_values,
    dice_by_threshold,
    fit,
    mean_mask,
)
from medseg.image import Image
from medseg.metrics import confusion
from medseg.postprocess import to_masks
from medseg.samples import split_hash
from tests.conftest import FakeMember, PaintedSample, disc, fake_member

TASKS: tuple[Task, ...] = ("binary", "multilabel", "multiclass")
GRID = st.sampled_from([*THRESHOLDS.tolist(), *np.linspace(0, 1, 21).tolist(), 0.333, 0.999])


def samples(count: int = 6, size: tuple[int, int] = (40, 40)) -> list[PaintedSample]:
    """Discs that wander, so that no constant mask fits; each picture is its own truth."""
    found = []
    for number in range(count):
        angle = 2 * math.pi * number / count
        mask = disc(size, (20 + 10 * math.sin(angle), 20 + 10 * math.cos(angle)), 6)
        found.append(PaintedSample(Image(mask[..., np.newaxis].astype(np.float32)), mask[np.newaxis], f"case{number}"))
    return found


def truth(image: Image) -> np.ndarray:
    return image.pixels.transpose(2, 0, 1)


def perfect(name: str = "perfect") -> FakeMember:
    return fake_member(name, truth)


def noise(image: Image) -> np.ndarray:
    return np.random.default_rng(int(image.sha256[:8], 16)).random((1, *image.size))


BROKEN: dict[str, Callable[[Image], np.ndarray]] = {
    "inverted": lambda image: 1 - truth(image),
    "nothing": lambda image: np.zeros((1, *image.size)),
    "everything": lambda image: np.ones((1, *image.size)),
    "undecided": lambda image: np.full((1, *image.size), 0.5),
    "noise": noise,
    "mirrored": lambda image: truth(image)[:, ::-1, ::-1],
}


# --- the optimum by hand


@pytest.mark.parametrize("broken", BROKEN)
def test_a_broken_member_gets_weight_0(broken: str) -> None:
    found = fit([perfect(), fake_member(broken, BROKEN[broken])], samples())
    assert found.fitted.weights == (1, 0)
    assert found.fitted.mean == 1
    assert found.broken == (1,)
    assert found.best_single == 0


def test_the_place_of_the_broken_member_does_not_matter() -> None:
    found = fit([fake_member("inverted", BROKEN["inverted"]), perfect("a"), perfect("b")], samples())
    assert found.fitted.weights == (0, 0.5, 0.5)
    assert found.broken == (0,)
    assert found.best_single == 1


def test_members_that_complete_each_other_share_the_weight() -> None:
    def half(rows: slice) -> Callable[[Image], np.ndarray]:
        def answer(image: Image) -> np.ndarray:
            found = np.zeros((1, *image.size))
            found[:, rows] = truth(image)[:, rows]
            return found

        return answer

    found = fit([fake_member("top", half(slice(0, 20))), fake_member("bottom", half(slice(20, 40)))], samples())
    assert found.fitted.weights == (0.5, 0.5)
    assert found.fitted.mean == 1  # each alone finds about half of the discs
    assert max(choice.mean for choice in found.singles) < 0.9
    assert found.broken == ()


def test_ties_go_to_equal_weights() -> None:
    found = fit([perfect("a"), perfect("b"), perfect("c")], samples())
    assert found.fitted.weights == (1 / 3, 1 / 3, 1 / 3)
    assert found.fitted == found.equal


def test_of_equally_good_thresholds_the_one_nearest_to_one_half_is_taken() -> None:
    assert fit([perfect()], samples()).fitted.threshold == 0.5


def test_the_best_threshold_is_found() -> None:
    shy = fake_member("shy", lambda image: 0.1 + 0.2 * truth(image))  # 0.1 outside, 0.3 inside
    found = fit([shy], samples())
    assert 0.1 < found.fitted.threshold <= 0.3
    assert found.fitted.mean == 1


def test_every_choice_has_one_dice_per_image() -> None:
    found = fit([perfect("a"), fake_member("nothing", BROKEN["nothing"])], samples(4))
    assert found.singles[0].dice == (1, 1, 1, 1)
    assert found.singles[1].dice == (0, 0, 0, 0)


def test_where_no_member_beats_a_blind_answer_all_are_searched() -> None:
    names = ("nothing", "inverted")
    found = fit([fake_member(name, BROKEN[name]) for name in names], samples())
    assert found.broken == ()
    assert sum(found.fitted.weights) == pytest.approx(1)


def test_the_floor_is_what_a_blind_answer_reaches() -> None:
    same = [PaintedSample(s.picture, s.masks, f"case{i}") for i, s in enumerate(samples(1) * 3)]
    assert fit([perfect()], same).floor == 1  # the same mask every time: a constant answer is perfect
    filled = [PaintedSample(s.picture, np.ones_like(s.masks), s.case) for s in samples(1)]
    assert fit([perfect()], filled).floor == 1
    disc_alone = fit([perfect()], samples(1))
    assert disc_alone.floor == pytest.approx(confusion(np.ones((40, 40), bool), samples(1)[0].masks[0]).dice)


def test_progress_is_told_after_each_image() -> None:
    told: list[tuple[int, int]] = []
    fit([perfect()], samples(3), progress=lambda done, total: told.append((done, total)))
    assert told == [(1, 3), (2, 3), (3, 3)]


def test_large_pictures_are_fitted_too() -> None:
    mask = disc((600, 1500), (300, 500), 200)
    large = PaintedSample(Image(mask[..., np.newaxis].astype(np.float32)), mask[np.newaxis], "large")

    def on_working_grid(image: Image) -> np.ndarray:
        return disc((410, 1024), (300 * 1024 / 1500, 500 * 1024 / 1500), 200 * 1024 / 1500)[np.newaxis]

    assert fit([fake_member("a", on_working_grid)], [large]).fitted.mean > 0.98


@pytest.mark.parametrize(("members", "count"), [(0, 2), (1, 0)])
def test_nothing_to_fit_is_refused(members: int, count: int) -> None:
    with pytest.raises(InputError, match=f"needs members and samples, got {members} and {count}"):
        fit([perfect()] * members, samples(6)[:count])


# --- the record in ensemble.json


def record(members: Sequence[FakeMember], drawn: Sequence[PaintedSample]) -> Fitted:
    return fit(members, drawn).record([m.config.name for m in members], drawn, "discs, val")


def test_the_record_names_the_best_single_member_and_the_split() -> None:
    drawn = samples()
    found = record([fake_member("nothing", BROKEN["nothing"]), perfect()], drawn)
    assert found.best_single_member == "perfect"
    assert (found.best_single.value, found.equal.value, found.fitted.value) == (1, 1, 1)
    assert (found.fitted.low, found.fitted.high, found.fitted.n, found.fitted.split) == (1, 1, 6, "val")
    assert found.split_sha256 == split_hash(drawn)
    assert "steps of 1/10" in found.method
    assert "never looks at the image" in found.method


def test_the_record_of_a_single_image_can_be_written(tmp_path: Path) -> None:
    found = record([perfect()], samples(1))
    schema.dump(found, tmp_path / "fitted.json")
    assert schema.load(Fitted, tmp_path / "fitted.json") == found
    assert found.fitted.low is None


# --- thresholds all at once


@st.composite
def probabilities(draw: st.DrawFn, task: Task) -> np.ndarray:
    labels = 1 if task == "binary" else draw(st.integers(1, 3))
    shape = (labels, draw(st.integers(1, 5)), draw(st.integers(1, 5)))
    values = draw(hnp.arrays(np.float32, shape, elements=GRID.map(np.float32)))
    return values / np.maximum(values.sum(axis=0), 1) if task == "multiclass" else values


@pytest.mark.parametrize("task", TASKS)
@given(st.data())
def test_decision_values_give_the_masks_of_every_threshold(task: Task, data: st.DataObject) -> None:
    values = data.draw(probabilities(task))
    decided = decision_values(values, task)
    for threshold in THRESHOLDS.tolist():
        assert np.array_equal(decided >= threshold, to_masks(values, threshold, task))


@pytest.mark.parametrize("task", TASKS)
@given(st.data())
def test_dice_by_threshold_is_the_dice_of_the_masks(task: Task, data: st.DataObject) -> None:
    values = data.draw(probabilities(task))
    masks = data.draw(hnp.arrays(bool, values.shape))
    found = dice_by_threshold(decision_values(values, task), masks)
    for dice, threshold in zip(found, THRESHOLDS.tolist(), strict=True):
        each = [confusion(m, t).dice for m, t in zip(to_masks(values, threshold, task), masks, strict=True)]
        assert dice == pytest.approx(np.mean(each))


def test_a_probability_equal_to_a_threshold_counts_as_inside() -> None:
    values = THRESHOLDS.astype(np.float32).reshape(1, 1, -1)
    inside = np.ones(values.shape, bool)
    count = len(THRESHOLDS)
    expected = [2 * (count - i) / (2 * count - i) for i in range(count)]  # i pixels are missed
    assert dice_by_threshold(values, inside).tolist() == pytest.approx(expected)


def test_an_empty_answer_to_an_empty_truth_is_dice_1() -> None:
    assert set(dice_by_threshold(np.zeros((1, 2, 2), np.float32), np.zeros((1, 2, 2), bool)).tolist()) == {1}


def test_the_mean_mask_is_the_share_of_images_that_mark_a_pixel() -> None:
    left, right = np.zeros((2, 1, 128, 128), bool)
    left[..., :64] = True
    right[..., 32:] = True
    mean, dice = mean_mask([left, right])
    assert mean[0, 0, ::32].tolist() == [0.5, 1, 0.5, 0.5]
    assert mean.shape == (1, 128, 128)
    assert dice[0] == pytest.approx((2 * 64 / (64 + 128) + 2 * 96 / (96 + 128)) / 2)  # 0.05: every column


# --- the grid


def test_the_grid_over_the_simplex_is_complete() -> None:
    weights = list(_simplex(3, 10))
    assert len(weights) == len({tuple(w) for w in weights}) == 66
    assert all(sum(w) == pytest.approx(1) and min(w) >= 0 for w in weights)


@pytest.mark.parametrize("members", range(1, 33))
def test_many_members_are_searched_in_wider_steps(members: int) -> None:
    steps = _steps(members)
    assert 1 <= steps <= STEPS
    assert math.comb(steps + members - 1, members - 1) <= MAX_SEARCHED
