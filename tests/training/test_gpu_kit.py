"""The kit for rented machines, in a dry run on the CPU: what travels, stops at its limit, comes back, and goes on."""

from __future__ import annotations

import fcntl
import os
import shutil
import subprocess
import sys
from pathlib import Path

import PIL.Image
import pytest

from medseg.inference.member import load_member
from medseg.reading.readers import read_masks
from tests.conftest import ROOT
from tests.training.test_train_launch import environment

pytestmark = pytest.mark.skipif(shutil.which("timeout") is None, reason="needs GNU coreutils")

RECIPE = """
labels = ["disc"]
architecture = "plainunet"
encoder = "none"
size = 32
batch_size = 4
[decoder]
depth = 2
width = 4
"""

PYTHON = """#!{python}
import runpy, sys
sys.path.insert(0, {root!r})
from medseg.inference import member

def without_graph(*_):
    raise ValueError("it takes seconds")

member._graph_of = without_graph
del sys.argv[0]
runpy.run_path(sys.argv[0], run_name="__main__")
"""


def gpu(pack: Path, out: Path, recipe: Path, *more: str) -> subprocess.CompletedProcess[str]:
    python = recipe.with_name("python")
    python.write_text(PYTHON.format(python=sys.executable, root=str(ROOT)), encoding="utf-8")
    python.chmod(0o755)
    return subprocess.run(
        ["bash", str(ROOT / "train" / "gpu.sh"), str(pack), str(out), str(recipe), *more],
        env=environment(PYTHON=str(python), PATH=os.environ["PATH"]),
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )


def test_a_run_goes_on_on_the_next_machine(disc_pairs: Path, tmp_path: Path) -> None:
    kit, first, second = tmp_path / "kit", tmp_path / "first", tmp_path / "second"
    first_pack, again = (packed(disc_pairs, kit, "--side", "48") for _ in range(2))
    assert first_pack.returncode == 0, first_pack.stderr
    assert "MiB" in first_pack.stdout
    assert again.stderr.splitlines()[-1].startswith(f"error: {kit / 'data'} is there already")
    recipe = tmp_path / "recipe.toml"
    recipe.write_text(RECIPE, encoding="utf-8")
    done = gpu(kit, first, recipe, "200", "--epochs", "1")
    assert done.returncode == 0, done.stderr
    assert all(part.stat().st_size <= 15 * 2**20 for part in first.glob("part-*"))
    for part in first.glob("part-*"):
        shutil.copy(part, kit)
    more = gpu(kit, second, recipe, "200", "--epochs", "2")
    assert more.returncode == 0, more.stderr
    assert "Continuing after epoch 1" in more.stdout
    subprocess.run(f"cat {second}/part-* | tar -x -C {tmp_path}", shell=True, check=True)  # noqa: S602
    assert load_member(tmp_path / "member").config.labels == ("disc",)
    (kit / "part-00").write_bytes((kit / "part-00").read_bytes()[:20_000])
    broken = gpu(kit, second, recipe, "200", "--epochs", "3")
    assert (broken.returncode, broken.stderr) == (
        1,
        f"error: {kit}/part-* are not whole, or of two runs: copy those of one run anew.\n",
    )


def packed(data: Path, kit: Path, *more: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(ROOT / "train" / "gpu_pack.py"), str(data), str(kit), *more]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def test_what_a_training_refuses_is_not_packed(disc_pairs: Path, tmp_path: Path) -> None:
    classes, empty, kit = tmp_path / "classes", tmp_path / "empty", tmp_path / "kit"
    shutil.copytree(disc_pairs / "images", classes / "images")
    shutil.copytree(disc_pairs / "masks", classes / "masks" / "disc")
    shutil.copytree(disc_pairs, empty)
    for path in (empty / "masks").iterdir():
        PIL.Image.new("L", (64, 48)).save(path)
    for data, sentence in (
        (classes, "error: classes has no label label: name one by --label, of disc."),
        (empty, "masks are empty."),
    ):
        refused = packed(data, kit)
        assert (refused.returncode, kit.exists()) == (1, False)
        assert sentence in refused.stderr
    assert packed(classes, kit, "--label", "disc").returncode == 0
    assert all(read_masks(path, ["disc"]).any() for path in (kit / "data" / "masks").iterdir())


def test_the_limit_ends_a_run_without_a_fault(disc_pairs: Path, tmp_path: Path) -> None:
    kit = tmp_path / "kit"
    shutil.copytree(disc_pairs, kit / "data")
    recipe = tmp_path / "recipe.toml"
    recipe.write_text(RECIPE, encoding="utf-8")
    stopped = gpu(kit, tmp_path / "out", recipe, "0.5", "--epochs", "1000")
    assert stopped.returncode == 0, stopped.stderr
    assert "Stopped after 0.5 s; copy" in stopped.stdout


def test_a_folder_in_which_another_run_works_is_left_as_it_is(tmp_path: Path) -> None:
    out = tmp_path / "out"
    out.mkdir()
    busy = os.open(out, os.O_RDONLY)
    fcntl.flock(busy, fcntl.LOCK_EX)
    refused = gpu(tmp_path, out, tmp_path / "recipe.toml")
    os.close(busy)
    assert (refused.returncode, refused.stderr) == (
        1,
        f"error: another run works in {out}: wait for it, or name another folder.\n",
    )
    assert not list(out.iterdir())


def test_a_call_that_never_trains_leaves_the_parts_that_are_there(tmp_path: Path) -> None:
    out, wrong = tmp_path / "out", tmp_path / "wrong.toml"
    (out / ".run").mkdir(parents=True)
    (out / ".run" / "log.jsonl").touch()  # of a call that was killed
    (out / "part-00").write_text("the run before")
    wrong.write_text("nothing = 1", encoding="utf-8")
    for seconds, status in (("20", 1), ("soon", 2)):
        assert gpu(tmp_path, out, wrong, seconds).returncode == status
        assert (out / "part-00").read_text() == "the run before"
