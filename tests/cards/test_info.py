"""What `info` says of an ensemble, a member, and of files that are not what they should be."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from medseg.__main__ import main
from medseg.app.render.about import about
from medseg.cards.info import describe
from medseg.inference.member import file_sha256
from medseg.report.words import of_today
from tests.conftest import ROOT, with_stacker


@pytest.fixture
def folder(plain_ensemble: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(plain_ensemble, tmp_path / "ensemble"))


def test_an_ensemble_is_said_with_its_settings_and_each_member_with_its_hashes(folder: Path) -> None:
    text, intact = describe(folder)
    lines = text.splitlines()
    assert intact
    assert lines[0] == "tiny-binary: binary, blob"
    assert lines[1] == "2 members, blend weighted mean, threshold 0.5, clean-up none"
    assert "m0: weight 0.75" in lines
    assert "    PlainUNet, 0.0 MB, files intact" in lines
    assert "    weights Apache-2.0; trained on discs (Apache-2.0)" in lines
    assert f"    model.safetensors sha256 {file_sha256(folder / 'm1' / 'model.safetensors')}" in lines


def test_scores_and_the_choice_of_weights_are_said_with_their_protocol() -> None:
    text, _ = describe(ROOT / "assets" / "ensembles" / "polyp")
    assert "weights: fitted, chosen on kvasir-seg" in text
    assert "dice 0.884 [0.847, 0.914] on val, n = 100" in text


@pytest.mark.parametrize("family", ["polyp", "brain", "chest"])
def test_words_of_older_json_files_are_shown_in_those_of_today(family: str) -> None:
    folder = ROOT / "assets" / "ensembles" / family
    shown = [describe(folder)[0], about({family: folder}), *(path.read_text("utf-8") for path in folder.rglob("*.md"))]
    assert [line for text in shown for line in text.splitlines() if "picture" in line.lower()] == []
    assert of_today("my pictures of training") == "my pictures of training"


def test_a_member_alone_and_a_stacker_are_said_too(folder: Path) -> None:
    assert describe(folder / "m0")[0].splitlines()[1].startswith("1 member, ")
    text, intact = describe(with_stacker(folder))
    assert intact
    assert "top: the stacker" in text


@pytest.mark.parametrize(
    ("damage", "sentence"),
    [
        ("m1/model.safetensors", "DAMAGED: model.safetensors missing, or not what member.json promises"),
        ("m1/member.json", "DAMAGED: its member.json is missing, or is not what ensemble.json promises"),
    ],
)
def test_a_changed_file_is_named_and_ends_with_status_1(
    folder: Path, damage: str, sentence: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with (folder / damage).open("ab") as stream:
        stream.write(b" ")
    with pytest.raises(SystemExit) as ended:
        main(["info", str(folder)])
    assert ended.value.code == 1
    assert sentence in capsys.readouterr().out


def test_a_member_on_the_hub_is_named_and_not_asked_for(folder: Path) -> None:
    settings = json.loads((folder / "ensemble.json").read_text())
    settings["members"][0] |= {"source": "someone/net", "revision": "0" * 40}
    (folder / "ensemble.json").write_text(json.dumps(settings))
    text, intact = describe(folder)
    assert intact
    assert f"on the Hub: someone/net@{'0' * 40}" in text
