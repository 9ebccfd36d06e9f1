"""A member is trained on with corrected pairs: old data are mixed in, held-out images stay out, the verdict is said."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import torch

from medseg import schema
from medseg.config import MemberConfig
from medseg.errors import InputError
from medseg.export.training_pair import write_pair
from medseg.inference.member import load_network
from medseg.reading.readers import read_image, read_masks
from medseg.training import continuing
from medseg.training.continuing import continue_training
from tests.conftest import make_member

pytestmark = pytest.mark.usefixtures("on_the_cpu")


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


def test_old_data_are_mixed_in_and_its_held_out_images_stay_out(
    disc_pairs: Path, member: Path, old: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pairs = [pair(disc_pairs, tmp_path, number) for number in (7, 10, 11)]  # 7 validates
    folder = continue_training(str(member), pairs, old, tmp_path / "run", epochs=1)
    found = json.loads((tmp_path / "run" / "samples.json").read_text(encoding="utf-8"))["samples"]
    assert sorted(sample["split"] for sample in found) == ["train"] * 8 + ["val"] * 2
    said = capsys.readouterr().out
    assert "1 corrected images belong to the validation or test split and are left out." in said
    assert "Dice on 2 images of its own validation split: " in said
    written = schema.load(MemberConfig, folder / "member.json")
    assert written.name == "old-continued"
    assert written.training_data.name == "discs, and 2 corrected pairs"
    assert written.started_from is not None
    assert written.started_from.name == "old"


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


def test_too_few_pairs_are_refused(disc_pairs: Path, member: Path, old: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="2 corrected pairs are too few: wanted 3 or more, or --data"):
        continue_training(str(member), [pair(disc_pairs, tmp_path, n) for n in (0, 1)], None, tmp_path / "run")
    with pytest.raises(InputError, match="No corrected pair is left"):
        continue_training(str(member), [pair(disc_pairs, tmp_path, 6)], old, tmp_path / "run")


def test_a_refusal_is_one_sentence(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="error: init: 'nowhere' is no member"):
        continuing.main(["nowhere", str(tmp_path / "pairs.zip")])
