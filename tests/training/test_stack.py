"""Stacking: trained on held-out probabilities alone, resumable, part of an ensemble folder that opens like others."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from medseg import schema
from medseg.config import EnsembleConfig
from medseg.data.samples import load_data, select, split_hash
from medseg.errors import ConfigError, InputError, ReadError
from medseg.image import Image
from medseg.inference.ensemble import Ensemble
from medseg.inference.member import load_member
from medseg.reading.readers import read_image
from medseg.training import loop, stacking
from medseg.training.recipe import StackRecipe, recipe_from_arguments
from medseg.training.stacking import held_out_predictions, stack
from medseg.training.validate import dice
from tests.conftest import ROOT, FakeMember, fake_member
from tests.training.conftest import Killed

TINY: dict[str, Any] = {
    "architecture": "plainunet",
    "encoder": "none",
    "decoder": {"depth": 2, "width": 8},
    "size": 64,
    "batch_size": 4,
    "epochs": 16,
    "learning_rate": 1e-2,
}


pytestmark = pytest.mark.usefixtures("on_the_cpu")


@pytest.fixture(scope="module")
def discs(disc_pairs: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A manifest of the discs: 3 that members are trained on, 15 held out, 6 to test."""
    names = sorted(path.name for path in (disc_pairs / "images").iterdir())
    splits = ["train"] * 3 + ["val"] * 15 + ["test"] * 6
    samples = [
        {"image": str(disc_pairs / "images" / name), "mask": str(disc_pairs / "masks" / name), "split": split}
        for name, split in zip(names, splits, strict=True)
    ]
    path = tmp_path_factory.mktemp("manifest") / "discs.json"
    path.write_text(json.dumps({"labels": ["blob"], "samples": samples}), encoding="utf-8")
    return path


def right_in_columns(image: Image, right: np.ndarray) -> np.ndarray:
    """0.8 in the disc and 0.2 beside it where `right`; elsewhere sure of the opposite, 0.05 and 0.95."""
    disc = image.pixels.mean(axis=2) > 0.477  # half way between ground and disc
    return np.where(right, np.where(disc, 0.8, 0.2), np.where(disc, 0.05, 0.95))[np.newaxis]


