"""A trained-on member goes part of the way from its old weights to the new ones: corrections are few, and not typical.

Source: Wortsman et al., Robust fine-tuning of zero-shot models, CVPR 2022.
"""

from __future__ import annotations

import copy
from dataclasses import replace
from functools import partial
from pathlib import Path

import torch
from accelerate import Accelerator

from medseg.config import Appearance
from medseg.data.left_out import counted
from medseg.data.manifest import Sample
from medseg.inference.member import load_network, save_member
from medseg.intervals import difference_interval
from medseg.scores import SURELY, Score
from medseg.training.checkpoints import replace_folder
from medseg.training.data import Pairs, validation_loader
from medseg.training.donor import find_member, read_donor
from medseg.training.recipe import Recipe
from medseg.training.validate import dices_of, score_of

WAYS = (0.5, 0.25)
"""Shares of the way. All the way, ten corrections make a member worse on other images."""


def go_part_way(recipe: Recipe, trained: Path, validating: list[Sample], folder: Path, *, old: bool) -> str:
    """Save in `folder` the member between the recipe's start and the `trained` one; returns what follows for the user.

    It goes the first of WAYS on which the validating images, where they are `old` ones, are not surely predicted worse;
    the last where they are corrected ones, which tell nothing of others.
    """
    donor, config = find_member(recipe.init), read_donor(trained)
    start, end = load_network(donor), load_network(trained)
    pairs, accelerator = Pairs(validating, config.labels, config.preprocess), Accelerator()
    loader = accelerator.prepare(validation_loader(recipe, pairs))
    before = dices_of(accelerator, start.to(accelerator.device), loader, recipe.task)
    for way in WAYS if old else WAYS[-1:]:
        network = between(start.cpu(), end, way)
        after = dices_of(accelerator, network.to(accelerator.device), loader, recipe.task)
        change = difference_interval(_means(after), _means(before), pairs.cases)
        worse = change.mean < (-SURELY * change.error if old else 0)
        if not worse:
            break
    score = score_of(after, pairs.cases, recipe)
    origin = read_donor(donor).training_data  # whose division still says what the member has seen
    data = replace(config.training_data, appearance=both(config.training_data.appearance, origin.appearance))
    data = replace(data, split_sha256=origin.split_sha256 or data.split_sha256)
    config = replace(config, training_data=data, scores=(score, *config.scores[1:]))
    replace_folder(folder, partial(save_member, network, config))
    verdict = _verdict(before, score, worse, old)
    return f"Saved the member {folder}, {way:g} of the way to the trained weights. {verdict}"


def between(start: torch.nn.Module, end: torch.nn.Module, way: float) -> torch.nn.Module:
    """A network like both, with weights and batch statistics `way` (0 to 1) of the way from `start` to `end`."""
    network, first, last = copy.deepcopy(end), start.state_dict(), end.state_dict()
    mixed = {key: torch.lerp(first[key], last[key], way) for key in last if last[key].is_floating_point()}
    network.load_state_dict(last | mixed)
    return network


def _means(dices: torch.Tensor) -> list[float]:
    values: list[float] = dices.mean(dim=1).double().tolist()
    return values


def both(new: Appearance | None, old: Appearance | None) -> Appearance | None:
    """The ranges that hold both; None where one is not known."""
    if new is None or old is None:
        return None
    pairs = {name: (getattr(new, name), getattr(old, name)) for name in ("brightness", "red_green", "yellow_blue")}
    return Appearance(**{name: (min(a[0], b[0]), max(a[1], b[1])) for name, (a, b) in pairs.items()})


def _verdict(before: torch.Tensor, after: Score, worse: bool, old: bool) -> str:
    """The Dice of the validating images before and after, and what follows from it."""
    noun, which = ("image", "of the validation split") if old else ("corrected image", "held out")
    values = f"{float(before.mean()):.3f} before, {after.value:.3f} after."
    sentence = f"Dice on {counted(after.n, noun)} {which}: {values}"
    sentence += "" if old else " Whether it forgot others cannot be told without --data, its own."
    return f"{sentence} The new member is worse there: keep the old one." if worse else sentence
