"""The docs site: `.ci/run` builds it without a warning, and its notebooks run in tests/test_wheel.py."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.conftest import ROOT


def test_every_change_builds_the_site_strictly() -> None:
    lines = (ROOT / ".ci" / "run").read_text(encoding="utf-8").splitlines()
    (command,) = (line.split() for line in lines if "-m sphinx" in line)
    assert {"-W", "docs"} <= {*command}


@pytest.mark.parametrize("notebook", sorted((ROOT / "docs" / "notebooks").glob("*.ipynb")), ids=lambda path: path.stem)
def test_a_notebook_lies_here_without_outputs(notebook: Path) -> None:
    cells = json.loads(notebook.read_text(encoding="utf-8"))["cells"]
    assert [cell["id"] for cell in cells if cell.get("outputs") or cell.get("execution_count")] == []
