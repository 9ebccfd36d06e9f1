"""A student learns from an ensemble, on labelled images beside the truth, on images without masks alone."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import PIL.Image
import pytest
import torch

from medseg import schema
from medseg.cards.folder import write_cards
from medseg.config import MemberConfig, Preprocess
from medseg.data.samples import load_data, select, split_hash
from medseg.errors import ConfigError, InputError, MedsegWarning, ReadError
from medseg.inference.ensemble import Ensemble
from medseg.inference.member import file_sha256
from medseg.training.data import Pairs, training_loader
from medseg.training.defaults import STEPS, recipe_for_data
from medseg.training.distilling import Taught, distill, taught_samples
from medseg.training.recipe import DistillRecipe
from tests.conftest import make_ensemble, write_disc_pair

pytestmark = [
    pytest.mark.usefixtures("on_the_cpu"),
    pytest.mark.filterwarnings("ignore::medseg.errors.MedsegWarning"),  # the discs without labels lie in one folder
]

TINY: dict[str, Any] = {
    "architecture": "plainunet",
    "encoder": "none",
    "decoder": {"depth": 2, "width": 4},
    "size": 32,
    "batch_size": 4,
    "epochs": 1,
}


@pytest.fixture
def teacher(tmp_path: Path) -> Path:
    return make_ensemble(tmp_path / "teacher", (1.0, 2.0), labels=("disc",), plain=True)


@pytest.fixture
def data(disc_pairs: Path, tmp_path: Path) -> Path:
    """Eight to train on, two to validate on; the other 14 are no part of it."""
    stems = sorted(path.stem for path in (disc_pairs / "images").iterdir())[:10]
    samples = [
        {"image": f"{disc_pairs}/images/{s}.png", "mask": f"{disc_pairs}/masks/{s}.png", "split": split}
        for s, split in zip(stems, ["train"] * 8 + ["val"] * 2, strict=True)
    ]
    path = tmp_path / "discs.json"
    path.write_text(json.dumps({"labels": ["disc"], "samples": samples}), encoding="utf-8")
    return path


@pytest.fixture
def unlabelled(disc_pairs: Path, tmp_path: Path) -> Path:
    """Three images that are new, and one of the validation split."""
    folder = tmp_path / "unlabelled"
    for number in (100, 101, 102):
        write_disc_pair(folder, f"new{number}", number)
    shutil.copy(disc_pairs / "images" / "case08.png", folder / "images" / "known.png")
    return folder


@pytest.fixture
def recipe(data: Path, teacher: Path, unlabelled: Path, tmp_path: Path) -> DistillRecipe:
    places = {"data": str(data), "ensemble": str(teacher), "unlabelled": str(unlabelled)}
    return DistillRecipe(**places, output=str(tmp_path / "run"), labels=("disc",), **TINY)


def test_targets_mix_truth_and_ensemble_and_are_the_ensembles_alone_without_a_mask(
    recipe: DistillRecipe, capsys: pytest.CaptureFixture[str]
) -> None:
    ensemble = Ensemble.from_pretrained(recipe.ensemble)
    samples = select(load_data(recipe.data).samples, "train")
    taught = taught_samples(samples, recipe, ensemble)
    assert "3 unlabelled images, 1 more are among the labelled data and are left out." in capsys.readouterr().out
    assert [sample.case for sample in taught[8:]] == ["unlabelled new100", "unlabelled new101", "unlabelled new102"]
    for sample, share in ((taught[0], 0.5), (taught[8], 1.0)):
        image, target = sample.read(["disc"])
        truth = samples[0].read(["disc"])[1] if share < 1 else 0
        expected = share * ensemble.predict(image).probabilities + (1 - share) * np.asarray(truth)
        assert np.abs(target - expected).max() <= 0.5 / 255 + 1e-6


def test_targets_of_labels_that_exclude_each_other_are_mixed_alike(data: Path, tmp_path: Path) -> None:
    folder = make_ensemble(tmp_path / "exclusive", (1, 1), task="multiclass", labels=("disc",), plain=True)
    ensemble = Ensemble.from_pretrained(folder)
    recipe = DistillRecipe(data=str(data), ensemble="exclusive", output=str(tmp_path / "run"))
    sample = select(load_data(data).samples, "train")[0]
    (image, truth), (_, target) = (
        each.read(["disc"]) for each in (sample, taught_samples([sample], recipe, ensemble)[0])
    )
    assert np.abs(target - (ensemble.predict(image).probabilities + truth) / 2).max() <= 0.5 / 255 + 1e-6


def test_soft_targets_reach_the_batches_and_hard_ones_stay_as_they_are(recipe: DistillRecipe) -> None:
    samples = select(load_data(recipe.data).samples, "train")
    taught = taught_samples(samples, recipe, Ensemble.from_pretrained(recipe.ensemble))
    preprocess = Preprocess(32, 32)
    pairs = Pairs([*samples[:4], *taught[8:10]], ("disc",), preprocess)
    _, masks = next(iter(training_loader(recipe, pairs)))
    assert masks.dtype == torch.float32
    alone = Pairs(samples, ("disc",), preprocess)
    assert alone[0][1].dtype == torch.bool
    assert torch.equal(pairs.masks()[0], alone.masks()[0])


def test_a_student_is_a_member_whose_card_says_what_it_keeps(recipe: DistillRecipe, data: Path) -> None:
    folder = distill(recipe)
    member = schema.load(MemberConfig, folder / "member.json")
    assert member.training_data.name == "unknown"  # the teachers do not say that they learnt from these data
    assert member.training_data.split_sha256 == split_hash(load_data(data).samples)
    compared = json.loads((folder / "distilled.json").read_text(encoding="utf-8"))
    assert compared["n"] == 2
    student = Ensemble.from_pretrained(folder)
    parameters = student.members[0].parameters
    assert compared["student"]["megabytes"] == pytest.approx(2 * parameters / 1e6)
    assert "## What the student keeps" in (folder / "README.md").read_text(encoding="utf-8")


def test_a_student_of_its_teachers_data_was_trained_on_what_they_were(
    recipe: DistillRecipe, data: Path, teacher: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    place, settings = teacher / "m0" / "member.json", teacher / "ensemble.json"
    before, config = file_sha256(place), json.loads(place.read_text())
    config |= {"weights_licence": "CC-BY-4.0"}
    config["training_data"]["split_sha256"] = split_hash(load_data(data).samples)
    place.write_text(json.dumps(config))
    settings.write_text(settings.read_text().replace(before, file_sha256(place)))
    folder = distill(recipe)
    student = schema.load(MemberConfig, folder / "member.json")
    assert student.training_data.name == config["training_data"]["name"]
    assert student.weights_licence == "CC-BY-4.0"
    assert "Taught by the ensemble tiny-binary." in (folder / "README.md").read_text(encoding="utf-8")


def test_another_ensemble_or_other_images_are_another_run(
    recipe: DistillRecipe, tmp_path: Path, unlabelled: Path
) -> None:
    distill(recipe)
    other = make_ensemble(tmp_path / "other", (2.0, 1.0), labels=("disc",), plain=True)
    (unlabelled / "images" / "new100.png").unlink()
    for changed in ({"ensemble": str(other)}, {}):
        with pytest.raises(InputError, match=r"another lesson \(by its ensemble, share and images\)"):
            distill(replace(recipe, **changed))


def test_nothing_but_known_images_is_refused(recipe: DistillRecipe, unlabelled: Path) -> None:
    for path in (unlabelled / "images").glob("new*"):
        path.unlink()
    with pytest.raises(InputError, match="holds no images but those of the labelled data"):
        distill(recipe)


def test_damaged_images_without_masks_are_left_out_and_every_page_of_a_file_counts(
    recipe: DistillRecipe, unlabelled: Path
) -> None:
    (unlabelled / "images" / "broken.gif").write_bytes(b"GIF89a")
    pages = [PIL.Image.new("RGB", (64, 48), (150, shade, 50)) for shade in (40, 80)]
    pages[0].save(unlabelled / "images" / "pages.tif", save_all=True, append_images=pages[1:])
    samples = select(load_data(recipe.data).samples, "train")
    with pytest.warns(MedsegWarning, match=r"unlabelled images that cannot be read \(1\), .*: broken\.gif"):
        taught = taught_samples(samples, recipe, Ensemble.from_pretrained(recipe.ensemble))
    names = [(sample.image.name, sample.frame) for sample in taught[8:]]
    assert names[-2:] == [("pages.tif", 0), ("pages.tif", 1)]
    assert len({sample.target for sample in taught}) == 8 + 3 + 2


@pytest.mark.parametrize(("place", "words"), [("missing", "is no folder"), ("empty", "holds no images: wanted files")])
def test_a_folder_without_images_is_refused(recipe: DistillRecipe, tmp_path: Path, place: str, words: str) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match=words):
        distill(replace(recipe, unlabelled=str(tmp_path / place)))


def test_labels_that_are_not_the_ensembles_are_refused(recipe: DistillRecipe) -> None:
    with pytest.raises(InputError, match="distill: labels ring is not the ensemble's disc: leave labels out"):
        distill(replace(recipe, labels=("ring",)))


def test_the_images_of_several_files_keep_their_channels(tmp_path: Path, disc_pairs: Path) -> None:
    further = tuple(disc_pairs / "images" / f"case0{number}.png" for number in (1, 2))
    np.save(tmp_path / "target.npy", np.zeros((1, 48, 64), np.uint8))
    sample = Taught(
        disc_pairs / "images" / "case00.png", (), "a", "train", channels=further, target=tmp_path / "target.npy"
    )
    assert sample.read(["disc"])[0].pixels.shape == (48, 64, 9)


def test_a_student_of_ones_own_data_begins_as_the_ensembles_best_member(
    data: Path, teacher: Path, unlabelled: Path
) -> None:
    places = ["--data", str(data), "--ensemble", str(teacher), "--output", "mine"]
    recipe = recipe_for_data([*places, "--unlabelled", str(unlabelled)], DistillRecipe)
    assert (recipe.init, recipe.labels, recipe.size) == (str(teacher / "m0"), ("disc",), 64)
    assert (recipe.output, recipe.name, recipe.learning_rate) == ("mine", "student", 3e-4)
    assert recipe.epochs == STEPS // 2  # two steps of 8 labelled and 4 other images
    own = recipe_for_data([*places, "--architecture", "plainunet", "--encoder", "none"], DistillRecipe)
    assert (own.init, own.learning_rate) == ("", 1e-3)


def test_a_card_of_nonsense_is_refused_by_name(recipe: DistillRecipe) -> None:
    folder = distill(recipe)
    assert "[–, –]" in (folder / "README.md").read_text(encoding="utf-8")  # two cases have no interval
    (folder / "distilled.json").write_text("[]", encoding="utf-8")
    with pytest.raises(InputError, match=r"distilled\.json is not what `distill` writes"):
        write_cards(folder)


def test_a_damaged_target_is_named(tmp_path: Path, disc_pairs: Path) -> None:
    (tmp_path / "target.npy").write_bytes(b"no array")
    sample = Taught(disc_pairs / "images" / "case00.png", (), "a", "train", target=tmp_path / "target.npy")
    with pytest.raises(ReadError, match=r"target\.npy is damaged: delete it"):
        sample.read(["disc"])


def test_an_ensemble_must_be_named_and_the_share_be_one() -> None:
    with pytest.raises(ConfigError, match="ensemble must name the ensemble that teaches"):
        DistillRecipe()
    with pytest.raises(ConfigError, match="share must lie in 0 to 1"):
        DistillRecipe(ensemble="polyp", share=2.0)
