"""The training loop: data, network, stages, epochs, validation, best member kept, resumable at any step."""

from __future__ import annotations

import json
import math
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from dataclasses import replace
from functools import cache, partial
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator, PartialState
from accelerate.tracking import get_available_trackers
from accelerate.utils import DataLoaderConfiguration, broadcast, set_seed
from torch.optim.lr_scheduler import LambdaLR
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from medseg.config import Appearance, MemberConfig, Preprocess
from medseg.data.division import otherwise_divided
from medseg.data.samples import Sample, select, split_hash
from medseg.data.verify import require_sound
from medseg.errors import ConfigError, InputError
from medseg.inference.member import save_member
from medseg.inference.runtime_torch import mark
from medseg.progress import Bar
from medseg.scores import Score
from medseg.training import checkpoints, launch, state
from medseg.training.continued import check_saved, held, keep_to_data
from medseg.training.data import Pairs, provenance, read_recipe_samples, training_loader, validation_loader
from medseg.training.donor import find_member, read_donor
from medseg.training.encoders import make_network, normalisation
from medseg.training.losses import make_loss
from medseg.training.memory import keep_freed_memory
from medseg.training.push import Pusher
from medseg.training.recipe import FilledStage, Recipe
from medseg.training.start import describe, take_over
from medseg.training.state import Course, Run
from medseg.training.validate import location_baseline, validate, write_sheet


def read_sound_samples(recipe: Recipe, *, quiet: bool = False) -> list[Sample]:
    """The samples that the recipe names, examined before the first epoch (`medseg.data.verify`); `quiet` as
    `read_recipe_samples` takes it."""
    samples = read_recipe_samples(recipe, quiet=quiet)
    if PartialState().is_main_process and not (Path(recipe.output) / "checkpoints").exists():
        for doubt in require_sound(samples, recipe.labels):
            print(f"note: {doubt}", file=sys.stderr)
    if PartialState().is_main_process:
        for sentence in otherwise_divided(samples, [read_donor(find_member(recipe.init))] if recipe.init else []):
            print(f"note: {sentence}", file=sys.stderr)
        keep_to_data(samples, Path(recipe.output))
    return samples


def train(
    recipe: Recipe,
    read: Callable[[Recipe], list[Sample]] = read_sound_samples,
    teach: Callable[[list[Sample]], list[Sample]] | None = None,
) -> Path:
    """Train as `recipe` says; returns the member folder, `<output>/member`: the epoch with the best validation Dice.

    `read` gives the samples to train and validate on, those that the recipe names where it is left out; `teach` turns
    those of the training split into what is trained on (`medseg.training.distilling`). All stages are
    scored on the member's own grid. A run that was stopped continues after its last checkpoint when the same recipe is
    given again.

    Raises ConfigError for a network that cannot be built, InputError where the output folder holds a run of another
    recipe or another process works in it, the data are not sound (`medseg.data.verify`), the training split is too
    small, or an epoch has no finite loss.
    """
    keep_freed_memory()
    recipe = launch.obey(recipe)
    accelerator = _accelerator(recipe)
    with held(Path(recipe.output)) if accelerator.is_main_process else nullcontext():
        return _train(accelerator, recipe, read, teach)


def _train(
    accelerator: Accelerator,
    recipe: Recipe,
    read: Callable[[Recipe], list[Sample]],
    teach: Callable[[list[Sample]], list[Sample]] | None,
) -> Path:
    stages = recipe.filled_stages()
    losses = [make_loss(stage.loss, recipe.task, recipe.label_weights) for stage in stages]
    preprocess = _preprocess(recipe)
    set_seed(recipe.seed)
    network, member = _begin(recipe, _describe(recipe, preprocess))  # first: the data may take long
    with accelerator.main_process_first(), torch.random.fork_rng(devices=[]):  # whatever is drawn meanwhile
        samples = read(recipe)
        training = select(samples, "train")
        training = teach(training) if teach else training
    pairs = cache(lambda side: Pairs(training, recipe.labels, replace(preprocess, height=side, width=side)))
    val = Pairs(select(samples, "val"), recipe.labels, preprocess)
    first = pairs(stages[0].size)
    baseline = location_baseline(first, val, recipe)
    member = _with_records(member, first.appearance, split_hash(samples), baseline)
    averaged = _Averaged(network, recipe.ema_decay, accelerator.device) if recipe.ema_decay else None
    network, val_loader = accelerator.prepare(network, validation_loader(recipe, val))
    lesson = [path.name for sample in training for path in sample.files] if teach else []
    key = state.run_key(recipe, split_hash(samples), accelerator.num_processes, lesson)
    run = Run(accelerator, recipe, network, key, averaged)
    if accelerator.is_main_process:
        checkpoints.recover_folder(run.output / "member")
    pusher = Pusher(recipe, run.output / "member") if recipe.push_to_hub and accelerator.is_main_process else None
    saved = state.load(run)
    for number in range(run.position.stage, len(stages)):
        course = _begin_stage(run, stages[number], pairs(stages[number].size), losses[number])
        if saved:
            state.put_back(run, course, saved)
            saved = None
        while not run.position.is_over(stages[number].epochs, recipe.patience):
            started = time.perf_counter()
            mean_loss = _train_epoch(run, course)
            _share_statistics(run.kept)
            score = validate(accelerator, run.kept, val_loader, val.cases, recipe)
            _keep(run, course, member, score)
            _report(run, mean_loss, score, val, seconds=time.perf_counter() - started)
            if pusher:
                pusher.offer()
        run.position.begin_stage(number + 1)
    if accelerator.is_main_process:
        check_saved(run.output / "member")
    scores = f"val Dice {run.position.best:.4f}, of the location prior {baseline.value:.4f}"
    accelerator.print(f"Saved the member {run.output / 'member'}: {scores}")
    if pusher:
        pusher.finish()
    accelerator.end_training()
    return run.output / "member"


