"""A member is trained on with corrected pairs: old data validate how far it goes, and the verdict is said."""

from __future__ import annotations

import json
import re
import shutil
from collections import Counter
from pathlib import Path

import pytest
import torch

from medseg import schema
from medseg.config import Appearance, MemberConfig
from medseg.data.manifest import Sample
from medseg.data.samples import load_data, select
from medseg.errors import InputError
from medseg.export.training_pair import write_pair
from medseg.inference.member import load_network
from medseg.reading.readers import read_image, read_masks
from medseg.training import continuing, part_way
from medseg.training.continuing import continue_training, lesson
from medseg.training.part_way import both, go_part_way
from medseg.training.recipe import Recipe
from tests.conftest import make_member

pytestmark = pytest.mark.usefixtures("on_the_cpu")


@pytest.fixture(autouse=True)
def one_step(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(continuing, "STEPS", 1)


@pytest.fixture
def member(tmp_path: Path) -> Path:
    make_member(tmp_path / "member", "old", 0, labels=("disc",), plain=True)
    return tmp_path / "member"


@pytest.fixture
def old(disc_pairs: Path, tmp_path: Path) -> Path:
    """case00 to case05 to train on, case06 and case07 to validate on."""
    data = tmp_path / "old"
    for name in ("images", "masks"):
        (data / name).mkdir(parents=True)
        for number in range(8):
            shutil.copy(disc_pairs / name / f"case{number:02d}.png", data / name)
    stems = [f"case{number:02d}" for number in range(8)]
    (data / "splits.json").write_text(json.dumps({"train": stems[:6], "val": stems[6:]}), encoding="utf-8")
    return data


def pair(disc_pairs: Path, place: Path, number: int) -> Path:
    """One corrected pair as the page gives it."""
    image = read_image(disc_pairs / "images" / f"case{number:02d}.png")
    masks = read_masks(disc_pairs / "masks" / f"case{number:02d}.png", ["disc"])
    write_pair(image, masks, ("disc",), place / f"pair{number}.zip")
    return place / f"pair{number}.zip"


def test_old_data_validate_and_their_held_out_images_are_not_trained_on(
    disc_pairs: Path, member: Path, old: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pairs = [pair(disc_pairs, tmp_path, number) for number in (7, 10, 11)]  # 7 validates
    folder = continue_training(str(member), pairs, old, tmp_path / "run", epochs=1)
    found = json.loads((tmp_path / "run" / "samples.json").read_text(encoding="utf-8"))["samples"]
    assert sorted(sample["split"] for sample in found) == ["train"] * 8 + ["val"] * 2
    said = capsys.readouterr().out
    assert re.search(r"corrected images of the validation or test split \(1\), the first: image-\w+\.png", said)
    assert "Dice on 2 images of the validation split: " in said
    written = schema.load(MemberConfig, folder / "member.json")
    assert written.name == "old-continued"
    assert written.training_data.name == "discs, and 2 corrected pairs"
    assert written.started_from is not None
    assert written.started_from.name == "old"


def test_an_image_of_a_folder_that_is_left_out_is_named_with_its_reason_alone(
    disc_pairs: Path, member: Path, old: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("images", "masks"):
        (tmp_path / "pairs" / name).mkdir(parents=True)
        for stem in ("case07", "case10", "case11"):  # 7 validates
            shutil.copy(disc_pairs / name / f"{stem}.png", tmp_path / "pairs" / name)
    continue_training(str(member), [tmp_path / "pairs"], old, tmp_path / "run", epochs=1)  # without a warning
    said = "Left out: corrected images of the validation or test split (1), the first: case07.png.\n"
    assert capsys.readouterr().out.count(said) == 1


def test_without_old_data_some_corrected_cases_validate(
    disc_pairs: Path, member: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pairs = [pair(disc_pairs, tmp_path, number) for number in range(6)]
    folder = continue_training(str(member), pairs, None, tmp_path / "run", epochs=1)
    found = json.loads((tmp_path / "run" / "samples.json").read_text(encoding="utf-8"))["samples"]
    assert [sample["split"] for sample in found].count("val") == 2
    assert "Whether it forgot others cannot be told without --data" in capsys.readouterr().out
    before, after = (load_network(place).state_dict() for place in (member, folder))
    changed = {name for name, value in after.items() if not torch.equal(value, before[name])}
    assert {name.rpartition(".")[2] for name in changed} == {"weight", "bias"}  # no statistic is of six images


@pytest.mark.parametrize(("pairs", "times"), [(1, 8), (3, 3), (30, 1)])
def test_an_epoch_repeats_corrections_until_it_has_its_steps(pairs: int, times: int) -> None:
    samples = [Sample(Path(f"{n}.png"), (), f"corrected {n}", "train") for n in range(pairs)]
    old = Sample(Path("old.png"), (), "old", "train")
    assert Counter(sample.case for sample in lesson([old, *samples])) == {sample.case: times for sample in samples}


@pytest.mark.parametrize("values", [{0.5: 0.9}, {0.5: 0.5, 0.25: 0.9}, {0.5: 0.4, 0.25: 0.5}])
def test_it_goes_as_far_as_old_images_bear_it(
    values: dict[float, float], old: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    way, score = list(values.items())[-1]
    places = [tmp_path / name for name in ("start", "end")]
    for seed, place in enumerate(places):
        make_member(place, place.name, seed, labels=("disc",), plain=True)
    dices = iter([torch.full((2, 1), value) for value in (0.9, *values.values())])
    monkeypatch.setattr(part_way, "dices_of", lambda *_: next(dices))
    recipe = Recipe(init=str(places[0]), labels=("disc",))
    said = go_part_way(recipe, places[1], select(load_data(old).samples, "val"), tmp_path / "new", old=True)
    assert f"/new, {way:g} of the way to the trained weights." in said
    assert f"Dice on 2 images of the validation split: 0.900 before, {score:.3f} after." in said
    assert ("keep the old one" in said) is (score < 0.9)
    first, last, new = (load_network(place).state_dict() for place in (*places, tmp_path / "new"))
    for name, value in new.items():
        mixed = first[name] + way * (last[name] - first[name])
        torch.testing.assert_close(value, mixed, atol=1e-3, rtol=1e-3, check_dtype=False)
    assert schema.load(MemberConfig, tmp_path / "new" / "member.json").scores[0].value == pytest.approx(score)


def test_the_new_member_knows_the_look_of_old_and_new_images() -> None:
    new, old = Appearance((0.1, 0.4), (0.2, 0.3), (0.0, 0.1)), Appearance((0.2, 0.6), (0.1, 0.4), (0.2, 0.3))
    assert both(new, old) == Appearance((0.1, 0.6), (0.1, 0.4), (0.0, 0.3))
    assert both(new, None) is None


def test_too_few_pairs_are_refused(disc_pairs: Path, member: Path, old: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="2 corrected pairs are too few: wanted 3 or more, or --data"):
        continue_training(str(member), [pair(disc_pairs, tmp_path, n) for n in (0, 1)], None, tmp_path / "run")
    with pytest.raises(InputError, match="No corrected pair is left"):
        continue_training(str(member), [pair(disc_pairs, tmp_path, 6)], old, tmp_path / "run")


def test_a_refusal_is_one_sentence(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="error: init: 'nowhere' is no member"):
        continuing.main(["nowhere", str(tmp_path / "pairs.zip")])
