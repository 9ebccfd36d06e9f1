"""Samples on the member's input grid, ready for the loop."""

from __future__ import annotations

import copy
import os
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset, Sampler

from medseg.config import UNKNOWN, Appearance, Preprocess, TrainingData
from medseg.data.samples import Sample, load_data
from medseg.errors import InputError
from medseg.image import Image
from medseg.inference.domain_check import appearance_of, look
from medseg.preprocess import masks_to_input_grid, normalise, probabilities_to_input_grid, to_input_grid
from medseg.progress import Bar
from medseg.training.augment import augment, make_augmentation
from medseg.training.recipe import Augmentation, Recipe

PHANTOM_COUNT = 240
PHANTOM_SEED = 1000  # far from the seeds of assets/examples: the member has not seen the images that it is shown on


class Pairs(Dataset[tuple[torch.Tensor, torch.Tensor]]):
    """Images (C, height, width) in [0, 1] and masks (K, height, width), read and resized once and kept in memory.

    Masks are bool. Where a sample has probabilities in their place (`medseg.training.distilling`), all become float.
    Half precision keeps 11 bits, more than any augmentation leaves. An index is `visit * len(samples) + sample`, where
    the visit is the epoch (and more for a sample drawn again in it): so the augmentation of a visit is the same in
    whatever process or order it is asked for. Raises InputError that names an image of other channels.
    """

    def __init__(self, samples: list[Sample], labels: tuple[str, ...], preprocess: Preprocess) -> None:
        self.preprocess = preprocess
        self.transform = None
        self.seed = 0
        pairs, looks = [], []
        for sample in Bar(samples, desc=f"reading {samples[0].split}"):
            image, masks = sample.read(labels)
            looks.append(look(image))
            pairs.append((_image(sample, image, preprocess).half(), _target(masks, preprocess)))
        self.pairs = pairs
        self.soft = any(masks.dtype != torch.bool for _, masks in pairs)
        numbers: dict[str, str] = {}  # a patient's name stays in the data set
        self.cases = [numbers.setdefault(sample.case, str(len(numbers))) for sample in samples]
        self.appearance: Appearance = appearance_of(looks)

    def marked(self) -> list[bool]:
        """For each sample whether any pixel of it is marked."""
        return [bool(masks.any()) for masks in self.masks()]

    def masks(self) -> list[torch.Tensor]:
        """Every sample's masks (K, height, width) bool; of probabilities, where they are 1/2 or more."""
        return [masks if masks.dtype == torch.bool else masks >= 0.5 for _, masks in self.pairs]

    def augmented(self, strength: Augmentation, seed: int) -> Pairs:
        """The same pairs, varied anew in every epoch; these stay as they are."""
        varied = copy.copy(self)
        varied.transform, varied.seed = make_augmentation(strength, self.preprocess.channels), seed
        return varied

    def __len__(self) -> int:
        return len(self.pairs)

    def __getitem__(self, index: int) -> tuple[torch.Tensor, torch.Tensor]:
        visit, sample = divmod(index, len(self.pairs))
        image, masks = self.pairs[sample]
        image, masks = image.float(), masks.float() if self.soft else masks
        if self.transform is not None:
            image, masks = augment(image, masks, self.transform, (self.seed, visit, sample))
        return torch.from_numpy(normalise(image.numpy()[None], self.preprocess)[0]), masks


def _target(masks: np.ndarray, preprocess: Preprocess) -> torch.Tensor:
    """Masks (K, H, W) bool or probabilities (K, H, W) float32 on the input grid, bool or half."""
    if masks.dtype == np.bool_:
        return torch.from_numpy(masks_to_input_grid(masks, preprocess))
    return torch.from_numpy(probabilities_to_input_grid(masks, preprocess)).half()


def _image(sample: Sample, image: Image, preprocess: Preprocess) -> torch.Tensor:
    try:
        return torch.from_numpy(to_input_grid(image.pixels, preprocess))
    except InputError as error:
        raise InputError(f"{sample.image.name}: {error} Set channels to what the images have.") from None


class ShuffledEpochs(Sampler[int]):
    """Every sample once an epoch, in an order that depends on (seed, epoch) alone; yields `epoch * count + sample`."""

    def __init__(self, count: int, seed: int) -> None:
        self.count, self.seed, self.epoch = count, seed, 0

    def set_epoch(self, epoch: int) -> None:
        self.epoch = epoch

    def __len__(self) -> int:
        return self.count

    def __iter__(self) -> Iterator[int]:
        generator = torch.Generator().manual_seed(self.seed * 1_000_003 + self.epoch)
        return iter(self.draw(generator))

    def draw(self, generator: torch.Generator) -> list[int]:
        return [self.epoch * self.count + sample for sample in _shuffled(range(self.count), generator)]


