"""What a run keeps from step to step, and how it is saved and put back: a killed run continues to the same weights."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator
from accelerate.utils import gather_object
from torch.optim.lr_scheduler import LambdaLR
from torch.optim.swa_utils import AveragedModel
from torch.utils.data import DataLoader

from medseg.errors import InputError
from medseg.inference.member import file_sha256
from medseg.training import checkpoints
from medseg.training.donor import find_member
from medseg.training.losses import Loss
from medseg.training.recipe import Recipe

_NOT_IN_KEY = (
    "data", "ensemble", "unlabelled", "output", "workers", "checkpoint_steps", "report_to", "push_to_hub",
    "hub_model_id", "private",
)  # fmt: skip

_LESSON = "lesson (by its ensemble, share and images)"


@dataclass
class Position:
    """How far a run is: `epoch` whole epochs, of which `stage_epoch` in the running stage, then `step` batches.

    `skipped` counts the steps of the whole run whose gradient was not finite. `best` and `stage_best` are validation
    scores; `stale` counts the stage's epochs since its last better one. `since` counts those that a run had when it had
    ended, before it was given more.
    """

    stage: int = 0
    epoch: int = 0
    stage_epoch: int = 0
    step: int = 0
    skipped: int = 0
    best: float = -1.0
    stage_best: float = -1.0
    stale: int = 0
    since: int = 0

    def end_epoch(self, score: float) -> bool:
        """Count a whole epoch; returns whether its score is the best so far."""
        better = score > self.best
        self.stale = 0 if score > self.stage_best else self.stale + 1
        self.best, self.stage_best = max(score, self.best), max(score, self.stage_best)
        self.epoch, self.stage_epoch, self.step = self.epoch + 1, self.stage_epoch + 1, 0
        return better

    def begin_stage(self, stage: int) -> None:
        self.stage, self.stage_epoch, self.stage_best, self.stale, self.since = stage, 0, -1.0, 0, 0

    def extend(self) -> None:
        """Begin anew in the stage that has ended: a schedule of its own over the epochs that are added."""
        self.since, self.stage_best, self.stale = self.stage_epoch, -1.0, 0

    def is_over(self, epochs: int, patience: int) -> bool:
        """Whether the running stage of so many epochs has ended; with `patience` also for want of a better score."""
        return (bool(patience) and self.stale >= patience) or self.stage_epoch >= epochs


@dataclass
class Run:
    """One run of a recipe. `averaged` is the running mean of the network's weights where the recipe wants one; `losses`
    are those of the running epoch's batches in this process; `unsettled` is a GPU's last step until it is known whether
    its gradient was finite: that, how to wait for it, and the batch statistics before it."""

    accelerator: Accelerator
    recipe: Recipe
    network: torch.nn.Module
    key: str
    averaged: AveragedModel | None = None
    position: Position = field(default_factory=Position)
    losses: list[Any] = field(default_factory=list)
    unsettled: tuple[torch.Tensor, Callable[[], None], list[torch.Tensor]] | None = None

    @property
    def output(self) -> Path:
        return Path(self.recipe.output)

    @property
    def kept(self) -> torch.nn.Module:
        """The network that is validated and saved: the mean of the weights where there is one."""
        return self.averaged.module if self.averaged else self.accelerator.unwrap_model(self.network)


@dataclass(frozen=True)
class Course:
    """What one stage trains with, as Accelerate prepared it."""

    loader: DataLoader[Any]
    optimizer: Any
    schedule: LambdaLR
    loss: Loss


def run_key(recipe: Recipe, data_hash: str, processes: int, lesson: Iterable[str] = ()) -> str:
    """What must be equal for a checkpoint to be continued: each setting that counts, the member that was started from,
    the split, the processes, the names of the files of a `lesson`, which is not the data's. The epochs of a run without
    stages are not among it: they may become more."""
    left_out = (*_NOT_IN_KEY, *([] if recipe.stages else ["epochs"]))
    settings = {key: value for key, value in dataclasses.asdict(recipe).items() if key not in left_out}
    settings["init"] = file_sha256(find_member(recipe.init) / "member.json") if recipe.init else ""
    if names := sorted(lesson):
        settings[_LESSON] = hashlib.sha256("\n".join(names).encode()).hexdigest()
    return json.dumps([settings, data_hash, processes], sort_keys=True)


def _differences(saved: str, key: str) -> str:
    """What of a run is not as it was, with both values where they are short. Older checkpoints have a hash as key."""
    if not saved.startswith("["):
        return "another recipe or split, or another number of processes"
    (old, *old_rest), (new, *new_rest) = json.loads(saved), json.loads(key)
    pairs = {name: (old.get(name), new.get(name)) for name in sorted({*old, *new})}
    pairs |= dict(zip(("split", "processes"), zip(old_rest, new_rest, strict=True), strict=True))
    differing = {name: [json.dumps(value) for value in pair] for name, pair in pairs.items() if pair[0] != pair[1]}
    return ", ".join(
        f"{name} {was}, not {now}" if len(was + now) < 60 else f"another {name}"  # a hash is not read
        for name, (was, now) in differing.items()
    )


def save(run: Run, course: Course) -> None:
    """Keep all that the steps to come depend on. Every process must call it: each has its own random state."""
    ranks = gather_object([{"random": random_state(), "losses": [float(value) for value in run.losses]}])
    if not run.accelerator.is_main_process:
        return
    scaler = run.accelerator.scaler
    state = {
        "key": run.key,
        "epochs": run.recipe.epochs,
        "position": dataclasses.asdict(run.position),
        "ranks": ranks,
        "network": run.accelerator.unwrap_model(run.network).state_dict(),
        "averaged": run.averaged.state_dict() if run.averaged else {},
        "optimizer": course.optimizer.state_dict(),
        "schedule": course.schedule.state_dict(),
        "scaler": scaler.state_dict() if scaler else {},
    }
    checkpoints.save(run.output / "checkpoints", run.position.epoch, state, step=run.position.step)


def load(run: Run) -> dict[str, Any] | None:
    """The newest whole checkpoint, with its position put into `run`; None where there is none.

    A run that has ended goes on where the recipe has more epochs than it had. Raises InputError for a checkpoint of
    another recipe, split or number of processes, or of a run under way that had other epochs.
    """
    saved = checkpoints.load_newest(run.output / "checkpoints")
    if saved is None:
        return None
    if saved["key"] not in (run.key, hashlib.sha256(run.key.encode()).hexdigest()):
        raise InputError(
            f"{run.output} holds a run with {_differences(saved['key'], run.key)}: name another --output, or delete it."
        )
    run.position = Position(**saved["position"])
    place = f"after epoch {run.position.epoch}, step {run.position.step}, best validation Dice {run.position.best:.4f}"
    if saved["epochs"] != run.recipe.epochs:
        _extend(run, saved["epochs"])
        more = run.recipe.epochs - run.position.epoch
        place += f", for {more} epoch{'s' * (more > 1)} more with a learning rate that falls anew"
    run.accelerator.print(f"Continuing {place}")
    return saved


def _extend(run: Run, epochs: int) -> None:
    """Let a run of so many epochs go on. Raises InputError where it has not ended, or there is no more to do."""
    position, wanted = run.position, run.recipe.epochs
    if not position.is_over(epochs, run.recipe.patience):
        raise InputError(
            f"{run.output} holds a run of {epochs} epochs that has done {position.epoch}: give --epochs {epochs} "
            "again; once it has ended, more epochs continue it."
        )
    if wanted <= position.epoch:
        raise InputError(f"{run.output} holds a run that has ended after {position.epoch} epochs: wanted more of them.")
    position.extend()


def put_back(run: Run, course: Course, saved: dict[str, Any]) -> None:
    """Undo `save`, in the stage that it was saved in; for added epochs, optimiser and schedule begin anew."""
    run.accelerator.unwrap_model(run.network).load_state_dict(saved["network"])
    if run.averaged:
        run.averaged.load_state_dict(saved["averaged"])
    if saved["epochs"] == run.recipe.epochs:
        course.optimizer.load_state_dict(saved["optimizer"])
        course.schedule.load_state_dict(saved["schedule"])
    if run.accelerator.scaler:
        run.accelerator.scaler.load_state_dict(saved["scaler"])
    own = saved["ranks"][run.accelerator.process_index]
    run.losses = own["losses"]
    set_random_state(own["random"])


def random_state() -> dict[str, torch.Tensor]:
    """torch's generators, which dropout draws from; nothing else of a run draws from a global generator."""
    on_gpu = {"cuda": torch.cuda.get_rng_state()} if torch.cuda.is_available() else {}
    return {"cpu": torch.get_rng_state(), **on_gpu}


def set_random_state(state: dict[str, torch.Tensor]) -> None:
    torch.set_rng_state(state["cpu"])
    if "cuda" in state and torch.cuda.is_available():
        torch.cuda.set_rng_state(state["cuda"])
