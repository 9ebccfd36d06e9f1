"""What a member was trained on is said by the user or known of the layout; unknown is not pushed."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from medseg import schema
from medseg.__main__ import main
from medseg.config import UNKNOWN, MemberConfig
from medseg.errors import ConfigError, InputError
from medseg.hub.push import push
from medseg.inference.ensemble import Ensemble
from medseg.inference.member import file_sha256
from medseg.training.data import PHANTOMS, provenance
from medseg.training.defaults import choose
from medseg.training.recipe import Recipe, recipe_from_settings
from tests.conftest import make_ensemble
from tests.data_sets import kvasir, save, scene
from tests.hub_server import REPO, Hub, files_of


@pytest.fixture
def unknown(tmp_path: Path) -> Path:
    """An ensemble whose members do not know what they were trained on, with its cards."""
    folder = tmp_path / "e"
    make_ensemble(folder, (0.75, 0.25))
    pinned = (folder / "ensemble.json").read_text(encoding="utf-8")
    for path in folder.glob("*/member.json"):
        before = file_sha256(path)
        schema.dump(replace(schema.load(MemberConfig, path), training_data=UNKNOWN), path)
        pinned = pinned.replace(before, file_sha256(path))
    (folder / "ensemble.json").write_text(pinned, encoding="utf-8")
    main(["card", str(folder)])
    return folder


def test_unknown_training_data_are_not_pushed_until_somebody_says_them(unknown: Path, hub: Hub) -> None:
    with pytest.raises(InputError, match=r"medseg card .* --trained-on NAME --data-licence LICENCE"):
        push(unknown, REPO)
    assert REPO not in hub.repos
    main(["card", str(unknown), "--trained-on", "My polyps", "--data-licence", "CC BY 4.0"])
    members = Ensemble.from_pretrained(unknown).members  # the hashes hold
    assert {(m.config.training_data.name, m.config.training_data.licence) for m in members} == {
        ("My polyps", "CC BY 4.0")
    }
    assert "My polyps" in (unknown / "README.md").read_text(encoding="utf-8")
    push(unknown, REPO)
    assert b"My polyps" in files_of(hub)["README.md"]


@pytest.mark.parametrize("words", [["--trained-on", "x"], ["--trained-on", " Unknown", "--data-licence", "CC0"]])
def test_half_a_provenance_is_refused(unknown: Path, words: list[str]) -> None:
    with pytest.raises(SystemExit, match="Name the training data and their licence, both"):
        main(["card", str(unknown), *words])


def test_phantoms_are_said_of_phantoms_alone(tmp_path: Path) -> None:
    assert provenance(Recipe()) == PHANTOMS
    assert provenance(Recipe(data=str(tmp_path))) == UNKNOWN
    with pytest.raises(ConfigError, match="name what the masks of your data mark"):
        recipe_from_settings({"data": str(tmp_path)})


def test_a_layout_that_knows_its_data_says_so_and_others_are_unknown(tmp_path: Path) -> None:
    for number in range(8):
        save(tmp_path / "own" / "images" / f"{number}.png", scene(number))
        save(tmp_path / "own" / "masks" / f"{number}.png", scene(number)[..., 0] > 99)
    kvasir(tmp_path / "kvasir")
    (tmp_path / "kvasir" / "splits.json").write_text('{"train": ["a"], "val": ["b"]}')
    stated = {
        name: {choice.name: choice.value for choice in choose({"data": str(tmp_path / name), "labels": ["x"]})}
        for name in ("own", "kvasir")
    }
    assert stated["own"]["training_data"] == {"name": "unknown", "licence": "unknown"}
    assert stated["kvasir"]["training_data"]["licence"] == "CC BY 4.0"
