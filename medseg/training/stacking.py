"""Stacking: a network that learns from the members' probabilities of images that none of them was trained on."""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from zipfile import BadZipFile

import numpy as np
from accelerate import PartialState

from medseg import schema
from medseg.arrays import Masks
from medseg.cards.folder import write_cards
from medseg.config import EnsembleConfig, StackerReference, load_ensemble
from medseg.data.manifest import Sample
from medseg.data.samples import select, split_hash
from medseg.data.splits import deal_folds
from medseg.errors import InputError, ReadError
from medseg.image import Image
from medseg.inference.ensemble import Ensemble
from medseg.inference.member import copy_member, file_sha256
from medseg.inference.stacker import count_channels, stack_image
from medseg.places import ensemble_folder
from medseg.preprocess import to_image_grid
from medseg.progress import Bar
from medseg.training import checkpoints
from medseg.training.data import read_recipe_samples
from medseg.training.loop import train
from medseg.training.push import Pusher
from medseg.training.recipe import StackRecipe
from medseg.writing import replacing

SOURCE = "stacker"
"""The stacker's folder in the ensemble folder."""

PARTS = 3
"""One part in so many of the held-out cases chooses the epoch, the others train."""


@dataclass(frozen=True)
class StackedSample(Sample):
    """A sample whose image is the file of the members' probabilities of it; the masks are in the same file."""

    def read(self, labels: Sequence[str]) -> tuple[Image, Masks]:
        """The stacker's image and the masks on its grid. Raises ReadError for a file that is damaged."""
        try:
            with self.image.open("rb") as stream, np.load(stream) as stored:
                return Image(stored["image"].astype(np.float32)), stored["masks"]
        except (OSError, ValueError, KeyError, BadZipFile):
            raise ReadError(f"{self.image} is damaged: delete it, then give the same command again.") from None


def stack(recipe: StackRecipe) -> Path:
    """Train a stacker as `recipe` says; returns `<output>/ensemble`, a copy of the recipe's ensemble that blends by it.

    The stacker learns on the val split, dealt by case: two thirds train it, one third chooses its epoch; the test split
    stays unseen. The members' probabilities are kept in `<output>/probabilities`, so that a run that was stopped
    continues at once.

    Raises InputError for an ensemble with a member that is damaged or was trained on another division of the data, and
    what `train` raises.
    """
    settings, root = load_ensemble(ensemble_folder(recipe.ensemble))
    ensemble = Ensemble.from_pretrained(recipe.ensemble)
    _check(settings, ensemble)
    first = ensemble.members[0].config
    own = replace(
        recipe,
        push_to_hub=False,  # not the stacker alone: the ensemble is pushed, below
        task=settings.task,
        labels=settings.labels,
        channels=count_channels(len(settings.members), len(settings.labels), recipe.with_image),
        training_data=replace(first.training_data, name=f"held-out probabilities on {first.training_data.name}"),
        weights_licence=first.weights_licence,
    )
    stacker = train(own, partial(held_out_predictions, ensemble=ensemble))
    folder = Path(recipe.output) / "ensemble"
    if PartialState().is_main_process:
        reference = StackerReference(SOURCE, file_sha256(stacker / "member.json"), recipe.with_image)
        stacked = replace(settings, blend="stacking", stacker=reference, threshold=0.5)  # at which the epoch was chosen
        checkpoints.replace_folder(folder, partial(_write, stacked, root, stacker))
        print(f"Saved the ensemble {folder}: it blends by the stacker.")
        if recipe.push_to_hub:
            Pusher(recipe, folder).finish()
    return folder


def held_out_predictions(recipe: StackRecipe, ensemble: Ensemble) -> list[Sample]:
    """The val split as `ensemble`'s members predict it, dealt by case into "train" and "val".

    Raises InputError for a member that was trained on another division, and where the split has too few cases.
    """
    samples = read_recipe_samples(recipe)
    _refuse_other_division(ensemble, split_hash(samples))
    held_out = select(samples, "val")
    choosing = set(deal_folds(held_out, PARTS, recipe.seed)[0])
    folder = Path(recipe.output) / "probabilities"
    stacked: list[Sample] = []
    for sample in Bar(held_out, desc="members' probabilities"):
        split = "val" if sample.case in choosing else "train"
        stacked.append(StackedSample(_stacked(ensemble, sample, folder, recipe.with_image), (), sample.case, split))
    return stacked


def _check(settings: EnsembleConfig, ensemble: Ensemble) -> None:
    if len(ensemble.members) < len(settings.members):
        raise InputError(f"A stacker needs all members of {settings.name}. {' '.join(ensemble.quarantined)}")
    if SOURCE in [member.source for member in settings.members]:
        raise InputError(
            f"A member of {settings.name} lies in the folder {SOURCE!r}, which is the stacker's: rename it."
        )


def _refuse_other_division(ensemble: Ensemble, division: str) -> None:
    for member in ensemble.members:
        recorded = member.config.training_data.split_sha256
        if not recorded:
            PartialState().print(
                f"{member.config.name} does not say on which division of the data it was trained: "
                "that the val split was held out is not checked."
            )
        elif recorded != division:
            raise InputError(
                f"{member.config.name} was trained on another division of the data: what is held out here it may have "
                "seen. Give the --data and --seed of its training."
            )


def _stacked(ensemble: Ensemble, sample: Sample, folder: Path, with_image: bool) -> Path:
    """The file of the members' probabilities of `sample`, named by the hash of all that goes in; made where missing."""
    image, truth = sample.read(ensemble.config.labels)
    models = "+".join(member.sha256 for member in ensemble.members)
    digest = hashlib.sha256(f"{image.sha256}\t{models}\t{with_image}\t".encode() + np.packbits(truth).tobytes())
    path = folder / f"{digest.hexdigest()}.npz"
    if path.exists():
        return path
    members = np.stack([member.probabilities(image) for member in ensemble.members])
    channels = stack_image(members, image if with_image else None)
    masks = to_image_grid(truth.astype(np.float32), channels.size) >= 0.5
    with checkpoints.refusing_full_disk(folder):
        folder.mkdir(parents=True, exist_ok=True)
        with replacing(path) as writing, writing.open("wb") as stream:
            np.savez_compressed(stream, image=channels.pixels.astype(np.float16), masks=masks)
    return path


def _write(settings: EnsembleConfig, root: Path, stacker: Path, folder: Path) -> None:
    """The ensemble folder: the members of the one at `root` and the stacker; a Hub member stays where it is."""
    for member in settings.members:
        if member.revision is None:
            copy_member(root / member.source, folder / member.source)
    copy_member(stacker, folder / SOURCE)
    if (root / "LICENSE").is_file():
        shutil.copyfile(root / "LICENSE", folder / "LICENSE")
    schema.dump(settings, folder / "ensemble.json")
    write_cards(folder)
