"""The training loop: data, network, prepare, epochs, validation, best member kept, resumable after every epoch."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import math
import time
from functools import partial
from pathlib import Path
from typing import Any

import timm
import torch
from accelerate import Accelerator
from accelerate.utils import set_seed
from torch.optim.lr_scheduler import LambdaLR
from torch.utils.data import DataLoader

from medseg.config import Appearance, MemberConfig, Preprocess, Score
from medseg.errors import InputError
from medseg.member import save_member, to_probabilities
from medseg.metrics import mean_interval
from medseg.postprocess import to_masks
from medseg.samples import select, split_hash
from train import checkpoints
from train.data import Pairs, make_loaders, read_recipe_samples
from train.encoders import make_network
from train.losses import Loss, make_loss
from train.recipe import Recipe


def train(recipe: Recipe) -> Path:
    """Train as `recipe` says; returns the member folder, `<output>/member`: the epoch with the best validation Dice.

    A run that was stopped continues after its last whole epoch when the same recipe is given again.
    Raises ConfigError for a network that cannot be built, InputError where the output folder holds a run of another
    recipe or the training split is too small.
    """
    accelerator = Accelerator(mixed_precision=_precision())
    output = Path(recipe.output)
    set_seed(recipe.seed)
    loss = make_loss(recipe.loss, recipe.task)
    with accelerator.main_process_first():
        samples = read_recipe_samples(recipe)
    preprocess = _preprocess(recipe)
    member = _describe(recipe, preprocess)
    network = make_network(recipe, member).to(memory_format=torch.channels_last)
    train_pairs = Pairs(select(samples, "train"), recipe.labels, preprocess)
    val_pairs = Pairs(select(samples, "val"), recipe.labels, preprocess)
    member = _with_appearance(member, train_pairs.appearance)
    optimizer = torch.optim.AdamW(network.parameters(), lr=recipe.learning_rate, weight_decay=recipe.weight_decay)
    network, optimizer, train_loader, val_loader = accelerator.prepare(
        network, optimizer, *make_loaders(recipe, train_pairs, val_pairs)
    )
    if not len(train_loader):
        raise InputError(
            f"The split 'train' holds {len(train_pairs)} sample(s), too few for one step: at least two are needed."
        )
    # after prepare, whose sharding decides how many steps a process takes
    schedule = LambdaLR(optimizer.optimizer, _warmup_cosine(recipe.epochs * len(train_loader), recipe.warmup))
    key = _run_key(recipe, split_hash(samples))
    first, best = _resume(accelerator, output, key, network=network, optimizer=optimizer, schedule=schedule)
    for epoch in range(first, recipe.epochs):
        started = time.perf_counter()
        mean_loss = _train_epoch(
            accelerator, network, train_loader, optimizer=optimizer, schedule=schedule, loss=loss, epoch=epoch
        )
        score = _validate(accelerator, network, val_loader, val_pairs.cases, recipe)
        if accelerator.is_main_process:
            if score.value > best:
                best = score.value
                scored = dataclasses.replace(member, scores=(score,))
                _save_best(accelerator.unwrap_model(network), scored, output / "member")
            state = _state(accelerator, network, optimizer, schedule)
            checkpoints.save(output / "checkpoints", epoch + 1, {**state, "key": key, "epoch": epoch + 1, "best": best})
            _log(output, epoch, mean_loss, score, best=best, seconds=time.perf_counter() - started)
        accelerator.wait_for_everyone()
    accelerator.print(f"Saved the member {output / 'member'}")
    accelerator.end_training()
    return output / "member"


def _train_epoch(
    accelerator: Accelerator,
    network: torch.nn.Module,
    loader: DataLoader,
    *,
    optimizer: torch.optim.Optimizer,
    schedule: LambdaLR,
    loss: Loss,
    epoch: int,
) -> float:
    """One pass over the training split; returns the mean loss."""
    network.train()
    loader.set_epoch(epoch)
    losses = []
    for pictures, masks in loader:
        with accelerator.autocast():
            logits = network(pictures.to(memory_format=torch.channels_last))
        value = loss(logits.float(), masks)
        accelerator.backward(value)
        optimizer.step()
        schedule.step()
        optimizer.zero_grad()
        losses.append(value.detach())
    return float(accelerator.gather(torch.stack(losses)).mean())


@torch.no_grad()
def _validate(
    accelerator: Accelerator, network: torch.nn.Module, loader: DataLoader, cases: list[str], recipe: Recipe
) -> Score:
    """Dice of the validation split on the input grid, threshold 0.5: the per-image mean, over labels and images.

    Several processes take turns batch by batch: what they gather is in the loader's order, that of `cases`.
    """
    network.eval()
    dices = []
    for pictures, masks in loader:
        with accelerator.autocast():
            logits = network(pictures.to(memory_format=torch.channels_last))
        found = _masks(to_probabilities(logits.float(), recipe.task), recipe)
        dices.append(accelerator.gather_for_metrics(_dice(found.to(masks.device), masks)))
    values = torch.cat(dices).mean(dim=1).double().tolist()
    mean = mean_interval(values, cases)
    protocol = f"per-image mean on the {recipe.size} × {recipe.size} input grid, threshold 0.5, both empty 1"
    return Score("dice", mean.mean, mean.low, mean.high, mean.n, "val", protocol)


def _save_best(network: torch.nn.Module, member: MemberConfig, folder: Path) -> None:
    """Save the member in place of the one before. Its check builds a network, whose random weights must not shift the
    draws of the training that follows."""
    with torch.random.fork_rng(devices=[]):
        checkpoints.replace_folder(folder, partial(save_member, network, member))


def _masks(probabilities: torch.Tensor, recipe: Recipe) -> torch.Tensor:
    each = [torch.from_numpy(to_masks(p.cpu().numpy(), 0.5, recipe.task)) for p in probabilities]
    return torch.stack(each)


def _dice(found: torch.Tensor, truth: torch.Tensor) -> torch.Tensor:
    """Dice (N, K) of masks (N, K, H, W); 1 where both are empty."""
    shared = (found & truth).sum(dim=(2, 3))
    total = found.sum(dim=(2, 3)) + truth.sum(dim=(2, 3))
    return torch.where(total == 0, 1.0, 2 * shared / total.clamp(min=1))


def _precision() -> str:
    """bfloat16 or half precision on a GPU that has it; elsewhere float32: CPUs are many times slower in bfloat16."""
    if not torch.cuda.is_available():
        return "no"
    return "bf16" if torch.cuda.is_bf16_supported() else "fp16"


def _preprocess(recipe: Recipe) -> Preprocess:
    """The normalisation of the encoder's ImageNet weights, which timm knows; for grey the mean over its channels."""
    known = timm.get_pretrained_cfg(recipe.encoder.removeprefix("tu-").removeprefix("timm-"), allow_unregistered=True)
    mean = tuple(known.mean) if known else (0.485, 0.456, 0.406)
    std = tuple(known.std) if known else (0.229, 0.224, 0.225)
    if recipe.channels == 1:
        mean, std = (sum(mean) / 3,), (sum(std) / 3,)
    return Preprocess(recipe.size, recipe.size, recipe.channels, mean, std, recipe.resize)