def _accelerator(recipe: Recipe) -> Accelerator:
    common: dict[str, Any] = {
        "mixed_precision": launch.precision(_precision()),
        "gradient_accumulation_steps": recipe.accumulate,
        "dataloader_config": DataLoaderConfiguration(non_blocking=True),
    }
    if recipe.report_to == "none":
        return _announced(Accelerator(**common))
    known = [str(tracker) for tracker in get_available_trackers()]
    if recipe.report_to not in known:
        raise ConfigError(
            f"recipe: the tracker {recipe.report_to!r} is not installed here; there are {', '.join(known) or 'none'}."
        )
    accelerator = Accelerator(**common, log_with=recipe.report_to, project_dir=recipe.output)
    accelerator.init_trackers("tracker")
    return _announced(accelerator)


def _announced(accelerator: Accelerator) -> Accelerator:
    """Say what is trained on. Raises ConfigError where these are other processes than the launcher was asked for."""
    launch.require_processes(accelerator.num_processes)
    numbers = {"no": "float32", "bf16": "bfloat16 (mixed precision)", "fp16": "float16 (mixed precision)"}
    count = f"{accelerator.num_processes} process{'es' if accelerator.num_processes > 1 else ''}"
    kind, precision = accelerator.device.type, numbers[accelerator.mixed_precision]
    accelerator.print(f"Trains on {kind}, {count}, in {precision}, channels last, not compiled.")
    return accelerator


class _Averaged(AveragedModel):
    """The running mean of the weights and batch statistics (Tarvainen and Valpola, Mean teachers, NeurIPS 2017).

    After n steps its decay is (1 + n) / (10 + n) at the most, or the mean of a short training would still be made of
    the weights that it began with.
    """

    def __init__(self, network: torch.nn.Module, decay: float, device: torch.device) -> None:
        super().__init__(network, device, use_buffers=True)
        self.n_averaged = self.n_averaged.cpu()  # it is read at each step, and a GPU would be waited for
        self.decay = decay

    def update_parameters(self, model: torch.nn.Module) -> None:
        steps = int(self.n_averaged)
        average: Any = get_ema_multi_avg_fn  # PyTorch gives it no types
        average = average(min(self.decay, (1 + steps) / (10 + steps)) if steps else 0.0)
        means, values = ([*each.parameters(), *each.buffers()] for each in (self.module, model))
        for floating in (True, False):
            pairs = [(m.detach(), v.detach()) for m, v in zip(means, values, strict=True)]
            chosen = [pair for pair in pairs if pair[0].is_floating_point() is floating]
            if chosen:
                average(*map(list, zip(*chosen, strict=True)), steps)
        self.n_averaged += 1


def _share_statistics(network: torch.nn.Module) -> None:
    """Give every process the batch statistics of the first, which saves its own: each has seen batches of its own."""
    for buffer in network.buffers():
        broadcast(buffer)


def _begin_stage(run: Run, stage: FilledStage, train: Pairs, loss: Any) -> Course:
    """A new optimiser and schedule over the stage's batches."""
    recipe, accelerator = run.recipe, run.accelerator
    # a fused one can skip a step by what the GPU itself finds out
    fused = {"fused": True} if accelerator.device.type == "cuda" and not accelerator.scaler else {}
    settings: dict[str, Any] = {"lr": stage.learning_rate, "weight_decay": recipe.weight_decay, **fused}
    optimizer = torch.optim.AdamW(run.network.parameters(), **settings)
    optimizer, loader = accelerator.prepare(optimizer, training_loader(recipe, train, stage.positive_rate))
    # after prepare, whose sharding decides how many steps a process takes
    steps = (stage.epochs - run.position.since) * math.ceil(len(loader) / recipe.accumulate)
    schedule = LambdaLR(optimizer.optimizer, _warmup_cosine(steps, recipe.warmup))
    return Course(loader, optimizer, schedule, loss)


