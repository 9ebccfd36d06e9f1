"""`medseg continue MEMBER PAIRS …`: train a member on, with pairs of image and mask that a person corrected."""

from __future__ import annotations

import argparse
import dataclasses
import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from medseg.config import MemberConfig
from medseg.data.manifest import Sample, write_manifest
from medseg.data.samples import load_data, select
from medseg.errors import InputError
from medseg.training.donor import find_member, read_donor
from medseg.training.launch import ending_training

STEPS = 50
"""Steps of the training: on ten images 150 of them, at 2e-4, forget more than they teach."""

HELD_OUT = 5
"""Of corrected pairs alone, one in so many validates."""


def main(arguments: Sequence[str] | None = None) -> None:
    """Train on as the command line says; a refusal is one sentence on stderr and exit status 1."""
    options = _parser().parse_args(arguments)
    with ending_training():
        continue_training(options.member, options.pairs, options.data, options.output, options.epochs)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="medseg continue", description=__doc__)
    parser.add_argument("member", help="the member to train on: an embedded one's name, a folder, a Hub repository")
    parser.add_argument("pairs", nargs="+", type=Path, help="corrected pairs: zips as the page gives them, or folders")
    parser.add_argument("--data", type=Path, help="the member's own training data: mixed in, its val split validates")
    parser.add_argument("--output", type=Path, default=Path("runs/continued"), help="default: runs/continued")
    parser.add_argument("--epochs", type=int, default=0, help=f"default: as many as make {STEPS} steps")
    return parser


def continue_training(member: str, pairs: Sequence[Path], data: Path | None, output: Path, epochs: int = 0) -> Path:
    """Train `member` on with corrected `pairs`; returns the new member's folder, `output`/member.

    With `data`, the member's own data set, its training split is mixed in and its validation split says whether
    anything was forgotten. Without it, one corrected case in HELD_OUT validates. Images of the validation and test
    splits among the pairs are left out and counted. Raises InputError where too few pairs are left.
    """
    from medseg.training.loop import train
    from medseg.training.recipe import recipe_from_settings

    donor = read_donor(find_member(member))
    corrected = _corrected(pairs, donor)
    old = load_data(data, labels=donor.labels if len(donor.labels) > 1 else None).samples if data else []
    samples = _mixed(corrected, old, donor)
    output.mkdir(parents=True, exist_ok=True)
    write_manifest(samples, donor.labels, output / "samples.json")
    training = select(samples, "train")
    corrections = sum(sample.case.startswith("corrected ") for sample in training)
    settings = _settings(member, donor, len(training), corrections, epochs)
    settings |= {"data": str(output / "samples.json"), "output": str(output)}
    folder = train(recipe_from_settings(settings))
    print(_verdict(member, folder, select(samples, "val"), bool(old)))
    return folder


def _corrected(pairs: Sequence[Path], donor: MemberConfig) -> list[Sample]:
    """The samples of all pairs, their cases told apart by the file that they came in."""
    samples = []
    for path in pairs:
        labels = donor.labels if len(donor.labels) > 1 else None
        loaded = load_data(path, labels=labels, divide=False).samples
        samples += [replace(sample, case=f"corrected {path.stem} {sample.case}", split="") for sample in loaded]
    return samples


def _mixed(corrected: list[Sample], old: list[Sample], donor: MemberConfig) -> list[Sample]:
    """Corrected pairs and old data with their splits."""
    if old:
        held = {sample.read(donor.labels)[0].sha256 for sample in old if sample.split != "train"}
        fresh = [sample for sample in corrected if sample.read(donor.labels)[0].sha256 not in held]
        if len(fresh) < len(corrected):
            left_out = len(corrected) - len(fresh)
            print(f"{left_out} corrected images belong to the validation or test split and are left out.")
        if not fresh:
            raise InputError("No corrected pair is left to train on: all belong to the validation or test split.")
        return [*old, *(replace(sample, split="train") for sample in fresh)]
    cases = sorted({sample.case for sample in corrected})
    if len(cases) < 3:
        raise InputError(f"{len(cases)} corrected pairs are too few: wanted 3 or more, or --data with older ones.")
    validating = set(cases[::HELD_OUT])
    return [replace(sample, split="val" if sample.case in validating else "train") for sample in corrected]


def _settings(member: str, donor: MemberConfig, count: int, corrections: int, epochs: int) -> dict[str, Any]:
    """The recipe for `count` training samples, `corrections` of which are corrected pairs."""
    batch = max(2, min(8, count // 2))
    data = json.loads(json.dumps(dataclasses.asdict(donor.training_data)))  # tuples become lists
    data = {key: value for key, value in data.items() if key not in ("appearance", "split_sha256")}
    return {
        "init": member,
        "name": f"{donor.name}-continued"[:100],
        "task": donor.task,
        "labels": list(donor.labels),
        "batch_size": batch,
        "epochs": epochs or max(1, -(-STEPS * batch // count)),
        "learning_rate": 1e-4,
        "augmentation": "medium",
        "ema_decay": 0.98,
        "batch_statistics": "kept",  # ten images are not typical: learnt from them, a member marks next to nothing
        "weights_licence": donor.weights_licence,
        "training_data": {**data, "name": f"{data['name']}, and {corrections} corrected pairs"},
    }


def _verdict(member: str, folder: Path, samples: Sequence[Sample], old: bool) -> str:
    """The Dice of the validating images before and after, and what follows from it."""
    from medseg.inference.ensemble import Ensemble
    from medseg.metrics import dice

    means = []
    for place in (find_member(member), folder):
        ensemble = Ensemble.from_pretrained(place)
        read = (sample.read(ensemble.config.labels) for sample in samples)
        means.append(sum(float(dice(ensemble.predict(image).masks, truth).mean()) for image, truth in read))
    before, after = (total / len(samples) for total in means)
    kind = "images of its own validation split" if old else "corrected images held out"
    sentence = f"Dice on {len(samples)} {kind}: {before:.3f} before, {after:.3f} after."
    sentence += "" if old else " Whether it forgot others cannot be told without --data, its own."
    return sentence if after >= before else f"{sentence} The new member is worse there: keep the old one."
