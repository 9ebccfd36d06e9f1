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
    smoothed by 0.1) for binary and multilabel; mcc for binary. For multiclass, bce is the cross-entropy over background
    and labels. Raises ConfigError for anything else.
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
    if task == "binary":  # smp counts all pixels as one table: with several labels it would mix them
        matthews = smp.losses.MCCLoss()  # wants probabilities, unlike the others
        losses["mcc"] = lambda logits, target: matthews(logits.sigmoid(), target)
    return losses


def _target(masks: torch.Tensor, task: Task) -> torch.Tensor:
    """Float masks for binary and multilabel; class indices (N, H, W), 0 the background, for multiclass."""
    if task != "multiclass":
        return masks.float()
    background = ~masks.any(dim=1, keepdim=True)
    return torch.cat([background, masks], dim=1).to(torch.uint8).argmax(dim=1)
