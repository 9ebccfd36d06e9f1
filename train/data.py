"""Samples on the member's input grid, ready for the loop."""

from __future__ import annotations

import copy
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

import torch
from torch.utils.data import DataLoader, Dataset, Sampler
from tqdm import tqdm

from medseg.config import Appearance, Preprocess
from medseg.preprocess import masks_to_input_grid, normalise, to_input_grid
from medseg.samples import Sample, load_samples
from medseg.scope import appearance_of, look
from train.augment import augment, make_augmentation
from train.recipe import Recipe

PHANTOM_COUNT = 240
PHANTOM_SEED = 1000  # far from the seeds of assets/examples: the member has not seen the pictures that it is shown on


class Pairs(Dataset[tuple[torch.Tensor, torch.Tensor]]):
    """Pictures (C, height, width) in [0, 1] and masks (K, height, width), read and resized once and kept in memory.

    Half precision keeps 11 bits, more than any augmentation leaves. An index is `epoch * len(samples) + sample`, so
    that the augmentation of a sample in an epoch is the same in whatever process or order it is asked for.
    """

    def __init__(self, samples: list[Sample], labels: tuple[str, ...], preprocess: Preprocess) -> None:
        self.preprocess = preprocess
        self.transform = None
        self.seed = 0
        pairs, looks = [], []
        for sample in tqdm(samples, desc=f"reading {samples[0].split}", disable=not sys.stderr.isatty()):
            image, masks = sample.read(labels)
            looks.append(look(image))
            pairs.append((to_input_grid(image.pixels, preprocess).half(), masks_to_input_grid(masks, preprocess)))
        self.pairs = pairs
        numbers: dict[str, str] = {}  # a patient's name stays in the data set
        self.cases = [numbers.setdefault(sample.case, str(len(numbers))) for sample in samples]
        self.appearance: Appearance = appearance_of(looks)

    def augmented(self, strength: str, seed: int) -> Pairs:
        """The same pairs, varied anew in every epoch; these stay as they are."""
        varied = copy.copy(self)
        varied.transform, varied.seed = make_augmentation(strength), seed
        return varied

    def __len__(self) -> int:
        return len(self.pairs)

    def __getitem__(self, index: int) -> tuple[torch.Tensor, torch.Tensor]:
        epoch, sample = divmod(index, len(self.pairs))
        picture, masks = self.pairs[sample]
        picture = picture.float()
        if self.transform is not None:
            picture, masks = augment(picture, masks, self.transform, (self.seed, epoch, sample))
        return normalise(picture.unsqueeze(0), self.preprocess)[0], masks


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
        order = torch.randperm(self.count, generator=generator).tolist()
        return iter([self.epoch * self.count + sample for sample in order])


def make_loaders(recipe: Recipe, train: Pairs, val: Pairs) -> tuple[DataLoader, DataLoader]:
    """(training loader, shuffled and augmented; validation loader, in order)."""
    varied = train.augmented(recipe.augmentation, recipe.seed)
    settings = {"batch_size": recipe.batch_size, "num_workers": recipe.workers}
    # a last batch of one sample would stop networks with batch norm over 1 × 1 maps (DeepLabV3+, PSPNet)
    single_left = len(train) % recipe.batch_size == 1
    shuffled = DataLoader(varied, sampler=ShuffledEpochs(len(train), recipe.seed), drop_last=single_left, **settings)
    return shuffled, DataLoader(val, **settings)


def read_recipe_samples(recipe: Recipe) -> list[Sample]:
    """The samples that the recipe names; phantoms are drawn into the output folder first, the same for every seed."""
    if recipe.data != "phantoms":
        return load_samples(Path(recipe.data), seed=recipe.seed)
    from assets.phantoms import write_pairs

    folder = Path(recipe.output) / "phantoms"
    if not folder.exists():
        drawing = folder.with_name(".phantoms.writing")  # a run stopped while drawing must not leave half a data set
        shutil.rmtree(drawing, ignore_errors=True)
        write_pairs(drawing, PHANTOM_COUNT, "endoscopy", (128, 128), PHANTOM_SEED)
        drawing.rename(folder)
    return load_samples(folder, seed=recipe.seed)
