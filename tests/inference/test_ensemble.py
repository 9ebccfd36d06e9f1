"""The ensemble: networks once per image, weights and threshold from the cache, damaged members set aside."""

import dataclasses
import json
import re
import shutil
import threading
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

import medseg
from medseg import schema
from medseg.config import Cleanup, EnsembleConfig
from medseg.errors import ConfigError, DamagedError, InputError, MedsegWarning
from medseg.image import Image
from medseg.inference import ensemble, runtime
from medseg.inference.batch import Settings, check
from medseg.inference.blend import blend
from medseg.inference.ensemble import CACHE_BYTES, Ensemble
from medseg.inference.member import file_sha256
from medseg.places import shipped
from medseg.postprocess import to_masks
from medseg.preprocess import to_image_grid
from tests.conftest import make_ensemble, make_member, with_stacker

IMAGE = Image(np.random.default_rng(0).random((40, 56, 3), dtype=np.float32))
WITHOUT_STACKER = ("weighted mean", "geometric", "median", "majority vote", "STAPLE")
KINDS = [("binary", ("blob",)), ("multilabel", ("a", "b")), ("multiclass", ("a", "b"))]


@pytest.fixture(scope="module")
def tiny(tiny_ensemble: Path) -> Ensemble:
    return Ensemble.from_pretrained(tiny_ensemble)


@pytest.fixture
def copied(tiny_ensemble: Path, tmp_path: Path) -> Path:
    """A copy of the ensemble folder that a test may damage."""
    return Path(shutil.copytree(tiny_ensemble, tmp_path / "tiny"))


@pytest.fixture
def runs(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[runtime.Network]]:
    """The networks run since the test began; it begins with an empty cache."""
    monkeypatch.setattr(ensemble, "_cache", ensemble.ArrayCache(CACHE_BYTES))
    ran = []
    run = runtime.run

    def counting(network: runtime.Network, batch: np.ndarray) -> np.ndarray:
        ran.append(network)
        return run(network, batch)

    monkeypatch.setattr(runtime, "run", counting)
    return ran


def settings_of(folder: Path) -> EnsembleConfig:
    return schema.load(EnsembleConfig, folder / "ensemble.json")


# --- the names others rely on


def test_the_library_offers_the_ensemble_at_its_top() -> None:
    assert medseg.Ensemble is Ensemble


@pytest.mark.parametrize(("task", "labels"), KINDS)
def test_every_task_takes_one_path(task: str, labels: tuple[str, ...], tmp_path: Path) -> None:
    found = Ensemble.from_pretrained(make_ensemble(tmp_path, (1, 3), labels=labels, task=task)).predict(IMAGE)
    count = len(labels)
    assert found.labels == labels
    assert found.image is IMAGE
    assert (found.members.shape, found.members.dtype) == ((2, count, 40, 56), np.float16)
    assert (found.probabilities.shape, found.probabilities.dtype) == ((count, 40, 56), np.float32)
    assert (found.masks.shape, found.masks.dtype) == ((count, 40, 56), bool)
    assert (found.disagreement.shape, found.disagreement.dtype) == ((40, 56), np.float32)
    if task == "multiclass":
        assert (found.masks.sum(axis=0) <= 1).all()
        assert (found.probabilities.sum(axis=0) <= 1.001).all()


def test_the_prediction_is_the_weighted_mean_of_the_members(tiny: Ensemble) -> None:
    found = tiny.predict(IMAGE)
    members = found.members.astype(np.float64)
    np.testing.assert_allclose(found.probabilities, 0.75 * members[0] + 0.25 * members[1], atol=1e-6)
    assert np.array_equal(found.masks, to_masks(found.probabilities, 0.5, "binary"))


def test_solo_is_the_member_by_itself(tiny: Ensemble) -> None:
    found = tiny.predict(IMAGE, weights=tiny.solo(1))
    assert found.weights == (0, 1)
    assert np.array_equal(found.probabilities, found.members[1].astype(np.float32))
    assert found.disagreement.max() == 0


def test_a_large_image_gets_masks_on_its_own_grid(tiny: Ensemble) -> None:
    found = tiny.predict(Image(np.zeros((20, 2048, 1), np.float32)))
    assert found.members.shape == (2, 1, 10, 1024)
    assert found.masks.shape == (1, 20, 2048)
    assert found.disagreement.shape == (20, 2048)
    assert found.probabilities.shape == to_image_grid(found.members[0].astype(np.float32), (20, 2048)).shape