class BalancedEpochs(ShuffledEpochs):
    """As many samples an epoch as there are, `rate` of them `marked`; no sample comes again before its kind is through.

    What comes for the n-th time in an epoch is yielded as `(n * EPOCHS + epoch) * count + sample`.
    """

    EPOCHS = 1_000_000  # more than any run has

    def __init__(self, marked: list[bool], rate: float, seed: int) -> None:
        super().__init__(len(marked), seed)
        self.kinds = [[i for i, has in enumerate(marked) if has is kind] for kind in (True, False)]
        positives = round(rate * len(marked))
        self.counts = (positives, len(marked) - positives)
        if any(count and not kind for count, kind in zip(self.counts, self.kinds, strict=True)):
            raise InputError(f"positive_rate = {rate:g} needs samples with and without a marked pixel to train on.")

    def draw(self, generator: torch.Generator) -> list[int]:
        drawn = []
        for kind, count in zip(self.kinds, self.counts, strict=True):
            rounds = -(-count // len(kind)) if kind else 0
            visits = [(n, sample) for n in range(rounds) for sample in _shuffled(kind, generator)]
            drawn += [(n * self.EPOCHS + self.epoch) * self.count + sample for n, sample in visits[:count]]
        return _shuffled(drawn, generator)


def _shuffled(items: Sequence[int], generator: torch.Generator) -> list[int]:
    return [items[place] for place in torch.randperm(len(items), generator=generator).tolist()]


def training_loader(recipe: Recipe, train: Pairs, positive_rate: float = 0.0) -> DataLoader[Any]:
    """Batches of the training split, shuffled and augmented. Raises InputError for a split too small for one."""
    sampler = ShuffledEpochs(len(train), recipe.seed)
    if positive_rate:
        sampler = BalancedEpochs(train.marked(), positive_rate, recipe.seed)
    if len(train) < 2:
        raise InputError(
            f"The split 'train' holds {len(train)} sample, too few for one step: two or more are needed. Four cases or "
            "more give them, or a splits.json."
        )
    # a last batch of one sample would stop networks with batch norm over 1 × 1 maps (DeepLabV3+, PSPNet)
    single_left = len(train) % recipe.batch_size == 1
    varied = train.augmented(recipe.augmentation, recipe.seed)
    return _loader(varied, recipe, sampler=sampler, drop_last=single_left)


def validation_loader(recipe: Recipe, val: Pairs) -> DataLoader[Any]:
    """Batches of the validation split, in order and as they are."""
    return _loader(val, recipe)


def _loader(pairs: Pairs, recipe: Recipe, **settings: Any) -> DataLoader[Any]:
    """Batches in pinned memory for a GPU, so that their copies are not waited for; workers live for all epochs.

    A loader draws a seed for its workers whenever it starts them, of which nothing here makes use. It draws it from a
    generator of its own: from torch's, dropout would depend on how often they were started.
    """
    own: dict[str, Any] = {"generator": torch.Generator(), "num_workers": recipe.workers}
    pinned, several = torch.cuda.is_available(), recipe.workers > 0
    return DataLoader(pairs, recipe.batch_size, pin_memory=pinned, persistent_workers=several, **own, **settings)


PHANTOMS = TrainingData("phantoms drawn by medseg.data.phantoms", "Apache-2.0")


def provenance(recipe: Recipe) -> TrainingData:
    """What the recipe's data are: as it says (`defaults.choose` asks the layout of the data), phantoms for those that
    are drawn, UNKNOWN for other data, of which only the user knows."""
    if recipe.training_data != UNKNOWN:
        return recipe.training_data
    return PHANTOMS if recipe.data == "phantoms" else UNKNOWN


def read_recipe_samples(recipe: Recipe, *, quiet: bool = False) -> list[Sample]:
    """The samples that the recipe names; phantoms are drawn into the output folder first, the same for every seed.
    What is left out is a MedsegWarning each, unless `quiet`."""
    if recipe.data != "phantoms":
        settings: dict[str, Any] = {"labels": recipe.classes or None, "fold": recipe.fold or None, "seed": recipe.seed}
        quiet = quiet or os.environ.get("RANK", "0") != "0"  # the first process says what is left out
        return load_data(Path(recipe.data), **settings, quiet=quiet).samples
    from medseg.data.phantoms import write_pairs

    folder = Path(recipe.output) / "phantoms"
    if not folder.exists():
        print(f"Draws {PHANTOM_COUNT} phantoms to train on: --data names images of your own.")
        drawing = folder.with_name(".phantoms.writing")  # a run stopped while drawing must not leave half a data set
        shutil.rmtree(drawing, ignore_errors=True)
        write_pairs(drawing, PHANTOM_COUNT, "endoscopy", (128, 128), PHANTOM_SEED)
        drawing.rename(folder)
    return load_data(folder, seed=recipe.seed).samples
