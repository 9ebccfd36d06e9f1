"""The guide's way from a folder to an ensemble, run as it is written there, with fewer images and epochs."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import PIL.Image

from tests.conftest import ROOT


def code(kind: str) -> str:
    """The section's block of that language."""
    guide = (ROOT / "docs" / "own-data.md").read_text(encoding="utf-8")
    section = guide.split("## Train, fit, evaluate\n")[1].split("\n## ")[0]
    (block,) = re.findall(rf"```{kind}\n(.*?)```", section, re.DOTALL)
    return str(block)


def test_the_commands_lead_from_a_folder_to_an_image(tmp_path: Path) -> None:
    script = code("bash")
    for written, smaller in (("60,", "24,"), ("--epochs 20", "--epochs 1 --size 32")):
        assert written in script
        script = script.replace(written, smaller)
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    settings = {"PATH": path, "OMP_NUM_THREADS": "1", "ACCELERATE_USE_CPU": "true", "CUDA_VISIBLE_DEVICES": ""}
    for command in (["bash", "-e", "-c", script], [sys.executable, "-c", code("python")]):
        shown = subprocess.run(
            [part.replace("runs/", f"{tmp_path}/") for part in command],
            cwd=ROOT,
            env={**os.environ, **settings},
            capture_output=True,
            text=True,
            timeout=500,
            check=False,
        )
        assert shown.returncode == 0, shown.stderr
        assert "is not checked" not in shown.stdout  # the stacker's images were held out from members trained here
    assert (tmp_path / "stack" / "ensemble" / "ensemble.json").is_file()
    with PIL.Image.open(tmp_path / "overlay.png") as overlay:
        assert overlay.size == (128, 128)