def test_the_clean_up_of_ensemble_json_is_applied(tiny: Ensemble) -> None:
    found = tiny.predict(IMAGE)
    threshold = float(np.median(found.probabilities))
    strict = dataclasses.replace(tiny.config, cleanup=Cleanup(min_area_px=10**6))
    assert tiny.predict(IMAGE, threshold=threshold).masks.any()
    assert not Ensemble(strict, tiny.members).predict(IMAGE, threshold=threshold).masks.any()


# --- blends and weights per label


@pytest.mark.parametrize("how", WITHOUT_STACKER)
@pytest.mark.parametrize(("task", "labels"), KINDS)
def test_every_blend_is_offered_for_every_task(task: str, labels: tuple[str, ...], how: str, tmp_path: Path) -> None:
    found = Ensemble.from_pretrained(make_ensemble(tmp_path, (1, 3, 2), labels=labels, task=task, plain=True)).predict(
        IMAGE, blend=how
    )
    assert np.array_equal(found.probabilities, blend(found.members, how, (1, 3, 2), task))
    assert found.report()["blend"] == how


def weighed(folder: Path, *weights: object) -> Path:
    """The ensemble folder with other weights in its ensemble.json."""
    content = json.loads((folder / "ensemble.json").read_text())
    for member, weight in zip(content["members"], weights, strict=True):
        member["weight"] = weight
    (folder / "ensemble.json").write_text(json.dumps(content))
    return folder


@pytest.fixture
def per_label(tmp_path: Path) -> Path:
    """Two members for the labels a and b; the first counts for a quarter of a, and not at all for b."""
    folder = make_ensemble(tmp_path / "per-label", (1, 1), labels=("a", "b"), task="multilabel", plain=True)
    return weighed(folder, [1, 0], [3, 2])


def test_ensemble_json_may_weigh_each_label_by_itself(per_label: Path) -> None:
    ensemble = Ensemble.from_pretrained(per_label)
    assert ensemble.weights == ((0.25, 0), (0.75, 1))
    found = ensemble.predict(IMAGE)
    first, second = found.members.astype(np.float32)
    np.testing.assert_allclose(found.probabilities[0], 0.25 * first[0] + 0.75 * second[0], atol=1e-6)
    assert np.array_equal(found.probabilities[1], second[1])
    assert [member["weight"] for member in found.report()["members"]] == [(0.25, 0), (0.75, 1)]


def test_each_label_may_have_its_own_threshold(per_label: Path) -> None:
    schema.dump(
        dataclasses.replace(schema.load(EnsembleConfig, per_label / "ensemble.json"), threshold=(0.3, 0.6)),
        per_label / "ensemble.json",
    )
    ensemble = Ensemble.from_pretrained(per_label)
    found = ensemble.predict(IMAGE)
    assert found.report()["threshold"] == (0.3, 0.6)
    assert np.array_equal(found.masks, np.stack([found.probabilities[0] >= 0.3, found.probabilities[1] >= 0.6]))
    assert ensemble.predict(IMAGE, threshold=0.6).threshold == 0.6
    with pytest.raises(InputError, match=r"takes one threshold, or one for each of the 2 labels \(.+, .+\); got 3"):
        found.remix(weights=found.weights, threshold=(0.3, 0.6, 0.5))


def test_weights_for_all_labels_take_the_place_of_those_per_label(per_label: Path) -> None:
    before = Ensemble.from_pretrained(per_label).predict(IMAGE)
    mixed = before.remix(weights=(1, 0), threshold=0.5)
    assert np.array_equal(mixed.probabilities, before.members[0].astype(np.float32))
    again = mixed.remix(weights=before.weights, threshold=0.5)
    assert np.array_equal(again.probabilities, before.probabilities)


def test_weights_for_other_labels_are_refused(per_label: Path) -> None:
    with pytest.raises(InputError, match="one weight for each of the 2 members, got 2 × 3"):
        Ensemble.from_pretrained(per_label).predict(IMAGE, weights=[[1, 1, 1], [1, 1, 1]])


def test_a_label_without_a_usable_member_is_named(per_label: Path) -> None:
    flip_a_bit(per_label / "m1" / "model.safetensors")
    with pytest.warns(MedsegWarning), pytest.raises(DamagedError, match="has no usable member for b: The member m1"):
        Ensemble.from_pretrained(per_label)


