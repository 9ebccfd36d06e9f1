"""The scripts of examples/ run as they stand, at their smallest size."""

from __future__ import annotations

import os
import re
import runpy
import subprocess
import sys
from pathlib import Path

import PIL.Image
import pytest

import medseg
from medseg import schema
from medseg.__main__ import main
from medseg.app.state.registry import Registry, standard_sources
from medseg.config import MemberConfig
from medseg.inference import member
from tests.conftest import ROOT, without_graph

EXAMPLES = ROOT / "examples"
SMALLEST = ["--size", "32", "--epochs", "1", "--batch-size", "4", "--architecture", "plainunet", "--encoder", "none"]
SMALLEST += ["--decoder", '{"depth": 1, "width": 4}']


def run(monkeypatch: pytest.MonkeyPatch, script: str, *arguments: object) -> None:
    monkeypatch.setattr(sys, "argv", [script, *map(str, arguments)])
    runpy.run_path(str(EXAMPLES / script), run_name="__main__")


def test_an_image_is_segmented(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    run(monkeypatch, "segment.py", "--output", tmp_path / "overlay.png")
    with PIL.Image.open(tmp_path / "overlay.png") as overlay:
        assert overlay.size == (512, 512)
    assert re.search(r"polyp-fpn-lite1 alone: \d+ pixels", capsys.readouterr().out)


def test_weights_are_searched_and_scored_on_other_images(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    run(monkeypatch, "optimal_weights.py", "--images", 3, "--output", tmp_path / "weights")
    shown = capsys.readouterr().out
    assert "fitted − equal" in shown
    assert "test split, n = 3" in shown
    assert medseg.Ensemble.from_pretrained(tmp_path / "weights" / "ensemble").names
    with pytest.raises(SystemExit):  # nobody's folder is deleted
        run(monkeypatch, "optimal_weights.py", "--output", tmp_path)
    assert "is there already: delete it, or name another" in capsys.readouterr().err


def commands(out: Path) -> list[list[str]]:
    """What four_classes.sh would run with its results in `out`: bash reads it, and lists instead of running."""
    listing = 'medseg() { printf "%s\\0" "$@"; printf "\\n"; }; python() { :; }; . "$0"'
    shell = ["bash", "-c", listing, EXAMPLES / "four_classes.sh"]
    env = {**os.environ, "OUT": str(out), "REAL": ""}
    lines = subprocess.run(shell, env=env, capture_output=True, text=True, check=True).stdout.split("\0\n")
    return [line.split("\0") for line in lines[:-1]]


@pytest.mark.filterwarnings("ignore::medseg.errors.MedsegWarning")  # of few cases, and of members without a graph
def test_four_labels_go_from_films_to_the_page_and_the_exports(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(member, "_graph_of", without_graph)
    run(monkeypatch, "four_classes.py", tmp_path / "data", "--films", 24, "--size", 48)
    exported: list[tuple[object, ...]] = []
    monkeypatch.setattr("medseg.export.model.export_model", lambda *asked: exported.append(asked) or ["written"])
    steps = commands(tmp_path)
    names = " ".join(step[0] for step in steps)
    assert names == "inspect train train fit calibrate evaluate predict export"
    for name, *arguments in steps:
        main([name, *arguments, *(SMALLEST if name == "train" else [])])
    configs = [schema.load(MemberConfig, tmp_path / name / "member" / "member.json") for name in ("weighted", "focal")]
    assert len({config.training_data.split_sha256 for config in configs}) == 1  # nobody is tested on the other's films
    monkeypatch.setenv("MEDSEG_ENSEMBLES", str(tmp_path / "ensemble"))
    registry = Registry(standard_sources())
    shown = registry.get(registry.names[0])  # what the page opens with
    assert shown.config.labels == ("airways", "finding", "heart", "lungs")
    assert (tmp_path / "ensemble" / "calibration.json").is_file()
    assert "finding" in (tmp_path / "report" / "report.html").read_text(encoding="utf-8")
    assert sorted(path.name for path in (tmp_path / "results").glob("*.png"))
    assert exported == [(str(tmp_path / "ensemble"), tmp_path / "four-classes.onnx", "onnx")]
