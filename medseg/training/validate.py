"""Scores of the validation split, and images of what the network predicts there."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import PIL.Image
import torch
from accelerate import Accelerator
from torch.utils.data import DataLoader

from medseg.config import Task
from medseg.evaluation.rows import prior_of
from medseg.inference.networks import to_probabilities
from medseg.intervals import mean_interval
from medseg.overlay import draw_overlay
from medseg.postprocess import to_masks
from medseg.scores import Score
from medseg.training.data import Pairs
from medseg.training.recipe import Recipe

SHOWN = 8
"""Images on a sheet, evenly spaced over the split."""


def validate(
    accelerator: Accelerator, network: torch.nn.Module, loader: DataLoader[Any], cases: list[str], recipe: Recipe
) -> Score:
    """Dice of the validation split on the input grid, threshold 0.5: the per-image mean, over labels and images."""
    return score_of(dices_of(accelerator, network, loader, recipe.task), cases, recipe)


@torch.no_grad()
def dices_of(accelerator: Accelerator, network: torch.nn.Module, loader: DataLoader[Any], task: Task) -> torch.Tensor:
    """Dice (N, K) of each image and label.

    Several processes take turns batch by batch: what they gather is in the loader's order.
    """
    network.eval()
    dices = []
    for images, masks in loader:
        with accelerator.autocast():
            logits = network(images.to(memory_format=torch.channels_last))
        predicted = _masks(logits, task)
        dices.append(accelerator.gather_for_metrics(dice(predicted.to(masks.device), masks)))
    return torch.cat(dices)


def score_of(dices: torch.Tensor, cases: list[str], recipe: Recipe) -> Score:
    """The score that the `dices` (N, K) of a validation split make."""
    return _score(dices, cases, f"{_grid(recipe)}, threshold 0.5, both empty 1")


def location_baseline(train: Pairs, val: Pairs, recipe: Recipe) -> Score:
    """Dice of the location prior (`medseg.evaluation.rows`) on the validation split, as `validate` reckons it:
    what a member must exceed to have looked at the image at all."""
    prior = prior_of([masks.numpy() for masks in train.masks()])
    prediction = torch.from_numpy(prior.masks((recipe.size, recipe.size))).unsqueeze(0)
    values = torch.cat([dice(prediction, masks.unsqueeze(0)) for _, masks in val.pairs])
    threshold = f"threshold {prior.threshold:g} chosen on train"
    return _score(values, val.cases, f"location prior, blind to the image: {_grid(recipe)}, {threshold}, both empty 1")


def _grid(recipe: Recipe) -> str:
    return f"per-image mean on the {recipe.size} × {recipe.size} input grid"


def _score(dices: torch.Tensor, cases: list[str], protocol: str) -> Score:
    """The mean over labels and images of `dices` (N, K)."""
    mean = mean_interval(dices.mean(dim=1).double().tolist(), cases)
    return Score("dice", mean.mean, mean.low, mean.high, mean.n, "val", protocol)


def dice(predicted: torch.Tensor, truth: torch.Tensor) -> torch.Tensor:
    """Dice (N, K) of masks (N, K, H, W); 1 where both are empty."""
    shared = (predicted & truth).sum(dim=(2, 3))
    total = predicted.sum(dim=(2, 3)) + truth.sum(dim=(2, 3))
    return torch.where(total == 0, 1.0, 2 * shared / total.clamp(min=1))


@torch.no_grad()
def write_sheet(network: torch.nn.Module, val: Pairs, task: Task, path: Path) -> None:
    """An image of some validation samples: the truth drawn in the upper row, the prediction of `network` in the
    lower."""
    network.eval()
    device = next(network.parameters()).device
    truths, predictions = [], []
    for index in np.linspace(0, len(val) - 1, min(SHOWN, len(val))).round().astype(int).tolist():
        image, truth = val.pairs[index]
        predicted = _masks(network(val[index][0].unsqueeze(0).to(device)), task)[0]
        truths.append(panel(image, truth))
        predictions.append(panel(image, predicted))
    save_rows([truths, predictions], path)


def panel(image: torch.Tensor, masks: torch.Tensor) -> np.ndarray:
    """The image (C, H, W) in [0, 1] under its masks (K, H, W), as (H, W, 3) bytes.

    What is neither grey nor colour, such as a stack of probabilities, is shown as the mean of its channels.
    """
    shown = image.float()
    if len(shown) not in (1, 3):
        shown = shown.mean(dim=0, keepdim=True)
    return draw_overlay(shown.permute(1, 2, 0).numpy(), masks.numpy())


def save_rows(rows: list[list[np.ndarray]], path: Path) -> None:
    """Write equally large panels as one PNG, row by row."""
    path.parent.mkdir(parents=True, exist_ok=True)
    PIL.Image.fromarray(np.concatenate([np.concatenate(row, axis=1) for row in rows])).save(path)


def _masks(logits: torch.Tensor, task: Task) -> torch.Tensor:
    probabilities = to_probabilities(logits.float(), task).cpu().numpy()  # once a batch: a copy waits for the GPU
    return torch.from_numpy(np.stack([to_masks(each, 0.5, task) for each in probabilities]))
