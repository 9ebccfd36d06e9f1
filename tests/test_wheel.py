"""The wheel alone, installed into an empty folder: page, commands, training and the Space, outside any checkout."""

from __future__ import annotations

import importlib.util
import os
import re
import shutil
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest
from gradio_client import Client, handle_file

from tests.conftest import ROOT
from tests.hub_server import Hub
from tests.running_app import running_app

SETTINGS = {"OMP_NUM_THREADS": "1", "ACCELERATE_USE_CPU": "true", "CUDA_VISIBLE_DEVICES": ""}


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of wheel and sdist."""
    folder = tmp_path_factory.mktemp("built")
    command = [sys.executable, "-m", "build", "--no-isolation", "--outdir", str(folder), str(ROOT)]
    subprocess.run(command, check=True, capture_output=True)
    return folder


@pytest.fixture(scope="module")
def python(built: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The Python of an environment in an empty folder that holds the wheel, and borrows what medseg depends on."""
    place = tmp_path_factory.mktemp("elsewhere")
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(place / "venv")], check=True)
    (packages,) = (place / "venv" / "lib").glob("python*/site-packages")
    borrowed = [path for path in sys.path if path.endswith("site-packages")]
    (packages / "borrowed.pth").write_text("\n".join(borrowed) + "\n", encoding="utf-8")
    with zipfile.ZipFile(next(built.glob("*.whl"))) as wheel:
        wheel.extractall(packages)
    return place / "venv" / "bin" / "python"


def run(python: Path, folder: Path, *arguments: str, **settings: str) -> str:
    """What the command prints, run in `folder`."""
    environment = {**os.environ, **SETTINGS, **settings}
    environment.pop("PYTHONPATH", None)
    command = [str(python), *arguments]
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture
def image(tmp_path: Path) -> Path:
    return Path(shutil.copy(ROOT / "assets" / "examples" / "endoscopy-1.png", tmp_path / "image.png"))


def test_the_wheel_holds_everything_and_is_small(built: Path) -> None:
    (wheel,) = built.glob("*.whl")
    names = zipfile.ZipFile(wheel).namelist()
    for name in ("py.typed", "app/page.py", "training/loop.py", "shipped/app.py", "shipped/train/studies/siim.toml"):
        assert f"medseg/{name}" in names
    shipped = {path.relative_to(ROOT).as_posix() for path in (ROOT / "assets" / "ensembles").rglob("*.*")}
    assert {f"medseg/shipped/{name}" for name in shipped} <= set(names)
    assert wheel.stat().st_size <= 60e6
    assert not [name for name in names if name.startswith(("tests", "benchmarks")) or "__pycache__" in name]
    metadata = next(name for name in names if name.endswith("METADATA"))
    said = zipfile.ZipFile(wheel).read(metadata).decode()
    for line in ("Requires-Dist: gradio>=", "Provides-Extra: train", "License-Expression: Apache-2.0", "Project-URL: "):
        assert line in said


def test_the_sdist_holds_what_the_wheel_is_built_of(built: Path) -> None:
    with tarfile.open(next(built.glob("*.tar.gz"))) as sdist:
        tops = {name.split("/")[1] for name in sdist.getnames() if "/" in name}
    assert {"medseg", "assets", "train", "tests", "app.py", "pyproject.toml", "requirements.txt", "README.md"} <= tops


def test_a_file_is_segmented_by_the_name_of_an_embedded_ensemble(python: Path, tmp_path: Path, image: Path) -> None:
    assert "1 of 1 files segmented" in run(python, tmp_path, "-m", "medseg", "predict", "polyp", "image.png")
    assert (tmp_path / "medseg-results" / "image.png.png").is_file()


def test_the_code_of_the_readme_runs(python: Path, tmp_path: Path) -> None:
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    (code,) = re.findall(r"<!-- command: python -->\n```python\n(.*?)```", readme, re.DOTALL)
    assert run(python, tmp_path, "-c", code).startswith("(1, ")


RUN_CELLS = """
import json, sys
from IPython.core.interactiveshell import InteractiveShell
for path in sys.argv[1:]:
    shell = InteractiveShell()  # with names of its own
    for cell in json.load(open(path))["cells"]:
        if cell["cell_type"] == "code":
            shell.run_cell("".join(cell["source"])).raise_error()
"""


@pytest.mark.skipif(importlib.util.find_spec("IPython") is None, reason="the extra docs is not installed")
def test_the_notebooks_run_without_a_network(python: Path, tmp_path: Path) -> None:
    """The cells as Jupyter's kernel runs them, in one process for all; of a training one epoch only."""
    for notebook in (ROOT / "docs" / "notebooks").glob("*.ipynb"):
        text = notebook.read_text(encoding="utf-8").replace("--size 64 --epochs 5", "--size 32 --epochs 1")
        (tmp_path / notebook.name).write_text(text, encoding="utf-8")
    run(python, tmp_path, "-c", RUN_CELLS, *map(str, sorted(tmp_path.glob("*.ipynb"))), HF_HUB_OFFLINE="1")


def test_a_bare_training_saves_a_member(python: Path, tmp_path: Path) -> None:
    launch = ("-m", "accelerate.commands.launch", "--num_machines", "1", "--num_processes", "1", "--dynamo_backend")
    settings = ("no", "--mixed_precision", "no", "-m", "medseg.training", "--epochs", "1", "--size", "32")
    assert "Saved the member" in run(python, tmp_path, *launch, *settings)
    assert (tmp_path / "runs" / "phantoms" / "member" / "model.safetensors").is_file()


def test_a_space_is_filled_from_the_wheel(python: Path, tmp_path: Path, hub: Hub) -> None:
    here = {
        "HF_ENDPOINT": hub.url,
        "HF_HUB_OFFLINE": "0",
        "HF_TOKEN": "hf_tester",
        "HF_HUB_DISABLE_XET": "1",
        "HF_HOME": str(tmp_path / "home"),
    }
    run(python, tmp_path, "-m", "medseg", "space", "tester/page", **here)
    made = hub.repos["spaces/tester/page"]
    files = made.commits[made.branches["main"]]
    assert files["app.py"] == (ROOT / "app.py").read_bytes()
    assert "assets/ensembles/polyp/ensemble.json" in files
    assert "medseg/app/page.py" in files
    assert not [name for name in files if "shipped" in name]


def test_the_page_answers_and_segments(python: Path, tmp_path: Path, image: Path) -> None:
    with running_app(start=("-m", "medseg", "app"), root=tmp_path, python=str(python)) as url:
        _, _, mask, report = Client(url, verbose=False).predict(handle_file(str(image)), "", api_name="/segment")
    assert Path(mask).is_file()
    assert report["ensemble"]
