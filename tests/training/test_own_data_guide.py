"""The guide's way from a folder to an ensemble, run as it is written there, with fewer images and epochs."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import PIL.Image
import pytest

from medseg.__main__ import main
from medseg.inference import member
from tests.conftest import ROOT, without_graph


def code(kind: str) -> str:
    """The section's block of that language."""
    guide = (ROOT / "docs" / "own-data.md").read_text(encoding="utf-8")
    section = guide.split("## Train, fit, evaluate\n")[1].split("\n## ")[0]
    (block,) = re.findall(rf"```{kind}\n(.*?)```", section, re.DOTALL)
    return str(block)


def carry_out(command: str) -> None:
    """In this process; that `accelerate launch` starts the modules is shown by test_train_launch.py."""
    words = shlex.split(command)
    if words[:2] == ["python", "-c"]:
        exec(words[2], {})  # noqa: S102
    elif words[:3] == ["python", "-m", "medseg"]:
        main(words[3:])
    else:
        assert words[:4] == ["accelerate", "launch", "-m", "medseg.training"]
        main(words[4:] if words[4] == "stack" else ["train", *words[4:]])


@pytest.mark.filterwarnings("default")  # what few images leave in doubt is a warning, and no fault
def test_the_commands_lead_from_a_folder_to_an_image(
    on_the_cpu: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Without the graphs of the networks, which take seconds each and are those of test_member.py."""
    monkeypatch.setattr(member, "_graph_of", without_graph)
    monkeypatch.chdir(tmp_path)
    script = code("bash")
    for written, smaller in (("60,", "24,"), ("--epochs 20", "--epochs 1 --size 32"), ("--size 128 ", "")):
        assert written in script
        script = script.replace(written, smaller)
    for command in script.replace("\\\n", " ").splitlines():
        carry_out(command)
    exec(code("python"), {})  # noqa: S102
    assert "is not checked" not in capsys.readouterr().out  # the stacker's images: held out from members trained here
    assert (tmp_path / "runs" / "stack" / "ensemble" / "ensemble.json").is_file()
    with PIL.Image.open(tmp_path / "runs" / "overlay.png") as overlay:
        assert overlay.size == (128, 128)