def _describe(recipe: Recipe, preprocess: Preprocess) -> MemberConfig:
    data, licence = recipe.training_data, recipe.weights_licence
    return MemberConfig(recipe.name, recipe.task, recipe.labels, preprocess, data, licence, files={})


def _with_appearance(member: MemberConfig, appearance: Appearance) -> MemberConfig:
    data = dataclasses.replace(member.training_data, appearance=appearance)
    return dataclasses.replace(member, training_data=data)


def _warmup_cosine(steps: int, warmup: float) -> Any:
    """Factor of the peak learning rate at a step: a straight rise over `warmup` of all steps, then a cosine to 0."""
    rise = max(1, round(steps * warmup))

    def factor(step: int) -> float:
        if step < rise:
            return (step + 1) / rise
        return 0.5 * (1 + math.cos(math.pi * (step - rise) / max(1, steps - rise)))

    return factor


def _run_key(recipe: Recipe, data_hash: str) -> str:
    """What must be equal for a checkpoint to be continued: every setting but the places and workers, and the split."""
    settings = dataclasses.asdict(recipe)
    for where in ("data", "output", "workers"):
        del settings[where]
    return hashlib.sha256((json.dumps(settings, sort_keys=True) + data_hash).encode()).hexdigest()


def _state(accelerator: Accelerator, network: torch.nn.Module, optimizer: Any, schedule: LambdaLR) -> dict[str, Any]:
    return {
        "network": accelerator.unwrap_model(network).state_dict(),
        "optimizer": optimizer.state_dict(),
        "schedule": schedule.state_dict(),
        "scaler": accelerator.scaler.state_dict() if accelerator.scaler else {},
        "torch_rng": torch.get_rng_state(),
    }


def _resume(
    accelerator: Accelerator, output: Path, key: str, *, network: torch.nn.Module, optimizer: Any, schedule: LambdaLR
) -> tuple[int, float]:
    """(first epoch to run, best score so far) after putting back the newest checkpoint, if there is one."""
    if accelerator.is_main_process:
        checkpoints.recover_folder(output / "member")
    state = checkpoints.load_newest(output / "checkpoints")
    if state is None:
        return 0, -1.0
    if state["key"] != key:
        raise InputError(f"{output} holds a run of another recipe or split: name another --output, or delete it.")
    accelerator.unwrap_model(network).load_state_dict(state["network"])
    optimizer.load_state_dict(state["optimizer"])
    schedule.load_state_dict(state["schedule"])
    if accelerator.scaler:
        accelerator.scaler.load_state_dict(state["scaler"])
    torch.set_rng_state(state["torch_rng"])
    accelerator.print(f"Continuing after epoch {state['epoch']}, best validation Dice {state['best']:.4f}")
    return state["epoch"], state["best"]


def _log(output: Path, epoch: int, loss: float, score: Score, *, best: float, seconds: float) -> None:
    line = {"epoch": epoch + 1, "loss": loss, "val_dice": score.value, "best": best, "seconds": round(seconds, 1)}
    with (output / "log.jsonl").open("a", encoding="utf-8") as stream:
        stream.write(json.dumps(line) + "\n")
    print(
        f"epoch {epoch + 1:3d}  loss {loss:.4f}  val Dice {score.value:.4f}  best {best:.4f}  {seconds:.0f} s",
        flush=True,
    )
