"""What the container installs: every package by version and hash, all that is asked for, in a bill of materials."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from tests.advisories import verdict
from tests.conftest import ROOT
from tests.test_without_torch import installed

LOCK = ROOT / "requirements-cpu.lock"
PIN = re.compile(r"([a-z0-9-]+)==(\S+) \\\n((?:    --hash=sha256:[0-9a-f]{64}(?: \\)?\n)+)")


@pytest.fixture(scope="module")
def pins() -> dict[str, str]:
    text = "".join(line for line in LOCK.read_text().splitlines(keepends=True) if not line.startswith("#"))
    assert PIN.sub("", text) == ""  # nothing without a version and a hash
    return {name: version for name, version, _ in PIN.findall(text)}


def test_the_lock_satisfies_the_requirements(pins: dict[str, str]) -> None:
    lines = (ROOT / "requirements-cpu.txt").read_text(encoding="utf-8").splitlines()
    asked = [Requirement(line.partition("#")[0]) for line in lines if not line.startswith("#")]
    assert asked
    assert [str(need) for need in asked if not need.specifier.contains(pins[canonicalize_name(need.name)])] == []


def test_the_lock_names_all_that_the_requirements_bring(pins: dict[str, str]) -> None:
    brought = {canonicalize_name(package.name) for package in installed(ROOT / "requirements-cpu.txt")}
    assert brought - pins.keys() == set()


def test_the_container_installs_the_lock_and_nothing_without_a_hash() -> None:
    text = (ROOT / "Dockerfile").read_text(encoding="utf-8")
    assert re.findall(r"pip install (.*)", text) == ["--require-hashes --no-deps -r requirements-cpu.lock"]
    copied = {name for line in re.findall(r"^COPY (.*) \S+$", text, re.MULTILINE) for name in line.split()}
    let_in = (ROOT / ".dockerignore").read_text(encoding="utf-8").replace("!", "").split()
    assert {name for name in copied if not name.startswith("--")} <= {*let_in}


def test_the_bill_of_materials_holds_every_package_with_its_hash(pins: dict[str, str], tmp_path: Path) -> None:
    pytest.importorskip("cyclonedx_py")
    command = [sys.executable, "-m", "cyclonedx_py", "requirements", str(LOCK), "--of", "JSON"]
    subprocess.run([*command, "-o", str(tmp_path / "sbom.json")], check=True, capture_output=True)
    components = json.loads((tmp_path / "sbom.json").read_text())["components"]
    assert {component["name"]: component["version"] for component in components} == pins
    assert all(component["externalReferences"][0]["hashes"][0]["alg"] == "SHA-256" for component in components)


@pytest.mark.parametrize(
    ("report", "status", "words"),
    [
        ('{"dependencies": [{"name": "a", "version": "1", "vulns": [{"id": "CVE-1"}]}]}', 1, "a 1: CVE-1"),
        ('{"dependencies": [{"name": "a", "version": "1", "vulns": []}]}', 0, "against 1 of 1"),
        ('{"dependencies": [{"name": "a", "skip_reason": "not found"}]}', 0, "were not asked for"),
        ("", 0, "cannot be reached"),
    ],
)
def test_advisories_fail_the_check_and_silence_is_said(report: str, status: int, words: str) -> None:
    assert verdict(report)[0] == status
    assert words in verdict(report)[1]
