"""Losses by name, and weighted sums of them: `0.7*bce + 0.3*tversky(0.3, 0.7)`."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import TypeAlias

import segmentation_models_pytorch as smp
import torch

from medseg.config import Task
from medseg.errors import ConfigError

Loss: TypeAlias = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]

_NUMBER = r"\d*\.?\d+"
_TERM = re.compile(
    rf"(?:(?P<weight>{_NUMBER})\s*\*\s*)?(?P<name>[a-z_]+)(?:\((?P<numbers>{_NUMBER}(?:\s*,\s*{_NUMBER})*)\))?"
)


def make_loss(expression: str, task: Task, label_weights: Sequence[float] = ()) -> Loss:
    """The loss of (logits (N, channels, H, W), masks (N, K, H, W)) that `expression` names; `masks` are bool, or
    probabilities to learn from (of multiclass bce alone takes them as such, the other terms the most probable class).

    Terms are bce, dice, jaccard, focal, lovasz and tversky, each with an optional weight (1 without); soft_bce (labels
    smoothed by 0.1) and image_dice for binary and multilabel; mcc for binary. For multiclass, bce is the cross-entropy
    over background and labels. dice is one ratio over the pixels of a batch, where small findings hardly count;
    image_dice is the mean over its images with a finding. `focal(3)` has the focusing exponent 3 (2 without; Lin et
    al., Focal loss, ICCV 2017); `tversky(0.3, 0.7)` counts a false positive pixel 0.3 and a missed one 0.7 (both 0.5
    without, which is dice; Salehi et al., MLMI 2017).

    dice, jaccard, tversky and image_dice have no gradient on a batch in which nothing is marked: alone, they never
    unlearn false alarms on empty images. A sum with bce or focal does.

    `label_weights` (K, above 0) say how much a marked pixel of each label counts in bce; an unmarked one, or the
    background, counts 1. Raises ConfigError for anything else.
    """
    terms = [_parse_term(text.strip(), task, label_weights) for text in expression.split("+")]

    def loss(logits: torch.Tensor, masks: torch.Tensor) -> torch.Tensor:
        target = _target(masks, task)
        return sum((weight * term(logits, target) for weight, term in terms), start=logits.new_zeros(()))

    return loss


def _parse_term(text: str, task: Task, label_weights: Sequence[float]) -> tuple[float, Loss]:
    match = _TERM.fullmatch(text)
    losses = _losses(task)
    if not match or match["name"] not in losses:
        raise ConfigError(f"loss: {text!r} is not a term; wanted e.g. 0.7*bce, of {', '.join(losses)}.")
    name, numbers = match["name"], [float(number) for number in (match["numbers"] or "").split(",") if number]
    weight = float(match["weight"] or 1)
    if name == "bce" and not numbers:
        return weight, _weighted_bce(task, label_weights) if label_weights else losses[name]
    wanted = {"focal": (0, 1), "tversky": (0, 2)}.get(name, (0,))
    if len(numbers) not in wanted:
        raise ConfigError(
            f"loss: {text!r} has {len(numbers)} numbers in brackets: wanted focal(2) or tversky(0.3, 0.7)."
        )
    term = _with_numbers(name, numbers, task) if numbers else losses[name]
    return weight, _of_classes(term) if task == "multiclass" else term


def _of_classes(term: Loss) -> Loss:
    """The multiclass `term`, which wants class indices, of class probabilities too."""
    return lambda logits, target: term(logits, target.argmax(dim=1) if target.is_floating_point() else target)


def _with_numbers(name: str, numbers: list[float], task: Task) -> Loss:
    if name == "focal":
        loss: Loss = smp.losses.FocalLoss(mode=task, gamma=numbers[0])
    else:
        loss = smp.losses.TverskyLoss(mode=task, alpha=numbers[0], beta=numbers[1])
    return loss


def _weighted_bce(task: Task, label_weights: Sequence[float]) -> Loss:
    weights = torch.tensor([1.0, *label_weights] if task == "multiclass" else [*label_weights])

    def loss(logits: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
        factors = weights.to(logits.device)
        if task == "multiclass":
            return torch.nn.functional.cross_entropy(logits, target, weight=factors)
        return torch.nn.functional.binary_cross_entropy_with_logits(logits, target, pos_weight=factors[:, None, None])

    return loss


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
    """1 - soft Dice (Milletari et al., V-Net, 3DV 2016), the mean over images and labels with a finding."""
    probabilities = logits.sigmoid().flatten(2)
    truth = target.flatten(2)
    size = truth.sum(dim=2)
    lost = 1 - 2 * (probabilities * truth).sum(dim=2) / (probabilities.sum(dim=2) + size).clamp(min=1e-6)
    return (lost * (size > 0)).sum() / (size > 0).sum().clamp(min=1)


def _target(masks: torch.Tensor, task: Task) -> torch.Tensor:
    """Float masks for binary and multilabel; for multiclass class indices (N, H, W), 0 the background, or where masks
    are probabilities those of the classes (N, 1 + K, H, W)."""
    if task != "multiclass":
        return masks.float()
    if masks.is_floating_point():
        return torch.cat([(1 - masks.sum(dim=1, keepdim=True)).clamp(min=0), masks], dim=1)
    background = ~masks.any(dim=1, keepdim=True)
    return torch.cat([background, masks], dim=1).to(torch.uint8).argmax(dim=1)
