"""A benchmark without a package that it needs ends with one sentence, before it measures anything."""

from __future__ import annotations

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


@pytest.mark.parametrize(("package", "name"), [(package, name) for package, files in NEEDS.items() for name in files])
def test_a_benchmark_names_the_package_it_lacks(package: str, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, package, None)
    monkeypatch.setattr(sys, "argv", [name, *NEEDS[package][name]])
    monkeypatch.setattr(sys, "path", [*sys.path])
    with pytest.raises(SystemExit, match=f"^This needs {package}, which is not installed here: `pip install -"):
        runpy.run_path(str(ROOT / "benchmarks" / f"{name}.py"), run_name="__main__")