def left(image: Image) -> np.ndarray:
    return right_in_columns(image, np.arange(image.size[1]) < image.size[1] // 2)


def right(image: Image) -> np.ndarray:
    return right_in_columns(image, np.arange(image.size[1]) >= image.size[1] // 2)


@pytest.fixture(scope="module")
def halves() -> list[FakeMember]:
    """Two members, each right on one half of the image and wrong on the other: whatever their weights, one half of
    the weighted mean is wrong."""
    return [fake_member("left", left), fake_member("right", right)]


@pytest.fixture(scope="module", autouse=True)
def halves_answer(halves: list[FakeMember], plain_ensemble: Path) -> Iterator[None]:
    """The two members of `plain_ensemble` have random weights: in training the two halves answer in their place."""
    settings = schema.load(EnsembleConfig, plain_ensemble / "ensemble.json")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(stacking, "Ensemble", SimpleNamespace(from_pretrained=lambda _: Ensemble(settings, halves)))
        yield


@pytest.fixture
def tiny(discs: Path, plain_ensemble: Path, tmp_path: Path) -> StackRecipe:
    return StackRecipe(data=str(discs), ensemble=str(plain_ensemble), output=str(tmp_path / "run"), **TINY)


@pytest.fixture(scope="module")
def stacked(discs: Path, plain_ensemble: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The ensemble folder of a run from beginning to end."""
    output = str(tmp_path_factory.mktemp("stacked"))
    return stack(StackRecipe(data=str(discs), ensemble=str(plain_ensemble), output=output, **TINY))


@pytest.fixture(scope="module")
def brief(discs: Path, plain_ensemble: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """As `stacked`, of four epochs."""
    output = str(tmp_path_factory.mktemp("brief"))
    return stack(StackRecipe(data=str(discs), ensemble=str(plain_ensemble), output=output, **{**TINY, "epochs": 4}))


def stack_of(members: list[FakeMember], folder: Path) -> Ensemble:
    """The ensemble of `members` with the stacker in `folder`."""
    settings = schema.load(EnsembleConfig, folder / "ensemble.json")
    return Ensemble(settings, members, stacker=load_member(folder / "stacker", device="cpu"))


def mean_dice(ensemble: Ensemble, data: Path, **settings: Any) -> float:
    dices = []
    for sample in select(load_data(data).samples, "test"):
        image, truth = sample.read(["blob"])
        found = ensemble.predict(image, **settings).masks
        dices.append(dice(torch.from_numpy(found)[None], torch.from_numpy(truth)[None]))
    return float(torch.cat(dices).mean())


# --- what it learns


def test_the_stacker_beats_every_weighted_mean(stacked: Path, halves: list[FakeMember], discs: Path) -> None:
    ensemble = stack_of(halves, stacked)
    weights = [(w, 1 - w) for w in (0, 0.25, 0.5, 0.75, 1)]
    means = [mean_dice(ensemble, discs, weights=w, blend="weighted mean") for w in weights]
    assert max(means) < 0.5
    assert mean_dice(ensemble, discs) > 0.9


def test_it_learns_on_the_held_out_split_alone_and_divides_no_case(tiny: StackRecipe, halves: list[FakeMember]) -> None:
    settings = schema.load(EnsembleConfig, Path(tiny.ensemble) / "ensemble.json")
    stacked = held_out_predictions(tiny, Ensemble(settings, halves))
    held_out = select(load_data(Path(tiny.data)).samples, "val")
    assert sorted(sample.case for sample in stacked) == sorted(sample.case for sample in held_out)
    assert [sum(sample.split == split for sample in stacked) for split in ("train", "val")] == [10, 5]
    again = held_out_predictions(replace(tiny, seed=1), Ensemble(settings, halves))
    assert [sample.split for sample in again] != [sample.split for sample in stacked]


@pytest.mark.parametrize("with_image", [False, True])
def test_its_image_is_the_members_probabilities_then_the_image(
    tiny: StackRecipe, halves: list[FakeMember], with_image: bool
) -> None:
    settings = schema.load(EnsembleConfig, Path(tiny.ensemble) / "ensemble.json")
    first = held_out_predictions(replace(tiny, with_image=with_image), Ensemble(settings, halves))[0]
    image, truth = next(s for s in load_data(Path(tiny.data)).samples if s.case == first.case).read(["blob"])
    seen, masks = first.read(("blob",))
    wanted = [left(image)[0], right(image)[0], *(image.pixels.transpose(2, 0, 1) if with_image else [])]
    np.testing.assert_allclose(seen.pixels.transpose(2, 0, 1), wanted, atol=1e-3)  # half precision
    assert np.array_equal(masks, truth)


# --- the folder


def test_the_ensemble_folder_opens_like_any_other(stacked: Path, plain_ensemble: Path, disc_pairs: Path) -> None:
    settings = schema.load(EnsembleConfig, stacked / "ensemble.json")
    before = schema.load(EnsembleConfig, plain_ensemble / "ensemble.json")
    assert settings.members == before.members
    assert (settings.blend, settings.threshold) == ("stacking", 0.5)
    assert sorted(path.name for path in stacked.iterdir()) == ["README.md", "ensemble.json", "m0", "m1", "stacker"]
    config = load_member(stacked / "stacker").config
    assert (config.labels, config.preprocess.channels) == (("blob",), 2)
    assert config.training_data.name == "held-out probabilities on discs"
    ensemble = Ensemble.from_pretrained(stacked)
    assert ensemble.blends[-1] == "stacking"
    found = ensemble.predict(read_image(disc_pairs / "images" / "case23.png"))
    assert found.blend == "stacking"
    assert found.masks.shape == (1, 48, 64)


def test_a_stacker_that_sees_the_image_says_so(tiny: StackRecipe, disc_pairs: Path) -> None:
    folder = stack(replace(tiny, with_image=True, epochs=1))
    settings = schema.load(EnsembleConfig, folder / "ensemble.json")
    assert settings.stacker is not None
    assert settings.stacker.with_image
    ensemble = Ensemble.from_pretrained(folder)
    assert ensemble.stacker is not None
    assert ensemble.stacker.config.preprocess.channels == 5
    assert ensemble.predict(read_image(disc_pairs / "images" / "case23.png")).stacked is not None


# --- stopped and continued


@pytest.mark.parametrize("place", ["probabilities", "epoch", "folder"])
def test_a_stopped_run_continues_to_the_same_bytes(
    tiny: StackRecipe, brief: Path, monkeypatch: pytest.MonkeyPatch, place: str
) -> None:
    recipe = replace(tiny, epochs=4)
    owner, name = {"probabilities": (np, "savez_compressed"), "epoch": (loop, "_keep"), "folder": (stacking, "_write")}[
        place
    ]
    kept, calls = getattr(owner, name), 0

    def third_stops(*arguments: Any, **named: Any) -> Any:
        nonlocal calls
        calls += 1
        if calls == 3 or place == "folder":
            raise Killed
        return kept(*arguments, **named)

    with monkeypatch.context() as patch:
        patch.setattr(owner, name, third_stops)
        with pytest.raises(Killed):
            stack(recipe)
    torch.manual_seed(1)  # another process would begin with another generator
    folder = stack(recipe)
    for path in brief.rglob("*"):
        assert path.is_dir() or path.read_bytes() == (folder / path.relative_to(brief)).read_bytes()


def test_the_members_answer_once_for_an_image(
    tiny: StackRecipe, halves: list[FakeMember], monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = []
    monkeypatch.setattr(FakeMember, "probabilities", lambda self, image: asked.append(1) or self.answer(image))
    for _ in range(2):
        stack(replace(tiny, epochs=1))
    assert len(asked) == 15 * 2


def test_a_damaged_file_of_answers_is_named(tiny: StackRecipe) -> None:
    stack(replace(tiny, epochs=1))
    path = sorted((Path(tiny.output) / "probabilities").iterdir())[0]
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(ReadError, match=f"{path.name} is damaged: delete it"):
        stack(replace(tiny, epochs=1))


# --- nothing that a member has seen


def trained_on(members: list[FakeMember], split_sha256: str) -> list[FakeMember]:
    def recorded(member: FakeMember) -> FakeMember:
        data = replace(member.config.training_data, split_sha256=split_sha256)
        return replace(member, config=replace(member.config, training_data=data))

    return [recorded(member) for member in members]


def test_members_trained_on_another_division_are_refused(
    tiny: StackRecipe, halves: list[FakeMember], capsys: pytest.CaptureFixture[str]
) -> None:
    settings = schema.load(EnsembleConfig, Path(tiny.ensemble) / "ensemble.json")
    same = split_hash(load_data(Path(tiny.data)).samples)
    held_out_predictions(tiny, Ensemble(settings, trained_on(halves, same)))
    assert "is not checked" not in capsys.readouterr().out
    with pytest.raises(InputError, match="left was trained on another division of the data"):
        held_out_predictions(tiny, Ensemble(settings, trained_on(halves, "0" * 64)))


def test_a_member_that_does_not_record_its_division_is_named(
    tiny: StackRecipe, halves: list[FakeMember], capsys
) -> None:
    settings = schema.load(EnsembleConfig, Path(tiny.ensemble) / "ensemble.json")
    held_out_predictions(tiny, Ensemble(settings, halves))
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines if "is not checked" in line] == ["left", "right"]


# --- refusals


def test_a_damaged_member_is_refused(tiny: StackRecipe, halves: list[FakeMember], monkeypatch) -> None:
    settings = schema.load(EnsembleConfig, Path(tiny.ensemble) / "ensemble.json")
    one = Ensemble(replace(settings, members=settings.members[:1]), halves[:1], ["The member m1 is damaged."])
    monkeypatch.setattr(stacking, "Ensemble", SimpleNamespace(from_pretrained=lambda _: one))
    with pytest.raises(InputError, match=r"A stacker needs all members of tiny-binary\. The member m1 is damaged\."):
        stack(tiny)


@pytest.mark.filterwarnings("ignore::medseg.errors.MedsegWarning")  # the other discs are no part of it
def test_a_split_of_two_cases_is_too_small(tiny: StackRecipe, halves: list[FakeMember], tmp_path: Path) -> None:
    content = json.loads(Path(tiny.data).read_text(encoding="utf-8"))
    content["samples"] = content["samples"][:5]
    few = tmp_path / "few.json"
    few.write_text(json.dumps(content), encoding="utf-8")
    with pytest.raises(InputError, match="2 cases are too few to learn from some"):
        stack(replace(tiny, data=str(few)))


def test_the_flags_are_those_of_a_recipe_and_two_more() -> None:
    recipe = recipe_from_arguments(["--ensemble", "mine", "--with-image", "--lr", "1e-3"], StackRecipe)
    assert (recipe.ensemble, recipe.with_image, recipe.learning_rate) == ("mine", True, 1e-3)
    assert not recipe_from_arguments(["--ensemble", "mine"], StackRecipe).with_image


def test_a_recipe_file_may_name_the_ensemble(tmp_path: Path) -> None:
    path = tmp_path / "stack.toml"
    path.write_text('ensemble = "mine"\nwith_image = true\nloss = "bce"\n', encoding="utf-8")
    recipe = recipe_from_arguments(["--recipe", str(path)], StackRecipe)
    assert (recipe.ensemble, recipe.with_image, recipe.loss) == ("mine", True, "bce")


def test_a_stacker_needs_an_ensemble() -> None:
    with pytest.raises(ConfigError, match="ensemble must name the folder of an ensemble"):
        recipe_from_arguments([], StackRecipe)


def test_the_script_refuses_in_one_sentence(tmp_path: Path) -> None:
    shown = subprocess.run(
        [sys.executable, str(ROOT / "train" / "stack.py"), "--output", str(tmp_path)],
        env={**os.environ, "CUDA_VISIBLE_DEVICES": "", "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert shown.returncode == 1
    assert shown.stderr.startswith("error: ")
    assert "ensemble must name the folder" in shown.stderr
    assert shown.stderr.count("\n") == 1
