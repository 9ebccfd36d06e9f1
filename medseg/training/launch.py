"""The flags of `accelerate launch`: each is obeyed or refused by name; and a refusal that comes after its traceback."""

from __future__ import annotations

import os
import subprocess
import sys
from contextlib import AbstractContextManager
from dataclasses import replace
from functools import cache
from typing import TypeVar

import psutil  # comes with accelerate

from medseg.ending import ending
from medseg.errors import ConfigError
from medseg.training.recipe import Recipe

AnyRecipe = TypeVar("AnyRecipe", bound=Recipe)

_REFUSED = {"DEEPSPEED": "--use_deepspeed", "FSDP": "--use_fsdp", "MEGATRON_LM": "--use_megatron_lm"}

_UNUSED = (
    "deepspeed", "zero", "offload", "gradient_clipping", "fsdp", "megatron", "fp8", "dynamo", "parallelism",
)  # fmt: skip
"""How the flags begin that Accelerate hands to engines which training does not use: they would do nothing."""

_LAST_WORD = """
import sys, time, psutil
launcher, end = int(sys.argv[1]), time.monotonic() + 20
def runs():
    try:
        return psutil.Process(launcher).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False
while runs() and time.monotonic() < end:
    time.sleep(0.02)
sys.stderr.write(sys.argv[2] + chr(10))
"""


@cache
def launch_flags() -> dict[str, str]:
    """The flags of the `accelerate launch` that started this process, as `{"mixed_precision": "bf16", "cpu": ""}`;
    empty without one. Accelerate itself hands them on with its defaults filled in, which then look like wishes."""
    return read_flags(_launcher_command(), len(sys.argv) - 1)


def read_flags(command: list[str], own_words: int) -> dict[str, str]:
    """The flags in `command`, the launcher's command line, of which the last words are the script's name and
    `own_words` arguments of its own."""
    words = command[: max(0, len(command) - own_words - 1)]
    flags = {}
    for word, following in zip(words, [*words, "--"][1:], strict=True):
        if word.startswith("--"):
            name, equals, value = word[2:].partition("=")
            flags[name.replace("-", "_")] = value if equals or following.startswith("-") else following
    return flags


def obey(recipe: AnyRecipe) -> AnyRecipe:
    """The recipe with what the launcher was asked for. Raises ConfigError for what training cannot do, or where the two
    contradict each other. Call it before Accelerate's state is made: several processes without a GPU find each other
    only where ACCELERATE_USE_CPU says so, which --multi_gpu does not."""
    import torch  # here: --help need not wait for it

    if int(os.environ.get("WORLD_SIZE", "1")) > 1 and not torch.accelerator.is_available():
        os.environ["ACCELERATE_USE_CPU"] = "true"
    for key, flag in _REFUSED.items():
        if os.environ.get(f"ACCELERATE_USE_{key}", "").lower() == "true":
            raise ConfigError(f"accelerate launch: training does not work with {flag}: leave it out.")
    if os.environ.get("ACCELERATE_DYNAMO_BACKEND", "no").lower() != "no":
        raise ConfigError("accelerate launch: training does not compile its network: leave out --dynamo_backend.")
    for name, value in launch_flags().items():
        if name.startswith(_UNUSED) and value != "no":
            instead = "; --clip-norm of the training clips gradients" if name == "gradient_clipping" else ""
            raise ConfigError(f"accelerate launch: --{name} does nothing here: leave it out{instead}.")
    asked = launch_flags().get("gradient_accumulation_steps") or os.environ.get(
        "ACCELERATE_GRADIENT_ACCUMULATION_STEPS", ""
    )
    if not asked or asked == str(recipe.accumulate):
        return recipe
    if recipe.accumulate != 1 or not asked.isdecimal() or asked == "0":
        raise ConfigError(
            f"accelerate launch says --gradient_accumulation_steps {asked}, the recipe accumulate = "
            f"{recipe.accumulate}: give one of them, 1 or more."
        )
    return replace(recipe, accumulate=int(asked))


def precision(on_gpu: str) -> str:
    """The mixed precision to train in: that of the launcher where one was asked for, else `on_gpu`, the best that this
    machine has ("no" on a CPU, which is many times slower in bfloat16). Raises ConfigError."""
    known = os.environ.get("ACCELERATE_MIXED_PRECISION", "")
    if known == "no" and _launcher_command():
        known = ""  # Accelerate's default, nobody's wish
    asked = launch_flags().get("mixed_precision") or known
    if not asked:
        return on_gpu
    if asked not in ("no", "bf16", "fp16") or (asked == "fp16" and on_gpu == "no"):
        wanted = "no or bf16" if on_gpu == "no" else "no, bf16 or fp16"
        raise ConfigError(f"accelerate launch: --mixed_precision {asked} does not work here: wanted {wanted}.")
    return asked


def require_processes(running: int) -> None:
    """Raise ConfigError where the launcher was asked for another number of processes than are `running`."""
    asked = launch_flags().get("num_processes", str(running))
    if asked != str(running):
        raise ConfigError(
            f"accelerate launch was asked for --num_processes {asked} and started {running}: add --multi_gpu (on a CPU "
            "too, in place of --cpu), or leave --num_processes out."
        )


def ending_training() -> AbstractContextManager[None]:
    """As `ending`, for a training, which the same command continues."""
    return ending(_say_last, "Stopped. The same command continues.")


def _say_last(sentence: str) -> None:
    """Say the sentence after the launcher's end: `accelerate launch` prints a traceback of its own, under which nobody
    finds what was said before."""
    if _launcher_command() and "quiet" not in launch_flags() and os.environ.get("RANK", "0") == "0":
        command = [sys.executable, "-c", _LAST_WORD, str(os.getppid()), sentence]
        subprocess.Popen(command, start_new_session=True, stdout=subprocess.DEVNULL)


@cache
def _launcher_command() -> list[str]:
    """The command line of the `accelerate launch` that started this process; empty without one."""
    try:
        words = psutil.Process(os.getppid()).cmdline()
    except psutil.Error:
        return []
    names = [os.path.basename(word) for word in words[:4]]
    launched = "accelerate.commands.launch" in words[:4] or "accelerate-launch" in names
    return words if launched or ("accelerate" in names and "launch" in names) else []
