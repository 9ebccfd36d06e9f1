"""`medseg continue MEMBER PAIRS …`: train a member on, with pairs of image and mask that a person corrected."""

from __future__ import annotations

import argparse
import dataclasses
import json
import sys
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from medseg.config import MemberConfig
from medseg.data.division import as_trained, unlike_trained
from medseg.data.left_out import left_out
from medseg.data.manifest import Sample, write_manifest
from medseg.data.samples import load_data, select
from medseg.data.splits import deal
from medseg.errors import InputError
from medseg.training.donor import find_member, read_donor
from medseg.training.launch import ending_training

STEPS, BATCH = 50, 8
"""Steps of the training, and images in each."""

CORRECTED = "corrected "
"""How the case of a corrected pair begins."""

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
    parser.add_argument("--data", type=Path, help="the member's own data: its val split says how far to go")
    parser.add_argument("--output", type=Path, default=Path("runs/continued"), help="default: runs/continued")
    parser.add_argument("--epochs", type=int, default=1, help=f"of {STEPS} steps or more each; default: 1")
    return parser


def continue_training(member: str, pairs: Sequence[Path], data: Path | None, output: Path, epochs: int = 1) -> Path:
    """Train `member` on with corrected `pairs`; returns the new member's folder, `output`/member.

    Its weights lie part of the way from the old to the trained ones (`medseg.training.part_way`), as far as the
    validation split of `data`, the member's own data set, bears it. Without it one corrected case in HELD_OUT
    validates. Images of the validation and test splits among the pairs are left out and counted. Raises
    InputError where too few pairs are left.
    """
    from medseg.training.loop import read_sound_samples, train
    from medseg.training.part_way import go_part_way
    from medseg.training.recipe import recipe_from_settings

    donor = read_donor(find_member(member))
    corrected = _corrected(pairs, donor)
    old = _old(data, donor) if data else []
    samples = _divided(corrected, old, donor)
    output.mkdir(parents=True, exist_ok=True)
    write_manifest(samples, donor.labels, output / "samples.json")
    settings = _settings(member, donor, sum(map(_is_corrected, select(samples, "train"))), epochs)
    settings |= {"data": str(output / "samples.json"), "output": str(output / "training")}
    recipe = recipe_from_settings(settings)
    read = partial(read_sound_samples, quiet=True)  # samples.json is ours; what the user's data leave out was said
    trained = train(recipe, read, teach=lesson)
    print(go_part_way(recipe, trained, select(samples, "val"), output / "member", old=bool(old)))
    return output / "member"


def _old(data: Path, donor: MemberConfig) -> list[Sample]:
    """The data of the member, divided as its training was; where they are not, or no such data, that is said."""
    labels, recorded = donor.labels if len(donor.labels) > 1 else None, donor.training_data.split_sha256
    samples = load_data(data, labels=labels, divide=False).samples
    if not any(sample.split for sample in samples):
        samples = as_trained(samples, [recorded]) or samples
    samples = deal(samples)
    for doubt in unlike_trained(samples, [donor], brings=True):
        print(f"note: {doubt}", file=sys.stderr)
    return samples


def _corrected(pairs: Sequence[Path], donor: MemberConfig) -> list[Sample]:
    """The samples of all pairs, their cases told apart by the file that they came in."""
    samples = []
    for path in pairs:
        labels = donor.labels if len(donor.labels) > 1 else None
        loaded = load_data(path, labels=labels, divide=False).samples
        samples += [replace(sample, case=f"{CORRECTED}{path.stem} {sample.case}", split="") for sample in loaded]
    return samples


def _divided(corrected: list[Sample], old: list[Sample], donor: MemberConfig) -> list[Sample]:
    """Corrected pairs and old data with their splits."""
    if old:
        held = {sample.read(donor.labels)[0].sha256 for sample in old if sample.split != "train"}
        known = [sample for sample in corrected if sample.read(donor.labels)[0].sha256 in held]
        fresh = [sample for sample in corrected if sample not in known]
        for entry in left_out("corrected images of the validation or test split", [s.image.name for s in known]):
            print(entry)
        if not fresh:
            raise InputError("No corrected pair is left to train on: all belong to the validation or test split.")
        return [*old, *(replace(sample, split="train") for sample in fresh)]
    cases = sorted({sample.case for sample in corrected})
    if len(cases) < 3:
        raise InputError(f"{len(cases)} corrected pairs are too few: wanted 3 or more, or --data with older ones.")
    validating = set(cases[::HELD_OUT])
    return [replace(sample, split="val" if sample.case in validating else "train") for sample in corrected]


def lesson(training: list[Sample]) -> list[Sample]:
    """The images of an epoch: each corrected one as often as makes STEPS batches, once at least, augmented anew each
    time. Old images are not among them: in the batches, at 2e-4, they made members worse."""
    corrected = [sample for sample in training if _is_corrected(sample)]
    return corrected * max(1, round(STEPS * BATCH / len(corrected)))


def _is_corrected(sample: Sample) -> bool:
    return sample.case.startswith(CORRECTED)


def _settings(member: str, donor: MemberConfig, corrections: int, epochs: int) -> dict[str, Any]:
    """The recipe of a training on so many `corrections`."""
    data = json.loads(json.dumps(dataclasses.asdict(donor.training_data)))  # tuples become lists
    data = {key: value for key, value in data.items() if key not in ("appearance", "split_sha256")}
    return {
        "init": member,
        "name": f"{donor.name}-continued"[:100],
        "task": donor.task,
        "labels": list(donor.labels),
        "batch_size": BATCH,
        "epochs": epochs,
        "learning_rate": 1e-4,
        "augmentation": "upright" if donor.upright else "medium",
        "ema_decay": 0.98,
        "batch_statistics": "kept",  # ten images are not typical: learnt from them, a member marks next to nothing
        "weights_licence": donor.weights_licence,
        "training_data": {**data, "name": f"{data['name']}, and {corrections} corrected pairs"},
    }
