"""A student that learns from an ensemble: what the ensemble is sure of counts much, what its members dispute little.

The targets are the ensemble's probabilities: where its members disagree they lie near 1/2 and pull hardly at all
(Hinton et al., Distilling the knowledge in a neural network, 2015). Images without masks have these alone.
"""

from __future__ import annotations

import hashlib
import json
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from accelerate import PartialState

from medseg.arrays import Masks, Probabilities
from medseg.calibration.temperature import ece, pool, reliability
from medseg.cards.folder import write_cards
from medseg.config import UNKNOWN
from medseg.data.division import otherwise_divided
from medseg.data.left_out import left_out, warn_left_out
from medseg.data.listing import images_below, not_among
from medseg.data.manifest import Sample
from medseg.data.samples import select
from medseg.data.splits import split_hash
from medseg.errors import InputError, ReadError
from medseg.evaluation.rows import plain_estimate
from medseg.image import Image
from medseg.inference.ensemble import Ensemble
from medseg.intervals import mean_interval
from medseg.metrics import dice
from medseg.progress import Bar
from medseg.reading.readers import count_frames
from medseg.report.words import three_digits
from medseg.training import checkpoints
from medseg.training.data import read_recipe_samples
from medseg.training.loop import train
from medseg.training.recipe import DistillRecipe


@dataclass(frozen=True)
class Taught(Sample):
    """A sample whose target is a file of what the ensemble predicts, mixed with the truth where there is one."""

    target: Path = Path()

    @property
    def files(self) -> list[Path]:
        """The image files, and the target, whose name is of all that it was made from."""
        return [self.image, *self.channels, self.target]

    def read(self, labels: Sequence[str]) -> tuple[Image, Masks]:
        """The image, and in the masks' place probabilities (K, H, W) float32. Raises ReadError for a damaged file."""
        try:
            with self.target.open("rb") as stream:
                target: Probabilities = np.load(stream).astype(np.float32) / 255
        except (OSError, ValueError, EOFError):
            raise ReadError(f"{self.target} is damaged: delete it, then give the same command again.") from None
        return self.read_image(), target


def distill(recipe: DistillRecipe) -> Path:
    """Train a student of the recipe's ensemble; returns the member folder `<output>/member`.

    It learns on the training split, whose masks are mixed with the ensemble's probabilities by `share`, and on the
    unlabelled images, which have these alone. The validation split has its own masks only. distilled.json says what of
    the ensemble is kept, and the card shows it. Raises InputError for other labels than the ensemble's, and what
    `train` raises.
    """
    ensemble = Ensemble.from_pretrained(recipe.ensemble)
    first = ensemble.members[0].config
    _refuse_other(recipe, ensemble)
    own = replace(recipe, task=ensemble.config.task, labels=ensemble.config.labels)
    samples, unnamed = read_recipe_samples(own, quiet=True), DistillRecipe(ensemble=recipe.ensemble)
    if own.training_data == UNKNOWN and split_hash(samples) == first.training_data.split_sha256:
        own = replace(own, training_data=replace(first.training_data, appearance=None, split_sha256=""))
    if own.weights_licence == unnamed.weights_licence:  # the teachers' terms hold for what is made of them
        own = replace(own, weights_licence=first.weights_licence)
    if PartialState().is_main_process:
        for doubt in otherwise_divided(samples, [teacher.config for teacher in ensemble.members]):
            print(f"note: {doubt}", file=sys.stderr)
    member = train(own, teach=partial(taught_samples, recipe=own, ensemble=ensemble))
    if PartialState().is_main_process:
        compared = {"teacher": ensemble.config.name, **compare(ensemble, member, select(samples, "val"))}
        (member / "distilled.json").write_text(json.dumps(compared, indent=1) + "\n", encoding="utf-8")
        write_cards(member)
        print(describe(compared))
    return member


def _refuse_other(recipe: DistillRecipe, ensemble: Ensemble) -> None:
    """Raises InputError for a task or labels that the ensemble does not have."""
    unnamed = DistillRecipe(ensemble=recipe.ensemble)
    for name in ("task", "labels"):
        own, named = getattr(ensemble.config, name), getattr(recipe, name)
        if named not in (own, getattr(unnamed, name)):
            raise InputError(f"distill: {name} {_words(named)} is not the ensemble's {_words(own)}: leave {name} out.")


def _words(value: str | tuple[str, ...]) -> str:
    return value if isinstance(value, str) else ", ".join(value)


