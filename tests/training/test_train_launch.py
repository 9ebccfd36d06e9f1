"""Training as it is started: by accelerate, in several processes, killed at any moment."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from accelerate import Accelerator

from benchmarks import kill
from medseg import schema
from medseg.config import MemberConfig
from medseg.inference.member import load_member
from medseg.training import checkpoints, loop
from medseg.training.data import Pairs, validation_loader
from medseg.training.recipe import Recipe
from medseg.training.validate import validate
from tests.conftest import ROOT

LAUNCH = [sys.executable, "-m", "accelerate.commands.launch", "--num_machines", "1", "--dynamo_backend", "no"]
TINY: dict[str, Any] = {
    "encoder": "tu-test_efficientnet",
    "architecture": "unet",
    "decoder": {"encoder_depth": 4, "decoder_channels": [16, 16, 8, 8]},
    "labels": ("disc",),
    "size": 64,
    "batch_size": 4,
    "epochs": 1,
    "learning_rate": 1e-2,
}


@pytest.fixture
def tiny(disc_pairs: Path, tmp_path: Path) -> Recipe:
    """15 discs to train on, 7 to validate on."""
    stems = sorted(path.stem for path in (disc_pairs / "images").iterdir())
    data = Path(shutil.copytree(disc_pairs, tmp_path / "data"))
    (data / "splits.json").write_text(
        json.dumps({"train": stems[:15], "val": stems[15:22], "test": stems[22:]}), encoding="utf-8"
    )
    return Recipe(data=str(data), output=str(tmp_path / "run"), **TINY)


def environment(**more: str) -> dict[str, str]:
    """This one's without PYTHONPATH, and no GPU to be seen."""
    kept = {key: value for key, value in os.environ.items() if key not in ("PYTHONPATH", "ACCELERATE_USE_CPU")}
    return {**kept, "CUDA_VISIBLE_DEVICES": "", "OMP_NUM_THREADS": "1", **more}


def flags(recipe: Recipe) -> list[str]:
    return [
        "--data", recipe.data, "--output", recipe.output, "--labels", *recipe.labels, "--size", str(recipe.size),
        "--architecture", recipe.architecture, "--encoder", recipe.encoder, "--decoder", json.dumps(recipe.decoder),
        "--epochs", str(recipe.epochs), "--batch-size", str(recipe.batch_size), "--lr", str(recipe.learning_rate),
        "--ema-decay", str(recipe.ema_decay),
    ]  # fmt: skip


def score_in_one_process(recipe: Recipe, network: dict[str, torch.Tensor]) -> Any:
    """What one process says of the weights `network` on the recipe's validation split."""
    accelerator = Accelerator(cpu=True)
    preprocess = loop._preprocess(recipe)
    model = loop.make_network(recipe, loop._describe(recipe, preprocess)).to(memory_format=torch.channels_last)
    model.load_state_dict(network)
    val = Pairs(loop.select(loop.read_recipe_samples(recipe), "val"), recipe.labels, preprocess)
    return validate(accelerator, model, accelerator.prepare(validation_loader(recipe, val)), val.cases, recipe)


def launch_two(script: Path, recipe: Recipe, **more: str) -> str:
    """What two processes on the CPU print that train `recipe` with `script`."""
    shown = subprocess.run(
        [*LAUNCH, "--multi_gpu", "--num_processes", "2", "--main_process_port", "0", "--mixed_precision", "no",
         str(script), *flags(recipe)],
        env=environment(**more),
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )  # fmt: skip
    assert shown.returncode == 0, shown.stderr
    return shown.stdout


WATCHING = """
import os, sys
import torch
from medseg.inference import member
from medseg.training import loop
from medseg.training.__main__ import train
from medseg.training.data import Pairs
from medseg.training.recipe import recipe_from_arguments

output, rank, asked = recipe_from_arguments(sys.argv[1:]).output, os.environ["RANK"], 0
whole, real = Pairs.__getitem__, loop.validate

def spoilt(self, index):
    global asked
    image, masks = whole(self, index)
    asked += self.transform is not None
    # the fifth training image that process 1 asks for is in its second step
    return (image * float("nan") if rank == "1" and asked == 5 else image), masks

def validate(accelerator, network, *rest):
    torch.save(network.state_dict(), f"{output}/validated-{rank}.pt")
    return real(accelerator, network, *rest)

def without_graph(*_):
    raise ValueError("it takes seconds")

Pairs.__getitem__, loop.validate, member._graph_of = spoilt, validate, without_graph
train(sys.argv[1:])
"""


