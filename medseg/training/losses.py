"""Losses by name, and weighted sums of them: `0.7*bce + 0.3*dice`."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import TypeAlias

import segmentation_models_pytorch as smp
import torch

from medseg.config import Task
from medseg.errors import ConfigError

Loss: TypeAlias = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]

_TERM = re.compile(r"(?:(?P<weight>\d*\.?\d+)\s*\*\s*)?(?P<name>[a-z_]+)")


def make_loss(expression: str, task: Task) -> Loss:
    """The loss of (logits (N, channels, H, W), masks (N, K, H, W)) that `expression` names.

    Terms are bce, dice, jaccard, focal, lovasz and tversky, each with an optional weight (1 without); soft_bce (labels
    smoothed by 0.1) and image_dice for binary and multilabel; mcc for binary. For multiclass, bce is the cross-entropy
    over background and labels. dice is one ratio over the pixels of a batch, where small findings hardly count;
    image_dice is the mean over its pictures with a finding. Raises ConfigError for anything else.
    """
    terms = [_parse_term(text.strip(), task) for text in expression.split("+")]

    def loss(logits: torch.Tensor, masks: torch.Tensor) -> torch.Tensor:
        target = _target(masks, task)
        return sum((weight * term(logits, target) for weight, term in terms), start=logits.new_zeros(()))

    return loss


def _parse_term(text: str, task: Task) -> tuple[float, Loss]:
    match = _TERM.fullmatch(text)
    losses = _losses(task)
    if not match or match["name"] not in losses:
        raise ConfigError(f"loss: {text!r} is not a term; wanted e.g. 0.7*bce, of {', '.join(losses)}.")
    return float(match["weight"] or 1), losses[match["name"]]


def _losses(task: Task) -> dict[str, Loss]:
    losses: dict[str, Loss] = {
        "bce": torch.nn.CrossEntropyLoss() if task == "multiclass" else torch.nn.BCEWithLogitsLoss(),
        "dice": smp.losses.DiceLoss(mode=task),
        "jaccard": smp.losses.JaccardLoss(mode=task),
        "focal": smp.losses.FocalLoss(mode=task),
        "lovasz": smp.losses.LovaszLoss(mode=task),
        "tversky": smp.losses.TverskyLoss(mode=task),
    }
    if task != "multiclass":
        losses["soft_bce"] = smp.losses.SoftBCEWithLogitsLoss(smooth_factor=0.1)
        losses["image_dice"] = _image_dice
    if task == "binary":  # smp counts all pixels as one table: with several labels it would mix them
        matthews = smp.losses.MCCLoss()  # wants probabilities, unlike the others
        losses["mcc"] = lambda logits, target: matthews(logits.sigmoid(), target)
    return losses


def _image_dice(logits: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
    """1 - soft Dice (Milletari et al., V-Net, 3DV 2016), the mean over pictures and labels with a finding."""
    found = logits.sigmoid().flatten(2)
    truth = target.flatten(2)
    size = truth.sum(dim=2)
    lost = 1 - 2 * (found * truth).sum(dim=2) / (found.sum(dim=2) + size).clamp(min=1e-6)
    return (lost * (size > 0)).sum() / (size > 0).sum().clamp(min=1)


def _target(masks: torch.Tensor, task: Task) -> torch.Tensor:
    """Float masks for binary and multilabel; class indices (N, H, W), 0 the background, for multiclass."""
    if task != "multiclass":
        return masks.float()
    background = ~masks.any(dim=1, keepdim=True)
    return torch.cat([background, masks], dim=1).to(torch.uint8).argmax(dim=1)
