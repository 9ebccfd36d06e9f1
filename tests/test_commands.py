"""The command line as a whole: what --help promises, and how a command may end."""

from __future__ import annotations

import argparse
import subprocess
import sys

import pytest

from medseg import command_publish
from medseg.__main__ import main, parser
from tests.conftest import ROOT

COMMANDS = next(action for action in parser()._actions if isinstance(action, argparse._SubParsersAction))
NAMES = ["inspect", "fit", "evaluate", "calibrate", "predict", "replay", "info", "card", "push", "space"]


def test_help_names_every_command_and_the_exit_statuses(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["--help"])
    shown = capsys.readouterr().out
    assert ended.value.code == 0
    assert sorted(COMMANDS.choices) == sorted(NAMES)
    assert set(NAMES) <= {line.split()[0] for line in shown.splitlines() if line.startswith("    ")}
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


@pytest.mark.parametrize("name", NAMES)
def test_the_readme_shows_every_command(name: str) -> None:
    assert f"python -m medseg {name} " in (ROOT / "README.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("arguments", [[], ["magic"], ["predict"], ["card", "a", "b"]])
def test_what_is_not_understood_ends_with_status_2(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(arguments)
    assert ended.value.code == 2
    assert "usage: python -m medseg" in capsys.readouterr().err


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