def test_two_processes_skip_a_nan_together_validate_the_same_mean_of_the_weights_and_count_every_sample_once(
    tiny: Recipe, tmp_path: Path
) -> None:
    """A NaN that one process meets is skipped by both. Each has seen batches of its own, so the means of their batch
    statistics would differ.

    7 images in batches of 4 on two processes: each gets four, one of them a second time, which must not count. The
    encoder's last stage is not used: without care the processes would wait for its gradients.
    """
    (tmp_path / "watching.py").write_text(WATCHING, encoding="utf-8")
    output = Path(tiny.output)
    output.mkdir()
    recipe = replace(tiny, ema_decay=0.5, epochs=2)
    said = launch_two(tmp_path / "watching.py", recipe, PYTHONPATH=str(ROOT))
    assert said.count("Saved the member") == 1
    log = [json.loads(line) for line in (output / "log.jsonl").read_text(encoding="utf-8").splitlines()]
    assert [line["skipped_steps"] for line in log] == [1, 1]
    state = checkpoints.load_newest(output / "checkpoints")
    assert state is not None
    assert len(state["ranks"]) == 2
    mean = {name.removeprefix("module."): value for name, value in state["averaged"].items() if name != "n_averaged"}
    together, _ = schema.load(MemberConfig, output / "member" / "member.json").scores
    alone = score_in_one_process(recipe, mean)
    assert together.n == alone.n == 7
    assert log[-1]["val_dice"] == pytest.approx(alone.value, abs=1e-6)
    assert [name for name in mean if "running_mean" in name]
    ours, theirs = (torch.load(output / f"validated-{rank}.pt", weights_only=True) for rank in (0, 1))
    assert ours.keys() == theirs.keys()
    for name, value in ours.items():
        assert torch.isfinite(value).all(), name
        assert torch.equal(value, theirs[name]), name


def test_a_run_killed_twice_ends_with_the_same_weights(tmp_path: Path) -> None:
    """With workers, which must end with it; without, tests/training/test_train_loop.py stops it everywhere."""
    result = kill.measure(tmp_path, kills=2, workers=2, seed=0, images=16)
    assert result.kills == 2
    assert result.resumes >= 2
    assert result.equal == result.finished > 0


def bare_clone(folder: Path) -> Path:
    """What training needs of a checkout: nothing installed, nothing built."""
    ignored = shutil.ignore_patterns("__pycache__")
    for name in ("medseg", "train"):
        shutil.copytree(ROOT / name, folder / name, ignore=ignored)
    return folder


def test_accelerate_launches_a_bare_clone_from_any_folder(disc_pairs: Path, tmp_path: Path) -> None:
    """On discs: tests/test_wheel.py launches the default data."""
    clone = bare_clone(tmp_path / "clone")
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    network: dict[str, Any] = {"architecture": "plainunet", "encoder": "none", "decoder": {"depth": 1, "width": 4}}
    recipe = Recipe(**{**TINY, **network, "size": 32}, output="out", data=str(disc_pairs))
    shown = subprocess.run(
        [*LAUNCH, "--num_processes", "1", str(clone / "train" / "train.py"), *flags(recipe)],
        cwd=elsewhere,
        env=environment(PYTHONDONTWRITEBYTECODE="", PYTHONPYCACHEPREFIX=""),
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert shown.returncode == 0, shown.stderr
    assert "Saved the member out/member" in shown.stdout
    assert (clone / "medseg" / "__pycache__").is_dir(), "another medseg than the clone's was imported"
    assert load_member(elsewhere / "out" / "member", device="cpu").config.labels == recipe.labels


def test_a_refusal_is_one_sentence_on_the_terminal(tmp_path: Path) -> None:
    shown = subprocess.run(
        [sys.executable, str(ROOT / "train" / "train.py"), "--data", str(tmp_path), "--output", str(tmp_path / "run")],
        env=environment(),
        capture_output=True,
        text=True,
        check=False,
    )
    assert shown.returncode == 1
    assert shown.stderr.splitlines()[-1].startswith("error: ")
    assert "Traceback" not in shown.stderr
