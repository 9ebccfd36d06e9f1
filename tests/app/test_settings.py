"""The container and the page about serving say what the code does."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from medseg.app.server.settings import NAMES
from medseg.hub.space import FILES, FOLDERS
from tests.conftest import ROOT

DOCKERFILE = (ROOT / "Dockerfile").read_text(encoding="utf-8")
PAGE = (ROOT / "docs" / "programs.md").read_text(encoding="utf-8")


def steps(kind: str) -> list[str]:
    return re.findall(rf"^{kind} (.*)$", DOCKERFILE, re.MULTILINE)


def test_the_container_does_not_run_as_root_and_says_whether_it_is_well() -> None:
    assert steps("USER") == ["1000"]
    assert DOCKERFILE.index("USER 1000") < DOCKERFILE.index('CMD ["python", "app.py"]')
    assert "HEALTHCHECK" in DOCKERFILE
    assert "http://127.0.0.1:7860/health" in DOCKERFILE


def test_the_container_holds_what_a_space_holds_but_torch_and_nothing_else() -> None:
    copied = {name for step in steps("COPY") for name in step.split()[:-1] if not name.startswith("--")}
    assert copied == {*FILES, *FOLDERS} - {"requirements.txt"} | {"requirements-cpu.lock"}
    let_in = {line[1:] for line in (ROOT / ".dockerignore").read_text().splitlines() if line.startswith("!")}
    assert let_in == copied


def test_the_container_has_the_python_of_a_space() -> None:
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    version = re.search(r'^python_version: "(.*)"$', readme, re.MULTILINE)
    assert version
    assert steps("FROM")[0].startswith(f"python:{version[1]}-slim")


def test_hadolint_has_nothing_to_say() -> None:
    beside = str(Path(sys.executable).parent)  # of an environment that nobody has activated
    hadolint = shutil.which("hadolint", path=os.pathsep.join([beside, os.environ.get("PATH", "")]))
    if hadolint is None:
        pytest.skip("hadolint is not installed (extra dev)")
    said = subprocess.run([hadolint, "Dockerfile"], cwd=ROOT, capture_output=True, text=True, check=False)
    assert (said.returncode, said.stdout) == (0, "")


def test_every_variable_that_the_page_reads_is_documented() -> None:
    code = (ROOT / "medseg" / "app").rglob("*.py")
    read = {name for path in code for name in re.findall(r'"(MEDSEG_[A-Z_]+)"', path.read_text(encoding="utf-8"))}
    pages = PAGE + (ROOT / "docs" / "dicom.md").read_text(encoding="utf-8")  # the archive's are there
    documented = set(re.findall(r"^\| `(MEDSEG_[A-Z_]+)`", pages, re.MULTILINE))
    assert read
    assert read <= documented
    assert documented <= set(NAMES)  # what is no setting may be a slip