def _train_epoch(run: Run, course: Course) -> float:
    """The rest of the running epoch; returns the mean of the epoch's finite losses."""
    accelerator, network, position = run.accelerator, run.network, run.position
    network.train()
    if run.recipe.batch_statistics == "kept":
        for layer in network.modules():
            if isinstance(layer, torch.nn.modules.batchnorm._BatchNorm):
                layer.eval()
    for images, masks in _batches(run, course):
        if position.step % run.recipe.accumulate == 0:
            buffers = [buffer.clone() for buffer in network.buffers()]
        with accelerator.accumulate(network):
            with accelerator.autocast():
                logits = network(images.to(memory_format=torch.channels_last))
            value = course.loss(logits.float(), masks)
            accelerator.backward(value)
        run.losses.append(value.detach())
        position.step += 1
        if accelerator.sync_gradients:
            _step(run, course, buffers)
    _settle(run, course)
    values = accelerator.gather(torch.tensor([float(value) for value in run.losses], device=accelerator.device))
    finite = values[values.isfinite()]
    if not len(finite):
        raise InputError(f"No step of epoch {position.epoch + 1} had a finite loss: try a lower learning_rate.")
    return float(finite.mean())


def _batches(run: Run, course: Course) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
    """The running epoch's batches from the one at its position on."""
    loader: Any = course.loader  # as Accelerate prepared it
    done = run.position.step
    loader.set_epoch(run.position.epoch)
    bar = Bar(total=len(loader), initial=done, desc=f"epoch {run.position.epoch + 1}", leave=False)
    for batch in run.accelerator.skip_first_batches(loader, done) if done else loader:
        yield batch
        bar.update()
    bar.close()


def _step(run: Run, course: Course, buffers: list[torch.Tensor]) -> None:
    """One step of the optimiser and its schedule; then a checkpoint, where one is due.

    A gradient that is not finite is skipped and counted: weights stay as they are, and batch statistics become again
    what they were (`buffers`). Processes agree without asking, since they share the gradient.
    """
    accelerator, position, optimizer = run.accelerator, run.position, course.optimizer
    norm = accelerator.clip_grad_norm_(run.network.parameters(), run.recipe.clip_norm or math.inf)
    if optimizer.optimizer.defaults["fused"]:
        _step_unwaited(run, course, torch.isfinite(norm), buffers)
    else:
        finite = bool(torch.isfinite(norm))
        if finite or accelerator.scaler:  # the scaler of half precision skips by itself, and learns from it
            optimizer.step()
        if finite and run.averaged:
            run.averaged.update_parameters(accelerator.unwrap_model(run.network))
        _count(run, course, finite, buffers)
    optimizer.zero_grad()
    every = run.recipe.checkpoint_steps * run.recipe.accumulate
    if every and position.step % every == 0 and position.step < len(course.loader):
        _settle(run, course)
        state.save(run, course)


def _step_unwaited(run: Run, course: Course, finite: torch.Tensor, buffers: list[torch.Tensor]) -> None:
    """A step that the GPU takes or skips by itself (`found_inf`, as PyTorch's GradScaler tells its fused optimisers),
    while the next batch is begun. What follows from `finite` is counted at the next step, before its schedule counts.

    A running mean takes the weights that a skipped step left once more.
    """
    buffers = _settle(run, course) or buffers
    course.optimizer.optimizer.found_inf = (~finite).float()
    course.optimizer.step()
    if run.averaged:
        run.averaged.update_parameters(run.accelerator.unwrap_model(run.network))
    run.unsettled = finite.to("cpu", non_blocking=True), mark(finite.device), buffers


def _settle(run: Run, course: Course) -> list[torch.Tensor] | None:
    """Count the last unwaited step, once the GPU is through with it; returns the batch statistics before it where it
    was skipped, since the step after it has begun with others."""
    if run.unsettled is None:
        return None
    finite, passed, buffers = run.unsettled
    run.unsettled = None
    passed()
    _count(run, course, bool(finite), buffers)
    return None if finite else buffers


def _count(run: Run, course: Course, finite: bool, buffers: list[torch.Tensor]) -> None:
    """The schedule moves on after a step; after a skipped one the batch statistics are put back."""
    if finite:
        course.schedule.step()
        return
    run.position.skipped += 1
    for buffer, before in zip(run.network.buffers(), buffers, strict=True):
        buffer.copy_(before)


