"""Held-out answers: what each fold is answered with, on which grid, and that no network runs for it."""

from collections.abc import Sequence

import numpy as np
import pytest

from medseg.config import EnsembleConfig, MemberReference
from medseg.data.splits import deal_folds
from medseg.errors import InputError
from medseg.fitting import crossfit
from medseg.fitting.crossfit import HeldOut, cross_fit, with_own_weights
from medseg.fitting.fit import FOLDS
from medseg.fitting.observations import observe, thin
from medseg.image import Image
from medseg.inference.ensemble import Ensemble
from tests.conftest import FakeMember, PaintedSample, disc, fake_member, fit_to


def painted(count: int = 12, size: tuple[int, int] = (40, 40)) -> list[PaintedSample]:
    """Discs that wander; each image is its own truth."""
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


def held_by(ensemble: Ensemble, samples: Sequence[PaintedSample]) -> list[HeldOut]:
    return with_own_weights(ensemble, observe(ensemble.members, samples))  # type: ignore[arg-type]


def test_an_observation_is_what_the_members_with_weight_say() -> None:
    members = [fake_member("bold", bold), fake_member("shy", shy), fake_member("bold too", bold)]
    sample = painted(1)[0]
    (image,) = held_by(ensemble_of(*members, weights=(1, 0, 3)), [sample])
    assert image.observation.stack.shape == (2, 1, 40, 40)
    assert image.weights == (0.25, 0.75)
    assert image.dice == 1
    np.testing.assert_array_equal(image.masks, sample.masks)


def test_large_images_are_thinned() -> None:
    sample = painted(1, (600, 300))[0]
    (image,) = held_by(ensemble_of(fake_member("bold", bold)), [sample])
    assert image.observation.stack.shape == (1, 1, 200, 100)
    assert image.truth.shape == (1, 200, 100)


def test_truth_follows_images_onto_the_working_grid() -> None:
    mask = disc((1000, 2000), (500, 500), 200)
    sample = PaintedSample(Image(mask[..., np.newaxis].astype(np.float32)), mask[np.newaxis], "large")
    on_working_grid = disc((512, 1024), (256, 256), 102.4)[np.newaxis]
    (image,) = held_by(ensemble_of(fake_member("a", lambda image: on_working_grid)), [sample])
    assert image.truth.shape == image.observation.stack.shape[1:] == (1, 128, 256)
    assert image.dice > 0.98


@pytest.mark.parametrize(("side", "thinned"), [(256, 256), (257, 129), (1024, 256)])
def test_thinning_keeps_every_nth_pixel(side: int, thinned: int) -> None:
    found = thin(np.broadcast_to(np.arange(side), (1, 2, side)))
    assert found.shape[-1] == thinned
    assert set(np.diff(found[0, 0])) == {-(-side // 256)}


def test_each_fold_gets_what_the_others_choose() -> None:
    noise = np.random.default_rng(0).random((1, 40, 40))
    members = [fake_member("shy", shy), fake_member("noise", lambda image: noise)]
    samples = painted()
    held = cross_fit(held_by(ensemble_of(*members), samples), refit="fitted")
    assert [one.case for one in held] == [sample.case for sample in samples]
    for one in held:
        others = [sample for sample in samples if one.fold not in {h.fold for h in held if h.case == sample.case}]
        chosen = fit_to(members, others).fitted
        assert (one.weights, one.threshold) == (chosen.weights, chosen.threshold)


def test_images_of_one_case_are_held_out_together() -> None:
    samples = [PaintedSample(s.drawn, s.masks, f"case{i // 3}") for i, s in enumerate(painted())]
    held = cross_fit(held_by(ensemble_of(fake_member("bold", bold)), samples), refit=None)
    assert [len({one.fold for one in held if one.case == f"case{case}"}) for case in range(4)] == [1] * 4
    assert {one.fold for one in held} == {0, 1, 2, 3}


def test_a_case_has_no_say_in_the_threshold_that_answers_it() -> None:
    """All but the odd cases are right at every threshold, the odd ones, a whole fold, at 0.9 and above alone."""

    def answer(image: Image) -> np.ndarray:
        odd = image.pixels[0, 0, 0] > 0
        return (0.85 if odd else 0.02) + (0.14 if odd else 0.96) * (image.pixels.transpose(2, 0, 1) == 1)

    samples = painted(60)
    odd = deal_folds(samples, FOLDS)[0]
    for sample in samples:
        sample.drawn.pixels[0, 0, 0] = 0.5 if sample.case in odd else 0
    held = cross_fit(held_by(ensemble_of(fake_member("a", answer), threshold=0.9), samples), refit="fitted")
    assert {one.threshold for one in held if one.case in odd} == {0.5}
    assert max(one.dice for one in held if one.case in odd) < 0.5
    assert {one.threshold for one in held if one.case not in odd} == {0.9}


def test_weights_chosen_elsewhere_are_kept() -> None:
    seen = held_by(ensemble_of(fake_member("bold", bold), fake_member("shy", shy), threshold=0.3), painted())
    held = cross_fit(seen, refit=None)
    assert {(one.weights, one.threshold) for one in held} == {((0.5, 0.5), 0.3)}
    assert {one.fold for one in held} == {0, 1, 2, 3, 4}


def test_networks_run_once_per_image() -> None:
    runs = []

    def counted(image: Image) -> np.ndarray:
        runs.append(image.sha256)
        return bold(image)

    cross_fit(held_by(ensemble_of(fake_member("counted", counted)), painted(6)), refit="fitted")
    assert len(runs) == 6


def test_progress_is_given_for_folds() -> None:
    steps: list[tuple[int, int]] = []
    images = held_by(ensemble_of(fake_member("bold", bold)), painted(4))
    cross_fit(images, refit="fitted", progress=lambda done, total: steps.append((done, total)))
    assert steps == [(1, 4), (2, 4), (3, 4), (4, 4)]


def test_the_old_place_of_thin_works_with_a_warning() -> None:
    with pytest.warns(DeprecationWarning, match="medseg.fitting.observations"):
        assert crossfit.thin is thin
    with pytest.raises(AttributeError, match="no attribute 'other'"):
        _ = crossfit.other


def test_two_cases_are_too_few() -> None:
    with pytest.raises(InputError, match="2 cases are too few to learn from some"):
        cross_fit(held_by(ensemble_of(fake_member("bold", bold)), painted(2)), refit="fitted")
