"""The docs site is built without a warning. Its notebooks run in tests/test_wheel.py."""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import ROOT


@pytest.mark.skipif(importlib.util.find_spec("myst_nb") is None, reason="the extra docs is not installed")
def test_the_site_is_built_without_a_warning(tmp_path: Path) -> None:
    site = tmp_path / "site"
    strictly = ("-W", "--keep-going", "-q", "-D", "nb_execution_mode=off")
    command = [sys.executable, "-m", "sphinx", *strictly, "-d", str(tmp_path / "trees"), str(ROOT / "docs"), str(site)]
    built = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert (built.returncode, built.stderr) == (0, "")
    assert "from_pretrained" in (site / "reference" / "inference.html").read_text(encoding="utf-8")


@pytest.mark.parametrize("notebook", sorted((ROOT / "docs" / "notebooks").glob("*.ipynb")), ids=lambda path: path.stem)
def test_a_notebook_lies_here_without_outputs(notebook: Path) -> None:
    cells = json.loads(notebook.read_text(encoding="utf-8"))["cells"]
    assert [cell["id"] for cell in cells if cell.get("outputs") or cell.get("execution_count")] == []
