"""How commands end, and what of their progress a log shows."""

from __future__ import annotations

import errno
import io
import os
import sys
import warnings
from pathlib import Path

import pytest

from medseg import progress
from medseg.ending import ending
from medseg.errors import InputError, MedsegWarning
from medseg.progress import Bar
from medseg.writing import replacing
from tests.conftest import ROOT


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_short_work_says_nothing_in_a_log(capsys: pytest.CaptureFixture[str]) -> None:
    assert list(Bar(range(3), desc="reading")) == [0, 1, 2]
    with Bar(total=2, desc="checking") as bar:
        bar.advance(1, 2)
    assert capsys.readouterr().err == ""


def test_long_work_says_a_line_now_and_then_in_a_log(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(progress, "SECONDS", 0.0)
    with Bar(total=2, desc="checking") as bar:
        bar.advance(1, 2)
    shown = capsys.readouterr().err
    assert "checking: 1 of 2 after 00:0" in shown
    assert "\r" not in shown


def test_a_terminal_has_a_bar_but_of_the_first_process_only(monkeypatch: pytest.MonkeyPatch) -> None:
    for rank, bars in (("0", True), ("1", False)):
        monkeypatch.setenv("RANK", rank)
        monkeypatch.setattr(sys, "stderr", Terminal())
        list(Bar(range(3), desc="reading"))
        assert ("reading: 100%" in sys.stderr.getvalue()) is bars  # type: ignore[attr-defined]


def test_nothing_else_draws_bars() -> None:
    drawing = [path.name for path in (ROOT / "medseg").rglob("*.py") if "import tqdm" in path.read_text("utf-8")]
    assert drawing == ["progress.py"]


@pytest.mark.filterwarnings("default::medseg.errors.MedsegWarning")
@pytest.mark.parametrize(
    ("raised", "status"),
    [
        (InputError("No."), "error: No."),
        (PermissionError(13, "Permission denied", "runs/a"), "error: runs/a: Permission denied."),
        (KeyboardInterrupt(), 130),
    ],
)
def test_what_users_and_machines_do_ends_in_a_sentence(
    raised: BaseException, status: object, capsys: pytest.CaptureFixture[str]
) -> None:
    again: list[str] = []

    def work() -> None:
        with ending(again.append, "Stopped."):
            warnings.warn("Left out: 2 files.", MedsegWarning, stacklevel=1)
            raise raised

    with pytest.raises(SystemExit) as ended:
        work()
    assert ended.value.code == status
    assert again == [status if isinstance(status, str) else "Stopped."]
    assert capsys.readouterr().err == "note: Left out: 2 files.\n" + "Stopped.\n" * (status == 130)


@pytest.mark.parametrize(
    "command",
    [
        ["study", "hyperkvasir-small"],
        ["folds", "missing.toml"],
        ["continue", "polyp-unet-lite0", "missing"],
    ],
)
def test_a_training_into_a_folder_that_cannot_be_made_is_refused_in_a_sentence(
    command: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from medseg.__main__ import main

    monkeypatch.chdir(tmp_path)
    Path("file").touch()
    with pytest.raises(SystemExit, match=r"^error: "):
        main([*command, "--output", "file/run"])


def test_a_full_disk_is_named_with_the_file_that_was_to_be_written(tmp_path: Path) -> None:
    with pytest.raises(OSError, match=r"No space left on device: .*/scores\.json"), replacing(tmp_path / "scores.json"):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    assert list(tmp_path.iterdir()) == []
