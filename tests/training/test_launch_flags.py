"""What `accelerate launch` is told is obeyed or refused by name, and a refusal is the last line on the terminal."""

from __future__ import annotations

import subprocess

import pytest

from medseg.errors import ConfigError
from medseg.training import launch
from medseg.training.recipe import Recipe
from tests.conftest import ROOT
from tests.training.test_train_launch import LAUNCH, environment

SCRIPT = ["train/train.py", "--epochs", "3"]


@pytest.fixture(autouse=True)
def no_launcher(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("ACCELERATE_MIXED_PRECISION", raising=False)
    launched(monkeypatch)


def launched(monkeypatch: pytest.MonkeyPatch, *flags: str) -> None:
    """As `accelerate launch` with these flags would start a training; without any, as Python itself does."""
    monkeypatch.setattr(launch, "_launcher_command", lambda: ["accelerate", "launch", *flags] if flags else [])
    monkeypatch.setattr(launch, "launch_flags", lambda: launch.read_flags(["accelerate", "launch", *flags, "t.py"], 0))


def test_flags_are_read_as_they_are_written() -> None:
    flags = ["--mixed-precision=bf16", "--cpu", "--num_processes", "2", "--quiet"]
    command = ["/bin/python", "/bin/accelerate", "launch", *flags, *SCRIPT]
    assert launch.read_flags(command, 2) == {"mixed_precision": "bf16", "cpu": "", "num_processes": "2", "quiet": ""}
    assert launch.read_flags([], 2) == {}


def test_precision_is_the_launchers_or_the_best_of_the_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    assert (launch.precision("no"), launch.precision("bf16")) == ("no", "bf16")
    launched(monkeypatch, "--cpu")
    monkeypatch.setenv("ACCELERATE_MIXED_PRECISION", "no")  # as Accelerate fills in
    assert launch.precision("bf16") == "bf16"
    launched(monkeypatch, "--mixed_precision", "no")
    assert launch.precision("bf16") == "no"
    launched(monkeypatch, "--mixed_precision", "bf16")
    assert launch.precision("no") == "bf16"
    launched(monkeypatch, "--config_file", "mine.yaml")
    monkeypatch.setenv("ACCELERATE_MIXED_PRECISION", "fp16")  # as the file has it
    assert launch.precision("bf16") == "fp16"


@pytest.mark.parametrize(("asked", "best"), [("fp16", "no"), ("fp8", "bf16"), ("fp8", "no")])
def test_a_precision_that_does_not_work_is_refused(monkeypatch: pytest.MonkeyPatch, asked: str, best: str) -> None:
    launched(monkeypatch, "--mixed_precision", asked)
    with pytest.raises(ConfigError, match=f"--mixed_precision {asked} does not work here: wanted no"):
        launch.precision(best)


def test_accumulation_is_the_launchers_unless_the_recipe_has_another(monkeypatch: pytest.MonkeyPatch) -> None:
    launched(monkeypatch, "--gradient_accumulation_steps", "4")
    assert launch.obey(Recipe()).accumulate == 4
    assert launch.obey(Recipe(accumulate=4)).accumulate == 4
    with pytest.raises(ConfigError, match=r"--gradient_accumulation_steps 4, the recipe accumulate = 2: give one"):
        launch.obey(Recipe(accumulate=2))


@pytest.mark.parametrize("name", ["DEEPSPEED", "FSDP", "MEGATRON_LM"])
def test_engines_that_training_does_not_know_are_refused(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.setenv(f"ACCELERATE_USE_{name}", "true")
    with pytest.raises(ConfigError, match=f"does not work with --use_{name.lower()}"):
        launch.obey(Recipe())


@pytest.mark.parametrize("flag", ["--gradient_clipping", "--fsdp_offload_params", "--zero-stage"])
def test_flags_for_other_engines_would_do_nothing_and_are_refused(monkeypatch: pytest.MonkeyPatch, flag: str) -> None:
    launched(monkeypatch, flag, "1")
    with pytest.raises(ConfigError, match=f"{flag[2:].replace('-', '_')} does nothing here: leave it out"):
        launch.obey(Recipe())


def test_a_compiler_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ACCELERATE_DYNAMO_BACKEND", "INDUCTOR")
    with pytest.raises(ConfigError, match="leave out --dynamo_backend"):
        launch.obey(Recipe())


def test_as_many_processes_run_as_were_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    launch.require_processes(1)
    launched(monkeypatch, "--num_processes", "2")
    launch.require_processes(2)
    with pytest.raises(ConfigError, match=r"asked for --num_processes 2 and started 1: add --multi_gpu"):
        launch.require_processes(1)


def test_the_sentence_of_a_refusal_comes_after_accelerates_traceback() -> None:
    """That the flags of the launcher are refused is shown above: this refusal comes before torch is imported."""
    shown = subprocess.run(
        [*LAUNCH, "--cpu", str(ROOT / "train" / "train.py"), "--epochs", "0"],
        env=environment(),
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert shown.returncode == 1
    assert "CalledProcessError" in shown.stderr
    assert shown.stderr.splitlines()[-1] == "error: recipe: epochs must be 1 or more."