def _keep(run: Run, course: Course, member: MemberConfig, score: Score) -> None:
    """End the epoch: the member where it is the best so far, then the checkpoint, so that none is lost between."""
    run.losses.clear()
    better = run.position.end_epoch(score.value)
    if better and run.accelerator.is_main_process:
        scored = replace(member, scores=(score, *member.scores))
        _save_best(run.kept, scored, run.output / "member")
    state.save(run, course)


def _save_best(network: torch.nn.Module, member: MemberConfig, folder: Path) -> None:
    """Save the member in place of the one before. Its check builds a network, whose random weights must not shift the
    draws of the training that follows."""
    with torch.random.fork_rng(devices=[]):
        checkpoints.replace_folder(folder, partial(save_member, network, member))


def _report(run: Run, loss: float, score: Score, val: Pairs, *, seconds: float) -> None:
    """One line on the terminal and in log.jsonl, the tracker's figures, and an image of some predictions."""
    epoch, best = run.position.epoch, run.position.best
    run.accelerator.log({"loss": loss, "val_dice": score.value, "skipped_steps": run.position.skipped}, step=epoch)
    if not run.accelerator.is_main_process:
        return
    line = {
        "epoch": epoch, "stage": run.position.stage + 1, "loss": loss, "val_dice": score.value, "best": best,
        "skipped_steps": run.position.skipped, "seconds": round(seconds, 1),
    }  # fmt: skip
    with checkpoints.refusing_full_disk(run.output):
        with (run.output / "log.jsonl").open("a", encoding="utf-8") as stream:
            stream.write(json.dumps(line) + "\n")
        image = run.output / "predictions" / f"epoch-{epoch:04d}.png"
        write_sheet(run.kept, val, run.recipe.task, image)
    skipped = f"  skipped {run.position.skipped}" if run.position.skipped else ""
    print(
        f"epoch {epoch:3d}  loss {loss:.4f}  val Dice {score.value:.4f}  best {best:.4f}{skipped}  {seconds:.0f} s",
        flush=True,
    )


def _precision() -> str:
    """The best of this machine: bfloat16 or half precision on a GPU that has it, else float32."""
    if not torch.cuda.is_available():
        return "no"
    return "bf16" if torch.cuda.is_bf16_supported() else "fp16"


def _preprocess(recipe: Recipe) -> Preprocess:
    """The normalisation of the member that the recipe starts from, else of the encoder's ImageNet weights; for other
    channels than theirs the mean over them."""
    mean, std = normalisation(recipe.encoder)
    if recipe.init:
        donor = read_donor(find_member(recipe.init)).preprocess
        mean, std = donor.mean, donor.std
    if recipe.channels != len(mean):
        mean, std = (sum(mean) / len(mean),) * recipe.channels, (sum(std) / len(std),) * recipe.channels
    return Preprocess(recipe.size, recipe.size, recipe.channels, mean, std, recipe.resize, recipe.intensity)


def _begin(recipe: Recipe, member: MemberConfig) -> tuple[torch.nn.Module, MemberConfig]:
    """The network with the weights that it starts with, and `member` with the record of where they come from."""
    network = make_network(recipe, member)
    if recipe.init:
        start = take_over(network, member, find_member(recipe.init))
        PartialState().print(describe(start, member))
        member = replace(member, started_from=start)
    return network.to(memory_format=torch.channels_last), member


def _describe(recipe: Recipe, preprocess: Preprocess) -> MemberConfig:
    data, licence = provenance(recipe), recipe.weights_licence
    if recipe.push_to_hub and not data.is_known:
        raise ConfigError(
            "Nobody said what this member is trained on, or under which licence, so it could not be pushed. Name both: "
            """--training-data '{"name": "NAME", "licence": "LICENCE"}', or leave out --push-to-hub."""
        )
    upright = recipe.augmentation == "upright"
    return MemberConfig(recipe.name, recipe.task, recipe.labels, preprocess, data, licence, files={}, upright=upright)


def _with_records(member: MemberConfig, appearance: Appearance, split_sha256: str, baseline: Score) -> MemberConfig:
    """What is known once the data are read: `baseline` stands behind the score that each epoch puts first."""
    data = replace(member.training_data, appearance=appearance, split_sha256=split_sha256)
    return replace(member, training_data=data, scores=(baseline,))


def _warmup_cosine(steps: int, warmup: float) -> Callable[[int], float]:
    """Factor of the peak learning rate at a step: a straight rise over `warmup` of all steps, then a cosine to 0."""
    rise = max(1, round(steps * warmup))

    def factor(step: int) -> float:
        if step < rise:
            return (step + 1) / rise
        return 0.5 * (1 + math.cos(math.pi * (step - rise) / max(1, steps - rise)))

    return factor