# --- the networks run once per image


def test_moving_weights_and_threshold_runs_no_network(tiny: Ensemble, runs: list) -> None:
    first = tiny.predict(IMAGE)
    assert len(runs) == 2
    for weight in (0, 0.3, 1):
        other = tiny.predict(IMAGE, weights=[1, weight], threshold=0.2 + weight / 2)
        assert (other.masks.shape, other.disagreement.shape) == ((1, 40, 56), (40, 56))
    assert np.array_equal(first.members, other.members)
    assert len(runs) == 2


def test_remixing_a_prediction_runs_no_network_though_the_cache_forgot_it(
    tiny: Ensemble, runs: list, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = tiny.predict(IMAGE)
    wanted = tiny.predict(IMAGE, weights=(1, 3), threshold=0.4)
    monkeypatch.setattr(ensemble, "_cache", ensemble.ArrayCache(CACHE_BYTES))
    runs.clear()
    mixed = before.remix(weights=(1, 3), threshold=0.4)
    assert runs == []
    assert (mixed.masks == wanted.masks).all()
    assert (mixed.weights, mixed.threshold) == (wanted.weights, wanted.threshold)
    with pytest.raises(InputError, match="All weights are 0"):
        before.remix(weights=(0, 0), threshold=0.4)


def test_the_same_image_from_another_file_runs_no_network(tiny: Ensemble, runs: list) -> None:
    tiny.predict(IMAGE)
    tiny.predict(Image(IMAGE.pixels.copy(), modality="ES"))
    assert len(runs) == 2


def test_another_ensemble_of_the_same_members_runs_no_network(tiny_ensemble: Path, runs: list) -> None:
    for _ in range(2):
        Ensemble.from_pretrained(tiny_ensemble).predict(IMAGE)
    assert len(runs) == 2


def test_another_image_is_another_run(tiny: Ensemble, runs: list) -> None:
    tiny.predict(IMAGE)
    tiny.predict(Image(IMAGE.pixels[::-1].copy()))
    assert len(runs) == 4


def test_tta_runs_each_network_four_times_and_is_kept_apart(tiny: Ensemble, runs: list) -> None:
    plain = tiny.predict(IMAGE)
    for _ in range(2):
        turned = tiny.predict(IMAGE, tta=True)
    assert len(runs) == 2 + 8
    assert not np.array_equal(plain.members, turned.members)


def test_d4_runs_each_network_eight_times_and_is_kept_apart_from_the_flips(tiny: Ensemble, runs: list) -> None:
    flipped = tiny.predict(IMAGE, tta="flips")
    for _ in range(2):
        turned = tiny.predict(IMAGE, tta="d4")
    assert len(runs) == 8 + 16
    assert turned.report()["tta"] == "d4"
    assert not np.array_equal(flipped.members, turned.members)


def test_a_quarter_turn_of_the_image_turns_the_answer_of_d4(tiny: Ensemble) -> None:
    square = Image(np.random.default_rng(2).random((64, 64, 3), dtype=np.float32))
    turned = Image(np.rot90(square.pixels).copy())
    answers = [tiny.predict(image, tta="d4").probabilities for image in (square, turned)]
    np.testing.assert_allclose(np.rot90(answers[0], axes=(1, 2)), answers[1], atol=2e-3)


def test_networks_that_know_no_mirror_images_see_none() -> None:
    chest = Ensemble.from_pretrained(shipped("assets/ensembles") / "chest")
    assert chest.upright == chest.names
    with pytest.raises(InputError, match=r"chest-unet-lite0, .* learnt from images that all lie one way"):
        chest.predict(IMAGE, tta=True)
    with pytest.raises(InputError, match="lie one way"):
        check(chest, Settings(tta="flips"))


def test_an_augmentation_of_another_name_is_refused(tiny: Ensemble, runs: list) -> None:
    with pytest.raises(InputError, match="tta must be False, True, 'flips' or 'd4', not 'rotate'"):
        tiny.predict(IMAGE, tta="rotate")
    assert runs == []


def test_two_who_ask_for_the_same_image_at_once_run_its_networks_once(tiny: Ensemble, runs: list) -> None:
    both_here = threading.Barrier(2)
    found = []

    def ask() -> None:
        both_here.wait()
        found.append(tiny.predict(IMAGE))

    threads = [threading.Thread(target=ask) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(runs) == 2
    assert np.array_equal(found[0].masks, found[1].masks)


def test_the_cache_is_bounded_and_lets_the_longest_unused_go() -> None:
    cache = ensemble.ArrayCache(limit=100)
    kept = {key: cache.get(key, lambda: np.zeros(30, np.uint8)) for key in "abc"}
    assert cache.get("a", lambda: np.zeros(30, np.uint8)) is kept["a"]  # now b is the longest unused
    kept["d"] = cache.get("d", lambda: np.zeros(30, np.uint8))
    assert [cache.get(key, lambda: np.zeros(0, np.uint8)) is kept[key] for key in "acdb"] == [True, True, True, False]


def test_what_is_larger_than_the_cache_is_not_kept() -> None:
    cache = ensemble.ArrayCache(limit=100)
    small = cache.get("a", lambda: np.zeros(50, np.uint8))
    large = cache.get("b", lambda: np.zeros(101, np.uint8))
    assert cache.get("a", lambda: np.zeros(50, np.uint8)) is small
    assert cache.get("b", lambda: np.zeros(101, np.uint8)) is not large


def test_without_room_in_the_cache_the_answer_is_the_same(
    tiny: Ensemble, runs: list, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept = tiny.predict(IMAGE).masks
    monkeypatch.setattr(ensemble, "_cache", ensemble.ArrayCache(limit=0))
    assert np.array_equal(tiny.predict(IMAGE).masks, kept)
    assert len(runs) == 4


# --- refusals


@pytest.mark.parametrize("size", [(1, 1), (15, 400), (400, 15)])
def test_an_image_without_room_for_a_finding_is_refused(tiny: Ensemble, size: tuple[int, int]) -> None:
    sentence = f"The image is {size[1]} × {size[0]} pixels; at least 16 × 16 are needed."
    with pytest.raises(InputError, match=f"^{sentence}$"):
        tiny.predict(Image(np.zeros((*size, 3), np.float32)))


@pytest.mark.parametrize("threshold", [0, 1, -1, 2, float("nan"), float("inf")])
def test_a_threshold_out_of_range_is_refused(tiny: Ensemble, threshold: float, runs: list) -> None:
    with pytest.raises(InputError, match="The threshold must lie between 0 and 1"):
        tiny.predict(IMAGE, threshold=threshold)
    assert runs == []


@pytest.mark.parametrize("weights", [[0, 0], [1], [1, 1, 1], [-1, 2], [float("nan"), 1]])
def test_weights_that_make_no_sense_are_refused_before_a_network_runs(
    tiny: Ensemble, weights: list[float], runs: list
) -> None:
    with pytest.raises(InputError, match=r"[Ww]eight"):
        tiny.predict(IMAGE, weights=weights)
    assert runs == []


def test_a_device_that_is_not_there_is_refused_and_no_member_blamed(tiny_ensemble: Path) -> None:
    with pytest.raises(InputError, match="The device 'abacus' cannot be used"):
        Ensemble.from_pretrained(tiny_ensemble, device="abacus")


def test_settings_and_members_must_be_as_many(tiny: Ensemble) -> None:
    with pytest.raises(InputError, match="names 2 members, got 1"):
        Ensemble(tiny.config, tiny.members[:1])


def test_a_member_folder_by_itself_is_an_ensemble_of_one(
    tiny: Ensemble, tiny_ensemble: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    alone = Ensemble.from_pretrained(tiny_ensemble / "m1")
    assert (alone.names, alone.weights) == (("random-1",), (1.0,))
    assert (alone.predict(IMAGE).masks == tiny.predict(IMAGE, weights=tiny.solo(1)).masks).all()
    monkeypatch.chdir(tiny_ensemble / "m1")
    assert Ensemble.from_pretrained(".").names == ("random-1",)


def test_a_folder_without_ensemble_json_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"ensemble\.json cannot be read"):
        Ensemble.from_pretrained(tmp_path)


# --- damaged members


def flip_a_bit(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)


@pytest.mark.parametrize("name", ["model.safetensors", "config.json", "member.json"])
@pytest.mark.parametrize("damage", [flip_a_bit, Path.unlink, lambda path: path.write_bytes(path.read_bytes()[:-9])])
def test_a_damaged_member_is_set_aside_and_the_rest_goes_on(copied: Path, name: str, damage: object) -> None:
    damage(copied / "m0" / name)
    with pytest.warns(MedsegWarning, match=f"The member m0 is damaged: {name} .* The ensemble goes on without it"):
        rest = Ensemble.from_pretrained(copied)
    assert rest.names == ("random-1",)
    assert rest.weights == (1,)
    assert len(rest.quarantined) == 1
    found = rest.predict(IMAGE)
    assert np.array_equal(found.probabilities, found.members[0].astype(np.float32))
    assert found.report()["left_out"] == list(rest.quarantined)


def test_a_member_whose_description_breaks_the_schema_is_set_aside_by_name(copied: Path) -> None:
    member, ensemble = copied / "m0" / "member.json", copied / "ensemble.json"
    before = file_sha256(member)
    member.write_text(json.dumps({**json.loads(member.read_text()), "upright": "yes"}))
    ensemble.write_text(ensemble.read_text().replace(before, file_sha256(member)))
    sentence = "The member m0: member.json: upright must be bool, not str. The ensemble goes on without it."
    with pytest.warns(MedsegWarning, match=f"^{re.escape(sentence)}$"):
        assert Ensemble.from_pretrained(copied).names == ("random-1",)


def test_the_weights_of_those_left_keep_their_ratio(tmp_path: Path) -> None:
    folder = make_ensemble(tmp_path / "three", (0.5, 0.3, 0.1))
    flip_a_bit(folder / "m0" / "model.safetensors")
    with pytest.warns(MedsegWarning):
        rest = Ensemble.from_pretrained(folder)
    assert rest.weights == pytest.approx((0.75, 0.25))


def test_an_ensemble_without_a_usable_member_is_refused(copied: Path) -> None:
    for member in ("m0", "m1"):
        flip_a_bit(copied / member / "model.safetensors")
    with pytest.warns(MedsegWarning), pytest.raises(DamagedError, match="tiny-binary has no usable member") as caught:
        Ensemble.from_pretrained(copied)
    assert "m0" in str(caught.value)
    assert "m1" in str(caught.value)


def test_members_left_with_weight_0_only_are_refused(tmp_path: Path) -> None:
    folder = make_ensemble(tmp_path / "pair", (1, 0))
    flip_a_bit(folder / "m0" / "model.safetensors")
    with pytest.warns(MedsegWarning), pytest.raises(DamagedError, match="has no usable member"):
        Ensemble.from_pretrained(folder)


def test_a_member_with_other_labels_is_set_aside(copied: Path) -> None:
    shutil.rmtree(copied / "m1")
    sha256 = make_member(copied / "m1", "stranger", 1, labels=("kidney",))
    settings = settings_of(copied)
    members = (settings.members[0], dataclasses.replace(settings.members[1], sha256=sha256))
    schema.dump(dataclasses.replace(settings, members=members), copied / "ensemble.json")
    with pytest.warns(MedsegWarning, match="m1 predicts binary kidney, the ensemble asks for binary blob"):
        assert Ensemble.from_pretrained(copied).names == ("random-0",)


def test_swapped_member_folders_are_noticed(copied: Path) -> None:
    (copied / "m0").rename(copied / "m2")
    (copied / "m1").rename(copied / "m0")
    (copied / "m2").rename(copied / "m1")
    with pytest.warns(MedsegWarning), pytest.raises(DamagedError, match="no usable member"):
        Ensemble.from_pretrained(copied)


def test_a_sound_ensemble_has_nobody_in_quarantine(tiny: Ensemble) -> None:
    assert tiny.quarantined == ()
    assert tiny.predict(IMAGE).left_out == ()


# --- the stacker


@pytest.mark.parametrize("with_image", [False, True])
def test_the_stacker_answers_from_the_members_answers(copied: Path, with_image: bool) -> None:
    stacked = Ensemble.from_pretrained(with_stacker(copied, with_image=with_image))
    found = stacked.predict(IMAGE)
    assert stacked.blends == (*WITHOUT_STACKER, "stacking")
    planes = [*found.members[:, 0].astype(np.float32), *(IMAGE.pixels.transpose(2, 0, 1) if with_image else [])]
    wanted = stacked.stacker.probabilities(Image(np.stack(planes, axis=2)))
    assert found.blend == "stacking"
    assert np.array_equal(found.stacked, wanted)
    assert np.array_equal(found.probabilities, wanted.astype(np.float32))
    assert np.array_equal(found.masks, to_masks(found.probabilities, 0.5, "binary"))


def test_the_answers_of_a_large_image_are_stacked_on_the_working_grid(copied: Path) -> None:
    large = Image(np.random.default_rng(1).random((20, 2048, 1), dtype=np.float32))
    found = Ensemble.from_pretrained(with_stacker(copied, with_image=True)).predict(large)
    assert found.stacked.shape == (1, 10, 1024)
    assert found.masks.shape == (1, 20, 2048)


def test_the_weighted_mean_of_a_stacked_ensemble_is_that_of_its_members(copied: Path, tiny: Ensemble) -> None:
    found = Ensemble.from_pretrained(with_stacker(copied)).predict(IMAGE, blend="weighted mean")
    assert np.array_equal(found.probabilities, tiny.predict(IMAGE).probabilities)


def test_the_stacker_leaves_the_members_disagreement_alone(copied: Path, tiny: Ensemble) -> None:
    found = Ensemble.from_pretrained(with_stacker(copied)).predict(IMAGE)
    assert np.array_equal(found.disagreement, tiny.predict(IMAGE).disagreement)


def test_the_stacker_runs_once_per_image_whatever_the_blend(copied: Path, runs: list) -> None:
    stacked = Ensemble.from_pretrained(with_stacker(copied))
    first = stacked.predict(IMAGE, blend="weighted mean")
    assert len(runs) == 3
    mean, answer = first.probabilities, first.remix(weights=(1, 1), threshold=0.5, blend="stacking")
    assert answer.remix(weights=(0, 1), threshold=0.5).blend == "stacking"
    assert not np.array_equal(answer.probabilities, mean)
    assert np.array_equal(stacked.predict(IMAGE).probabilities, answer.probabilities)
    assert len(runs) == 3


def test_another_stacker_over_the_same_members_is_another_answer(copied: Path, runs: list) -> None:
    Ensemble.from_pretrained(with_stacker(copied)).predict(IMAGE)
    Ensemble.from_pretrained(with_stacker(copied, with_image=True)).predict(IMAGE)
    assert len(runs) == 2 + 1 + 1


def test_tta_turns_the_stacker_too(copied: Path, runs: list) -> None:
    found = Ensemble.from_pretrained(with_stacker(copied)).predict(IMAGE, tta=True)
    assert len(runs) == 3 * 4
    mirrored = Ensemble.from_pretrained(copied).predict(Image(IMAGE.pixels[:, ::-1].copy()), tta=True)
    np.testing.assert_allclose(mirrored.probabilities[..., ::-1], found.probabilities, atol=2e-2)


@pytest.mark.parametrize("how", ["stacking", "Median", ""])
def test_a_blend_that_the_ensemble_does_not_have_is_refused(tiny: Ensemble, how: str, runs: list) -> None:
    with pytest.raises(InputError, match=f"tiny-binary can blend by weighted mean, .*, STAPLE, not by '{how}'"):
        tiny.predict(IMAGE, blend=how)
    assert runs == []
    with pytest.raises(InputError, match=r"can blend by weighted mean, .*, STAPLE, not by"):
        tiny.predict(IMAGE).remix(weights=(1, 1), threshold=0.5, blend=how)


def test_without_one_of_its_members_the_stacker_is_set_aside(copied: Path) -> None:
    flip_a_bit(with_stacker(copied) / "m0" / "model.safetensors")
    with (
        pytest.warns(MedsegWarning, match="goes on without it"),
        pytest.warns(
            MedsegWarning, match=r"stacker top needs the probabilities of all 2 members\. The .* the weighted mean"
        ),
    ):
        rest = Ensemble.from_pretrained(copied)
    assert (rest.names, rest.blends, len(rest.quarantined)) == (("random-1",), WITHOUT_STACKER, 2)
    found = rest.predict(IMAGE)
    assert (found.blend, found.stacked) == ("weighted mean", None)
    assert found.report()["left_out"] == list(rest.quarantined)


@pytest.mark.parametrize("name", ["model.safetensors", "config.json", "member.json"])
def test_a_damaged_stacker_is_set_aside_and_the_weighted_mean_goes_on(copied: Path, tiny: Ensemble, name: str) -> None:
    flip_a_bit(with_stacker(copied) / "top" / name)
    with pytest.warns(MedsegWarning, match=f"top is damaged: {name} .* The ensemble goes on with the weighted mean"):
        rest = Ensemble.from_pretrained(copied)
    assert rest.names == tiny.names
    assert np.array_equal(rest.predict(IMAGE).masks, tiny.predict(IMAGE).masks)


@pytest.mark.parametrize(("field", "value"), [("labels", ("a", "b")), ("with_image", True)])
def test_a_stacker_for_another_ensemble_is_set_aside(copied: Path, field: str, value: object) -> None:
    with_stacker(copied, **{field: value})
    if field == "with_image":  # five channels, where ensemble.json asks for two
        settings = settings_of(copied)
        stacker = dataclasses.replace(settings.stacker, with_image=False)
        schema.dump(dataclasses.replace(settings, stacker=stacker), copied / "ensemble.json")
    with pytest.warns(MedsegWarning, match="The stacker top predicts .* the ensemble asks for binary blob from 2"):
        assert Ensemble.from_pretrained(copied).blends == WITHOUT_STACKER


def test_settings_and_stacker_must_belong_together(copied: Path, tiny: Ensemble) -> None:
    stacked = Ensemble.from_pretrained(with_stacker(copied))
    with pytest.raises(InputError, match="names a stacker, got none"):
        Ensemble(stacked.config, stacked.members)
    with pytest.raises(InputError, match="names no stacker, got one"):
        Ensemble(tiny.config, tiny.members, stacker=stacked.stacker)


def test_the_report_names_the_stacker_where_it_made_the_result(copied: Path) -> None:
    found = Ensemble.from_pretrained(with_stacker(copied)).predict(IMAGE)
    digest = file_sha256(copied / "top" / "member.json")
    report = json.loads(json.dumps(found.report()))
    assert report["blend"] == "stacking"
    assert report["stacker"] == {"source": "top", "sha256": digest, "with_image": False}
    mean = found.remix(weights=(1, 1), threshold=0.5, blend="weighted mean").report()
    assert (mean["blend"], mean["stacker"]) == ("weighted mean", None)


# --- the record


def test_the_report_is_plain_json_and_complete(tiny: Ensemble, tiny_ensemble: Path) -> None:
    known = {"frame": 1, "frames": 3, "window": (40.0, 400.0), "orientation": 6, "file_sha256": 64 * "f"}
    image = Image(IMAGE.pixels, (0.5, 0.25), "CR", notes=("n",), **known)
    found = tiny.predict(image, weights=[1, 3], threshold=0.4, tta=True)
    report = json.loads(json.dumps(found.report(), allow_nan=False))
    assert report["ensemble"] == "tiny-binary"
    digest = file_sha256(tiny_ensemble / "ensemble.json")
    assert report["source"] == {"name": tiny_ensemble.name, "revision": None, "sha256": digest}
    assert report["members"] == [
        {
            "name": f"random-{i}",
            "source": f"m{i}",
            "revision": None,
            "sha256": file_sha256(tiny_ensemble / f"m{i}" / "member.json"),
            "weight": weight,
        }
        for i, weight in enumerate((0.25, 0.75))
    ]
    assert (report["threshold"], report["tta"], report["left_out"]) == (0.4, "flips", [])
    assert report["cleanup"] == {"min_area_px": 0, "fill_holes": False, "largest_component": False}
    assert report["image"] == {
        "sha256": image.sha256,
        "file_sha256": 64 * "f",
        "height": 40,
        "width": 56,
        "orientation": 6,
        "modality": "CR",
        "frame": 1,
        "frames": 3,
        "window": [40, 400],
        "spacing_mm": [0.5, 0.25],
        "notes": ["n"],
    }
    pixels = int(found.masks.sum())
    assert report["areas"] == {"blob": {"px": pixels, "mm2": pixels / 8}}
    assert {"medseg", "torch", "segmentation-models-pytorch", "numpy"} <= report["versions"].keys()


def test_the_hash_of_the_masks_tells_results_apart(tiny: Ensemble) -> None:
    median = float(np.median(tiny.predict(IMAGE).probabilities))
    hashes = [tiny.predict(IMAGE, threshold=t).report()["masks_sha256"] for t in (median, median, median + 0.01)]
    assert hashes[0] == hashes[1] != hashes[2]