def taught_samples(samples: list[Sample], recipe: DistillRecipe, ensemble: Ensemble) -> list[Sample]:
    """`samples` of the training split and the recipe's unlabelled images, each with its target."""
    folder = Path(recipe.output) / "targets"
    taught: list[Sample] = []
    for sample in Bar(samples, desc="targets"):
        target = _target(ensemble, sample, folder, recipe.share)
        taught.append(Taught(**{**vars(sample), "mask": ()}, target=target))
    damaged = []
    for sample in Bar(_unlabelled(recipe), desc="unlabelled"):
        try:
            taught.append(Taught(**vars(sample), target=_target(ensemble, sample, folder, 1.0)))
        except ReadError:
            damaged.append(sample.image.name)
    warn_left_out(left_out("unlabelled images that cannot be read", damaged))
    return taught


def _unlabelled(recipe: DistillRecipe) -> list[Sample]:
    """A sample for each frame of the unlabelled images, without those that are among the labelled data: the validation
    and test images must not come in by this door."""
    if not recipe.unlabelled:
        return []
    images = images_below(Path(recipe.unlabelled))
    fresh = not_among(images, (sample.image for sample in read_recipe_samples(recipe, quiet=True)))
    there = f", {len(images) - len(fresh)} more are among the labelled data and are left out"
    PartialState().print(f"{len(fresh)} unlabelled images{there if len(fresh) < len(images) else ''}.")
    if not fresh:
        raise InputError(f"unlabelled: {recipe.unlabelled} holds no images but those of the labelled data.")
    return [
        Sample(path, (), f"unlabelled {path.stem}", "train", frame) for path in fresh for frame in range(_frames(path))
    ]


def _frames(path: Path) -> int:
    """How many frames the file holds; 1 of one that cannot be read, which says so when it is."""
    try:
        return count_frames(path)
    except ReadError:
        return 1


def _target(ensemble: Ensemble, sample: Sample, folder: Path, share: float) -> Path:
    """The file of the sample's target, in steps of 1/255, named by the hash of all that goes in; made where missing."""
    image, truth = sample.read(ensemble.config.labels)
    models = "+".join(member.sha256 for member in ensemble.members)
    key = f"{image.sha256}\t{models}\t{ensemble.weights}\t{share}\t".encode() + np.packbits(truth).tobytes()
    path = folder / f"{hashlib.sha256(key).hexdigest()}.npy"
    if path.exists():
        return path
    mixed = share * ensemble.predict(image).probabilities + (1 - share) * truth
    with checkpoints.refusing_full_disk(folder):
        folder.mkdir(parents=True, exist_ok=True)
        writing = folder / ".writing"
        with writing.open("wb") as stream:
            np.save(stream, np.rint(mixed * 255).astype(np.uint8))
        writing.replace(path)
    return path


def compare(ensemble: Ensemble, member: Path, samples: Sequence[Sample]) -> dict[str, Any]:
    """Ensemble and student on `samples`: Dice (per-image mean over labels, with interval), ECE over all pixels,
    seconds an image and bytes of weights."""
    student = Ensemble.from_pretrained(member)
    rows = {"ensemble": ensemble, "student": student}
    return {"n": len(samples), **{name: _measure(model, samples) for name, model in rows.items()}}


def _measure(ensemble: Ensemble, samples: Sequence[Sample]) -> dict[str, Any]:
    dices, tables, seconds = [], [], 0.0
    for sample in samples:
        image, truth = sample.read(ensemble.config.labels)
        started = time.perf_counter()
        prediction = ensemble.predict(image)
        seconds += time.perf_counter() - started
        dices.append(float(dice(prediction.masks, truth).mean()))
        tables.append(reliability(prediction.probabilities, truth))
    mean = plain_estimate(mean_interval(dices, [sample.case for sample in samples]))
    parameters = sum(member.parameters for member in ensemble.members)
    return {
        **{name: mean[key] for name, key in (("dice", "mean"), ("low", "low"), ("high", "high"))},
        "ece": ece(pool(tables)),
        "seconds": seconds / len(samples),
        "megabytes": 2 * parameters / 1e6,
    }


def describe(compared: dict[str, Any]) -> str:
    """What the student keeps of the ensemble, and what it saves, in two lines."""
    lines = [f"On {compared['n']} validation images:"]
    for name in ("ensemble", "student"):
        row = compared[name]
        lines.append(
            f"  {name}: Dice {row['dice']:.3f} [{three_digits(row['low'])}, {three_digits(row['high'])}], "
            f"ECE {row['ece']:.4f}, {row['seconds']:.2f} s an image, {row['megabytes']:.1f} MB"
        )
    return "\n".join(lines)
