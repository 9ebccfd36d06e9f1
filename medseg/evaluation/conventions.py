"""The same predictions, as others count: figures for comparison with published ones, each under its own name.

None of them is what medseg means by Dice or IoU, and none may be compared with another. Where a pair of empty masks
counts and where the background does, figures rise far above what was found.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from jaxtyping import Float32

from medseg.arrays import Mask, Masks, Probabilities
from medseg.intervals import Estimate, mean_interval, ratio_interval
from medseg.metrics import Confusion

PRANET_DICE, PRANET_IOU = "PraNet's mean Dice", "PraNet's mean IoU"
MEAN_IOU = "mean IoU with background"
"""The mean of the foreground's and the background's IoU, as Keras's MeanIoU counts: not what others call IoU."""
KAGGLE, POSITIVES = "Dice by Kaggle's rule", "Dice over positives"

CONVENTIONS = {
    PRANET_DICE: "Fan et al., PraNet (MICCAI 2020), and the polyp papers after it: each image's probabilities are "
    "stretched so that the lowest is 0 and the highest 1 and rounded to 8 bits; Dice at each of the 256 thresholds "
    "(0 where nothing is hit), the mean over thresholds and images. No threshold is chosen.",
    PRANET_IOU: "the same with IoU.",
    MEAN_IOU: "Keras's MeanIoU: the mean of the foreground's and the background's IoU over the pixels of all images. "
    "The background is large and easy, so an empty mask scores well.",
    KAGGLE: "SIIM-ACR pneumothorax challenge (2019): Dice per image, 1 where both masks are empty, 0 where one is, "
    "the mean over all images. An empty mask scores the share of images without a finding.",
    POSITIVES: "Dice per image, the mean over images with a finding alone. What is marked on the others costs nothing.",
}
"""What each figure is and who counts so."""


class Conventions:
    """Collects, for each row, what needs probabilities and not masks alone."""

    def __init__(self, labels: Sequence[str]) -> None:
        self.labels = tuple(labels)
        self._by_threshold: dict[str, dict[str, list[tuple[float, float]]]] = {}

    def add(self, row: str, probabilities: Probabilities, truth: Masks) -> None:
        """Take in one image's prediction under the name `row`."""
        for label, values, true in zip(self.labels, probabilities, truth, strict=True):
            self._by_threshold.setdefault(row, {}).setdefault(label, []).append(over_thresholds(values, true))

    def summary(
        self, confusions: Mapping[str, Mapping[str, Sequence[Confusion]]], cases: Sequence[str]
    ) -> dict[str, dict[str, dict[str, Estimate]]]:
        """{label: {row: {convention: estimate}}}; `confusions` are {row: {label: one per image}}."""
        return {
            label: {
                row: _count(images[label], confusions[row][label], cases) for row, images in self._by_threshold.items()
            }
            for label in self.labels
        }


def _count(
    by_threshold: Sequence[tuple[float, float]], confusions: Sequence[Confusion], cases: Sequence[str]
) -> dict[str, Estimate]:
    positives = [(counts.dice, case) for counts, case in zip(confusions, cases, strict=True) if counts.positive]
    return {
        PRANET_DICE: mean_interval([dice for dice, _ in by_threshold], cases),
        PRANET_IOU: mean_interval([iou for _, iou in by_threshold], cases),
        MEAN_IOU: pooled_mean_iou(confusions, cases),
        KAGGLE: mean_interval([counts.dice for counts in confusions], cases),
        POSITIVES: mean_interval([dice for dice, _ in positives], [case for _, case in positives]),
    }


def over_thresholds(probabilities: Float32[np.ndarray, "H W"], truth: Mask) -> tuple[float, float]:
    """(Dice, IoU) of one image, each the mean over 256 thresholds; in [0, 1].

    As the evaluation published with PraNet has it: the map is stretched to [0, 1] by its own minimum and maximum and
    rounded to 8 bits; a pixel counts from the threshold on, so at the first all do; what hits nothing scores 0, also
    where both masks are empty.

    Source: Fan et al., PraNet: Parallel reverse attention network for polyp segmentation, MICCAI 2020, and its code.
    """
    low, high = float(probabilities.min()), float(probabilities.max())
    levels = np.rint(255 * (probabilities - low) / (high - low + 1e-8)).astype(np.intp)
    reached, hit = (_at_least(levels[where]) for where in (np.ones_like(truth), truth))
    dice = 2 * hit / np.maximum(reached + np.count_nonzero(truth), 1)
    return float(dice.mean()), float((dice / (2 - dice)).mean())


def _at_least(levels: np.ndarray) -> np.ndarray:
    """How many of `levels` reach each of 0 to 255."""
    return np.bincount(levels.ravel(), minlength=256)[::-1].cumsum()[::-1]


def pooled_mean_iou(confusions: Sequence[Confusion], cases: Sequence[str]) -> Estimate:
    """MEAN_IOU over the pixels of all images together, with its interval by case; a class that is nowhere has IoU 1."""
    counts = [(c.tp, c.tn, c.fp + c.fn) for c in confusions]
    terms = np.array([[(hit, hit + errors) for hit in (tp, tn)] for tp, tn, errors in counts], dtype=np.float64)
    return ratio_interval(terms, cases)
