"""The trainings, `accelerate launch -m medseg.training [train | stack | distill] …`: a member, a stacker, a student."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from medseg.training.defaults import recipe_for_data
from medseg.training.launch import ending_training
from medseg.training.recipe import DistillRecipe, StackRecipe, recipe_from_arguments


def train(arguments: Sequence[str]) -> None:
    """Train one member; a refusal is one sentence on stderr and exit status 1."""
    with ending_training():
        recipe = recipe_for_data(arguments)
        from medseg.training.loop import train  # after the arguments: --help need not wait for torch

        train(recipe)


def stack(arguments: Sequence[str]) -> None:
    """Train a stacker over the members of an ensemble; a refusal is one sentence on stderr and exit status 1."""
    with ending_training():
        recipe = recipe_from_arguments(arguments, StackRecipe)
        from medseg.training.stacking import stack

        stack(recipe)


def distill(arguments: Sequence[str]) -> None:
    """Train a student of an ensemble; a refusal is one sentence on stderr and exit status 1."""
    with ending_training():
        recipe = recipe_for_data(arguments, DistillRecipe)
        from medseg.training.distilling import distill

        distill(recipe)


if __name__ == "__main__":
    trainings = {"train": train, "stack": stack, "distill": distill}
    words = sys.argv[1:]
    trainings[words.pop(0) if words and words[0] in trainings else "train"](words)
