"""What the page says of its ensembles is what their JSON files say."""

from __future__ import annotations

import json
from pathlib import Path

from medseg.app.render.about import about
from medseg.places import shipped


def test_an_ensemble_is_told_with_data_licence_members_and_the_scores_of_its_folder() -> None:
    folder = shipped("assets/ensembles/polyp")
    words = about({"polyp": folder})
    member = json.loads((folder / "polyp-fpn-lite1" / "member.json").read_text(encoding="utf-8"))
    report = json.loads((folder / "scores.json").read_text(encoding="utf-8"))
    dice = report["rows"]["ensemble"]["polyp"]["per_image_all"]["dice"]
    for wanted in ("polyp-fpn-lite1", member["weights_licence"], member["training_data"]["citation"], "n = 100"):
        assert wanted in words
    assert f"| ensemble | {dice['mean']:.3f} [{dice['low']:.3f}, {dice['high']:.3f}] |" in words


def test_without_scores_that_is_said_and_the_members_own_are_shown(tiny_ensemble: Path) -> None:
    assert "not scored on a test split" in about({"tiny": tiny_ensemble})


def test_a_repository_of_the_hub_and_a_folder_that_is_gone_are_said(tmp_path: Path) -> None:
    words = about({"owner/name": "owner/name", "gone": tmp_path / "gone"})
    assert "Hugging Face Hub" in words
    assert "## gone" in words
