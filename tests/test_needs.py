"""A benchmark says what it does and lacks, and refuses a wrong argument, before it measures anything."""

from __future__ import annotations

import ast
import runpy
import sys

import pytest

from tests.conftest import ROOT

STATE = ("nowhere", "--state", "nowhere")
NEEDS = {
    "torch": {
        **dict.fromkeys(("allocator", "augment", "gpu", "inference", "kill", "performance", "start", "train"), ()),
        **dict.fromkeys(("corrections", "distil", "few_labels", "own_folder"), STATE),
        "reliability/__main__": (),
    },
    "playwright": dict.fromkeys(("examples", "performance", "remix", "screenshot"), ()),
    "matplotlib": {"growth": ("figure.png",), "robustness": ("nowhere",)},
    "pytest": dict.fromkeys(("layouts", "remix", "suite", "viewers"), ()),
    "highdicom": {"viewers": ()},
}
FILES = {str(path.relative_to(ROOT)): path.read_text(encoding="utf-8") for path in (ROOT / "benchmarks").rglob("*.py")}
COMMANDS = sorted(name for name, text in FILES.items() if '__name__ == "__main__"' in text)
WRONG = [
    *((name, "--nonsense") for name in COMMANDS if name != "benchmarks/suite.py"),  # which hands it to pytest
    *((f"benchmarks/{name}.py", "0") for name in ("allocator", "inference", "start", "visitors")),
    *((f"benchmarks/{name}.py", "nowhere") for name in ("fit", "layouts", "trust", "viewers")),
    ("benchmarks/growth.py", "figure.png 0"),
]


@pytest.mark.parametrize(("package", "name"), [(package, name) for package, files in NEEDS.items() for name in files])
def test_a_benchmark_names_the_package_it_lacks(package: str, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, package, None)
    monkeypatch.setattr(sys, "argv", [name, *NEEDS[package][name]])
    monkeypatch.setattr(sys, "path", [*sys.path])
    with pytest.raises(SystemExit, match=f"^This needs {package}, which is not installed here: `pip install -"):
        runpy.run_path(str(ROOT / "benchmarks" / f"{name}.py"), run_name="__main__")


def status_of(name: str, words: list[str], monkeypatch: pytest.MonkeyPatch) -> object:
    monkeypatch.setattr(sys, "argv", [name, *words])
    monkeypatch.setattr(sys, "path", [*sys.path])
    with pytest.raises(SystemExit) as end:
        runpy.run_path(str(ROOT / name), run_name="__main__")
    return end.value.code


@pytest.mark.parametrize("name", COMMANDS)
def test_help_begins_with_what_a_benchmark_measures(
    name: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert status_of(name, ["--help"], monkeypatch) == 0
    first = (ast.get_docstring(ast.parse(FILES[name])) or "").split("\n\n")[0]
    assert "".join(first.split()) in "".join(capsys.readouterr().out.split())


@pytest.mark.parametrize(("name", "words"), WRONG)
def test_a_benchmark_refuses_a_wrong_argument(
    name: str, words: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert status_of(name, words.split(), monkeypatch) == 2
    assert " error: " in capsys.readouterr().err
