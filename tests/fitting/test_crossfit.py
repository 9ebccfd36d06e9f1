"""Held-out answers: what each fold is answered with, on which grid, and that no network runs for it."""

import numpy as np
import pytest

from medseg.config import EnsembleConfig, MemberReference
from medseg.data.splits import deal_folds
from medseg.errors import InputError
from medseg.fitting.crossfit import cross_fit, observe, thin
from medseg.fitting.fit import FOLDS, fit
from medseg.image import Image
from medseg.inference.ensemble import Ensemble
from tests.conftest import FakeMember, PaintedSample, disc, fake_member


def painted(count: int = 12, size: tuple[int, int] = (40, 40)) -> list[PaintedSample]:
    """Discs that wander; each picture is its own truth."""
    rng = np.random.default_rng(0)
    found = []
    for number in range(count):
        mask = disc(size, (rng.uniform(10, size[0] - 10), rng.uniform(10, size[1] - 10)), 6)
        found.append(PaintedSample(Image(mask[..., np.newaxis].astype(np.float32)), mask[np.newaxis], f"case{number}"))
    return found


def shy(image: Image) -> np.ndarray:
    return 0.1 + 0.2 * image.pixels.transpose(2, 0, 1)


def bold(image: Image) -> np.ndarray:
    return 0.2 + 0.6 * image.pixels.transpose(2, 0, 1)


def ensemble_of(*members: FakeMember, weights: tuple[float, ...] | None = None, threshold: float = 0.5) -> Ensemble:
    """The ensemble of these members, whose task and labels it has."""
    weights = weights or (1.0,) * len(members)
    references = tuple(MemberReference(f"m{i}", members[i].sha256, weight) for i, weight in enumerate(weights))
    settings = EnsembleConfig("painted", members[0].config.task, members[0].config.labels, references, threshold)
    return Ensemble(settings, members)


def test_an_observation_is_what_the_members_with_weight_say() -> None:
    members = [fake_member("bold", bold), fake_member("shy", shy), fake_member("bold too", bold)]
    sample = painted(1)[0]
    (seen,) = observe(ensemble_of(*members, weights=(1, 0, 3)), [sample])
    assert seen.stack.shape == (2, 1, 40, 40)
    assert seen.weights == (0.25, 0.75)
    assert (seen.dice, seen.shown_dice) == (1, 1)
    np.testing.assert_array_equal(seen.masks, sample.masks)


def test_large_pictures_are_thinned_after_their_dice_is_taken() -> None:
    sample = painted(1, (600, 300))[0]
    (seen,) = observe(ensemble_of(fake_member("bold", bold)), [sample])
    assert seen.stack.shape == (1, 1, 200, 100)
    assert seen.truth.shape == (1, 200, 100)
    assert seen.shown_dice == 1


def test_truth_follows_pictures_onto_the_working_grid() -> None:
    mask = disc((1000, 2000), (500, 500), 200)
    sample = PaintedSample(Image(mask[..., np.newaxis].astype(np.float32)), mask[np.newaxis], "large")
    on_working_grid = disc((512, 1024), (256, 256), 102.4)[np.newaxis]
    (seen,) = observe(ensemble_of(fake_member("a", lambda image: on_working_grid)), [sample])
    assert seen.truth.shape == seen.stack.shape[1:] == (1, 128, 256)
    assert seen.dice > 0.98


@pytest.mark.parametrize(("side", "thinned"), [(256, 256), (257, 129), (1024, 256)])
def test_thinning_keeps_every_nth_pixel(side: int, thinned: int) -> None:
    found = thin(np.broadcast_to(np.arange(side), (1, 2, side)))
    assert found.shape[-1] == thinned
    assert set(np.diff(found[0, 0])) == {-(-side // 256)}


def test_each_fold_gets_what_the_others_choose() -> None:
    noise = np.random.default_rng(0).random((1, 40, 40))
    members = [fake_member("shy", shy), fake_member("noise", lambda image: noise)]
    samples = painted()
    held = cross_fit(observe(ensemble_of(*members), samples), refit="fitted")
    assert [one.case for one in held] == [sample.case for sample in samples]
    for one in held:
        others = [sample for sample in samples if one.fold not in {h.fold for h in held if h.case == sample.case}]
        chosen = fit(members, others).fitted
        assert (one.weights, one.threshold) == (chosen.weights, chosen.threshold)


def test_pictures_of_one_case_are_held_out_together() -> None:
    samples = [PaintedSample(s.picture, s.masks, f"case{i // 3}") for i, s in enumerate(painted())]
    held = cross_fit(observe(ensemble_of(fake_member("bold", bold)), samples), refit=None)
    assert [len({one.fold for one in held if one.case == f"case{case}"}) for case in range(4)] == [1] * 4
    assert {one.fold for one in held} == {0, 1, 2, 3}


def test_a_case_has_no_say_in_the_threshold_that_answers_it() -> None:
    """All but the odd cases are right at every threshold, the odd ones, a whole fold, at 0.9 and above alone."""

    def answer(image: Image) -> np.ndarray:
        odd = image.pixels[0, 0, 0] > 0
        return (0.85 if odd else 0.02) + (0.14 if odd else 0.96) * (image.pixels.transpose(2, 0, 1) == 1)

    samples = painted(20)
    odd = deal_folds(samples, FOLDS)[0]
    for sample in samples:
        sample.picture.pixels[0, 0, 0] = 0.5 if sample.case in odd else 0
    held = cross_fit(observe(ensemble_of(fake_member("a", answer), threshold=0.9), samples), refit="fitted")
    assert {one.threshold for one in held if one.case in odd} == {0.5}
    assert max(one.dice for one in held if one.case in odd) < 0.5
    assert {one.threshold for one in held if one.case not in odd} == {0.9}


def test_weights_chosen_elsewhere_are_kept() -> None:
    seen = observe(ensemble_of(fake_member("bold", bold), fake_member("shy", shy), threshold=0.3), painted())
    held = cross_fit(seen, refit=None)
    assert {(one.weights, one.threshold) for one in held} == {((0.5, 0.5), 0.3)}
    assert {one.fold for one in held} == {0, 1, 2, 3, 4}


def test_networks_run_once_per_picture() -> None:
    runs = []

    def counted(image: Image) -> np.ndarray:
        runs.append(image.sha256)
        return bold(image)

    cross_fit(observe(ensemble_of(fake_member("counted", counted)), painted(6)), refit="fitted")
    assert len(runs) == 6


def test_progress_is_told_for_pictures_and_for_folds() -> None:
    told: list[tuple[int, int]] = []

    def progress(done: int, total: int) -> None:
        told.append((done, total))

    cross_fit(
        observe(ensemble_of(fake_member("bold", bold)), painted(4), progress=progress),
        refit="fitted",
        progress=progress,
    )
    assert told == [(1, 4), (2, 4), (3, 4), (4, 4)] * 2


def test_two_cases_are_too_few() -> None:
    with pytest.raises(InputError, match="2 cases cannot be dealt"):
        cross_fit(observe(ensemble_of(fake_member("bold", bold)), painted(2)), refit="fitted")
