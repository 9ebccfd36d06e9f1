"""On a CPU with graphs nothing imports torch, so it need not be there: commands, page, API and exports without it."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from importlib.metadata import Distribution, distribution
from pathlib import Path

import pytest
from gradio_client import Client, handle_file
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from medseg.data.phantoms import write_pairs
from medseg.export.results import KINDS
from medseg.places import shipped
from tests.conftest import ROOT
from tests.dicom_sources import write_source
from tests.running_app import running_server

TORCH = ("torch", "segmentation-models-pytorch", "accelerate")
"""The packages of requirements.txt that serving does not need."""
HEAVY = ("accelerate", "segmentation_models_pytorch", "timm", "torch", "torchvision")
LATER = (
    "dicomweb_client",
    "mcp",
    "nibabel",
    "pydicom",
    "scipy.optimize",
    "scipy.spatial",
    "scipy.stats",
    "tifffile",
)
"""What no first mask needs: each takes longer to import than the mask to compute."""
COMMANDS = ("info", "selftest", "predict", "evaluate", "fit", "calibrate")
EXAMPLE = ROOT / "assets" / "examples" / "endoscopy-1.png"

RUN_ALL = f"""
import json, sys
from medseg.__main__ import main
loaded = {{}}
for command in json.loads(sys.argv[1]):
    main(command)
    loaded[command[0]] = [name for name in {HEAVY} if name in sys.modules]
print(json.dumps(loaded))
"""

PAGE = f"""
import runpy, sys
class Asked:
    def find_spec(name, path=None, target=None):
        if name in {HEAVY + LATER}:
            print("asked for", name, flush=True)
sys.meta_path.insert(0, Asked)
runpy.run_module("medseg", run_name="__main__", alter_sys=True)
"""


def installed(requirements: Path) -> Iterator[Distribution]:
    """The packages that pip installs for a file of requirements."""
    lines = requirements.read_text(encoding="utf-8").splitlines()
    waiting = [Requirement(line.partition("#")[0]) for line in lines if not line.startswith("#")]
    seen = set()
    while waiting:
        asked = waiting.pop()
        if (key := (canonicalize_name(asked.name), *asked.extras)) not in seen:
            seen.add(key)
            package = distribution(asked.name)
            yield package
            extras = [{"extra": extra} for extra in ("", *asked.extras)]
            needs = map(Requirement, package.requires or ())
            waiting += [need for need in needs if not need.marker or any(map(need.marker.evaluate, extras))]


@pytest.fixture(scope="module")
def python(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The Python of an environment that holds what requirements-cpu.txt installs, and nothing else."""
    place = tmp_path_factory.mktemp("torchless")
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(place)], check=True)
    (packages,) = (place / "lib").glob("python*/site-packages")
    for package in installed(ROOT / "requirements-cpu.txt"):
        for top in {file.parts[0] for file in package.files or ()} - {"..", "__pycache__"}:
            if not (packages / top).is_symlink():
                (packages / top).symlink_to(package.locate_file(top))
    return str(place / "bin" / "python")


@pytest.fixture(scope="module")
def loaded(tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[str]]:
    """What of HEAVY each of COMMANDS had loaded at its end: all in one process, one after the other."""
    place = tmp_path_factory.mktemp("commands")
    for number, (split, count) in enumerate({"train": 2, "val": 5, "test": 2}.items()):
        write_pairs(place / "data" / split, count, "endoscopy", (64, 64), seed=10 * number)
    folder = Path(shutil.copytree(shipped("assets/ensembles/polyp"), place / "polyp"))
    data, members = place / "data", (folder / "polyp-unet-lite0", folder / "polyp-fpn-lite1")
    commands = [
        ["info", folder],
        ["selftest", folder],
        ["predict", folder, data / "test" / "images", "--output", place / "results"],
        ["evaluate", folder, data, "--output", place / "evaluation"],
        ["fit", *members, "--data", data, "--output", place / "two", "--name", "two"],
        ["calibrate", folder, data],
    ]
    words = json.dumps([list(map(str, command)) for command in commands])
    done = subprocess.run([sys.executable, "-c", RUN_ALL, words], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return dict(json.loads(done.stdout.splitlines()[-1]))


@pytest.mark.parametrize("command", COMMANDS)
def test_a_command_with_graphs_imports_no_torch(loaded: dict[str, list[str]], command: str) -> None:
    assert loaded[command] == []


def test_the_environment_holds_neither_torch_nor_extras(python: str) -> None:
    code = "from importlib.util import find_spec\nprint([n for n in ('torch', 'requests', 'numpy') if find_spec(n)])"
    assert subprocess.run([python, "-c", code], capture_output=True, text=True, check=True).stdout == "['numpy']\n"


def test_page_and_api_serve_without_torch(python: str) -> None:
    """Nothing even asks for it: where it is installed, it is not imported either. Nor is what comes LATER."""
    with running_server(start=("-c", PAGE, "app"), python=python, PYTHONPATH=str(ROOT)) as server:
        client = Client(server.url, verbose=False)
        result, _, mask, report = client.predict(handle_file(EXAMPLE), "", api_name="/segment")
        assert "torch" not in report["versions"]
        assert Path(mask).is_file()
        _, _, again = client.predict(result, [1, 0, 0], api_name="/remix")
        assert again["masks_sha256"] != report["masks_sha256"]
        assert "asked for" not in server.said()


def test_a_decode_worker_begins_without_the_decoders_of_rare_formats() -> None:
    code = f"import sys, medseg.reading.decode\nprint([name for name in {LATER} if name in sys.modules])"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "[]\n"


def test_every_dicom_result_is_written_without_torch(python: str, tmp_path: Path) -> None:
    (source,) = write_source("cr", tmp_path)
    command = [python, "-m", "medseg", "predict", "chest", source, "--output", tmp_path / "out", "--dicom", *KINDS]
    done = subprocess.run(list(map(str, command)), cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert len(list((tmp_path / "out").iterdir())) == len(KINDS)


def test_a_member_without_a_graph_says_what_it_lacks(python: str, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(shipped("assets/ensembles/polyp") / "polyp-unet-lite0", tmp_path / "member"))
    described = json.loads((folder / "member.json").read_text(encoding="utf-8"))
    del described["files"]["graph.onnx"]
    (folder / "member.json").write_text(json.dumps(described), encoding="utf-8")
    command = [python, "-m", "medseg", "predict", str(folder), str(EXAMPLE), "--output", str(tmp_path / "out")]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "needs torch here, and" in " ".join(done.stderr.split())


def test_the_second_requirements_are_the_first_less_torch() -> None:
    asked, without = (
        [line for line in (ROOT / name).read_text(encoding="utf-8").splitlines() if not line.startswith("#")]
        for name in ("requirements.txt", "requirements-cpu.txt")
    )
    assert without == [line for line in asked if re.split("[>=]", line)[0] not in TORCH]
