"""The command line as a whole: what --help promises, and how a command may end."""

from __future__ import annotations

import argparse
import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

from medseg.__main__ import main, parser
from medseg.commands import publish as command_publish
from medseg.commands.inspect import load_chosen
from medseg.data.samples import load_data
from tests.conftest import ROOT
from tests.data_sets import class_folders

COMMANDS = next(action for action in parser()._actions if isinstance(action, argparse._SubParsersAction))
TRAININGS = ["train", "stack", "distill", "continue", "study", "folds"]
NAMES = ["app", "inspect", "fit", "observe", "evaluate", "calibrate", "predict", "replay"]
NAMES += ["info", "selftest", "card", "push", "space", "export", "send"]


def test_help_names_every_command_and_the_exit_statuses(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["--help"])
    shown = capsys.readouterr().out
    assert ended.value.code == 0
    assert sorted(COMMANDS.choices) == sorted(NAMES + TRAININGS)
    assert {*NAMES, *TRAININGS} <= {line.split()[0] for line in shown.splitlines() if line.startswith("    ")}
    assert "Exit status: 0 done; 1 refused" in " ".join(shown.split())


@pytest.mark.parametrize("name", NAMES)
def test_help_explains_every_option_of_a_command(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main([name, "--help"])
    shown = capsys.readouterr().out
    assert ended.value.code == 0
    for action in COMMANDS.choices[name]._actions:
        assert action.help
        assert (action.option_strings or [action.metavar or action.dest])[-1] in shown


@pytest.mark.parametrize("name", sorted({*COMMANDS.choices} - {*TRAININGS} - {"card"}))
def test_help_says_that_embedded_ensembles_are_named_where_one_is_read(name: str) -> None:
    ensembles = [action for action in COMMANDS.choices[name]._actions if action.dest in {"ensemble", "folder"}]
    assert [action.dest for action in ensembles if "polyp, brain or chest" not in str(action.help)] == []


@pytest.mark.parametrize("name", NAMES)
def test_a_document_shows_every_command(name: str) -> None:
    pages = [ROOT / "README.md", *(ROOT / "docs").rglob("*.md")]
    assert any(re.search(rf"\bmedseg {name}\b", page.read_text("utf-8")) for page in pages)


@pytest.mark.parametrize("name", TRAININGS)
def test_the_trainings_read_their_own_arguments(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main([name, "--help"])
    assert ended.value.code == 0
    shown = capsys.readouterr().out
    assert shown.startswith(f"usage: medseg {name} ")
    assert "--output" in shown


@pytest.mark.parametrize(
    "arguments",
    [[], ["magic"], ["predict"], ["card", "a", "b"], ["predict", "polyp", "a.png", "--threshold", "0.5;0.3"]],
)
def test_what_is_not_understood_ends_with_status_2(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(arguments)
    assert ended.value.code == 2
    assert "usage: medseg" in capsys.readouterr().err


def test_an_interrupted_command_ends_with_status_130_and_no_traceback(monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(command_publish, "_card", interrupted)
    with pytest.raises(SystemExit) as ended:
        main(["card", "."])
    assert ended.value.code == 130


def test_help_does_not_wait_for_torch() -> None:
    code = "import sys, medseg.__main__; print([name for name in ('torch', 'gradio', 'numpy') if name in sys.modules])"
    shown = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert shown.stdout.strip() == "[]"


@pytest.mark.parametrize(
    "given", [["fit", "m", "--output", "o", "--name", "n", "--data"], ["evaluate", "e"], ["calibrate", "e"]]
)
def test_classes_are_united_and_a_fold_is_chosen_wherever_a_data_set_is_read(given: list[str], tmp_path: Path) -> None:
    data = tmp_path / "data"
    class_folders(data)
    (data / "LICENCES.csv").unlink()  # without it each image is a case of its own
    names = sorted(path.stem for path in (data / "images").iterdir())
    folds = [names[0::3], names[1::3], names[2::3]]
    (data / "splits.json").write_text(json.dumps({"unit": "case", "folds": folds}), encoding="utf-8")
    options = parser().parse_args([*given, str(data), "--labels", "any=*", "--fold", "1"])
    samples = load_chosen(options, fold=options.fold, quiet=True).samples
    assert samples == load_data(data, labels={"any": ["*"]}, fold=1, quiet=True).samples
    assert {sample.case for sample in samples if sample.split == "test"} == set(folds[1])
    image, masks = samples[0].read(("any",))
    assert masks.shape == (1, *image.size)
