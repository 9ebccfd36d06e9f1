"""The self-test of an ensemble: it answers as where it was made, and what changed its answers is found."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from safetensors.torch import load_file, save_file

from medseg.__main__ import main
from medseg.errors import ConfigError, InputError
from medseg.inference.member import file_sha256
from medseg.inference.selftest import IMAGE, RECORD, compare_selftest, write_selftest
from tests.conftest import ROOT, make_ensemble

FAMILIES = sorted(path.parent for path in (ROOT / "assets" / "ensembles").glob("*/ensemble.json"))


@pytest.mark.parametrize("family", FAMILIES, ids=lambda path: path.name)
def test_every_embedded_ensemble_answers_as_where_it_was_made(family: Path) -> None:
    drift = compare_selftest(family)
    assert drift.is_small, drift


@pytest.fixture
def folder(tmp_path: Path, disc_pairs: Path) -> Path:
    make_ensemble(tmp_path / "ensemble", (0.7, 0.3))
    write_selftest(tmp_path / "ensemble", disc_pairs / "images" / "case00.png")
    return tmp_path / "ensemble"


def test_the_same_ensemble_has_not_drifted_at_all(folder: Path) -> None:
    drift = compare_selftest(folder)
    assert drift.is_small
    assert max(drift.members.values()) <= 1e-4
    assert drift.masks == {"blob": 1.0}


def test_a_member_with_other_preprocessing_is_told_apart_from_the_others(folder: Path) -> None:
    members = [entry["source"] for entry in json.loads((folder / "ensemble.json").read_text())["members"]]
    path = folder / members[1] / "member.json"
    entry = json.loads(path.read_text())
    entry["preprocess"]["mean"] = [0.0, 0.9, 0.0]
    path.write_text(json.dumps(entry))
    _renew_hash(folder, members[1])
    first, second = compare_selftest(folder).members.values()
    assert first <= 1e-4 < second


def test_weights_that_were_changed_are_found(folder: Path) -> None:
    member = json.loads((folder / "ensemble.json").read_text())["members"][0]["source"]
    weights = folder / member / "model.safetensors"
    state = load_file(weights)
    state["segmentation_head.0.bias"] += 1.0
    save_file(state, weights)
    path = folder / member / "member.json"
    entry = json.loads(path.read_text())
    entry["files"]["model.safetensors"] = file_sha256(weights)
    path.write_text(json.dumps(entry))
    _renew_hash(folder, member)
    assert not compare_selftest(folder).is_small


def test_the_command_keeps_an_image_and_then_tells_a_changed_ensemble(
    folder: Path, disc_pairs: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (folder / RECORD).unlink()
    main(["selftest", str(folder), "--write", str(disc_pairs / "images" / "case01.png")])
    assert "mask of blob: Dice 1.0000 with the one kept" in capsys.readouterr().out
    kept = json.loads((folder / RECORD).read_text())
    kept["members"] = {name: [value + 0.1 for value in values] for name, values in kept["members"].items()}
    (folder / RECORD).write_text(json.dumps(kept))
    with pytest.raises(SystemExit) as ended:
        main(["selftest", str(folder)])
    assert ended.value.code == 1
    assert "probabilities within 0.1" in capsys.readouterr().out


def test_a_folder_without_the_image_is_refused_in_one_sentence(folder: Path) -> None:
    (folder / IMAGE).unlink()
    with pytest.raises(InputError, match=r"has no golden\.png with golden\.json"):
        compare_selftest(folder)


def test_answers_of_another_ensemble_are_refused(folder: Path) -> None:
    kept = json.loads((folder / RECORD).read_text())
    kept["members"] = {"stranger": next(iter(kept["members"].values()))}
    (folder / RECORD).write_text(json.dumps(kept))
    with pytest.raises(ConfigError, match="not of this ensemble"):
        compare_selftest(folder)


def _renew_hash(folder: Path, member: str) -> None:
    path = folder / "ensemble.json"
    settings = json.loads(path.read_text())
    for entry in settings["members"]:
        if entry["source"] == member:
            entry["sha256"] = file_sha256(folder / member / "member.json")
    path.write_text(json.dumps(settings))
