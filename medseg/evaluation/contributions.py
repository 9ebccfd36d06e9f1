"""What each member is worth: how the ensemble fares without it, and its Shapley share.

Both are found on every n-th pixel of the working grid, no side above SIDE: an ensemble of eight has 255 coalitions, and
Dice over those pixels differs from the whole by less than the images differ from each other.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import comb

import numpy as np
from jaxtyping import Float64

from medseg.arrays import Masks, Probabilities, Stack, Threshold, Weight
from medseg.config import EnsembleConfig, Task
from medseg.inference.blend import blend, weighted_mean
from medseg.intervals import Estimate, difference_interval
from medseg.metrics import dice
from medseg.postprocess import to_masks
from medseg.preprocess import to_image_grid
from medseg.report.words import threshold_words

MAX_MEMBERS = 8
"""Of an ensemble that gets Shapley shares: 2 to the power of its members coalitions are blended for every image."""

SIDE = 256
COALITION_THRESHOLD = 0.5
WITHOUT, SHAPLEY = "change without it", "Shapley share"


class Contributions:
    """Collects one image after another. `weights` are the members' in ensemble.json, normalised.

    A stacker is made for all its members at once; the weighted mean takes its place where one is left out.
    """

    def __init__(self, settings: EnsembleConfig, weights: Sequence[Weight]) -> None:
        self.settings = settings
        self.how = "weighted mean" if settings.blend == "stacking" else settings.blend
        self._weights = np.array([np.broadcast_to(weight, len(settings.labels)) for weight in weights])
        self._exact = len(weights) <= MAX_MEMBERS
        self._without: list[Float64[np.ndarray, "M+1 K"]] = []
        self._coalitions: list[Float64[np.ndarray, "S K"]] = []

    def add(self, stack: Stack, truth: Masks) -> None:
        """Take in the members' probabilities of an image and its true masks on the image's own grid."""
        sampled, true = every_nth(stack, truth)
        self._without.append(self._leave_one_out(sampled, true))
        if self._exact:
            self._coalitions.append(coalition_dice(sampled, true, self.settings.task))

    def summary(
        self, names: Sequence[str], baselines: Mapping[str, Sequence[float]], cases: Sequence[str]
    ) -> dict[str, dict[str, dict[str, Estimate]]]:
        """{label: {member: {WITHOUT and, up to MAX_MEMBERS members, SHAPLEY: estimate of the Dice per image}}}.

        `baselines` hold the Dice of the coalition of nobody, the better baseline, on each image.
        """
        shares: dict[str, dict[str, dict[str, Estimate]]] = {}
        for index, label in enumerate(self.settings.labels):
            without = np.array([image[:, index] for image in self._without])
            columns = {WITHOUT: (without[:, 1:], without[:, 0])}
            if self._exact:
                worth = np.array([image[:, index] for image in self._coalitions])
                worth[:, 0] = baselines[label]
                columns[SHAPLEY] = (shapley(worth), np.zeros(len(worth)))
            shares[label] = {
                name: {
                    column: difference_interval(values[:, i].tolist(), others.tolist(), cases)
                    for column, (values, others) in columns.items()
                }
                for i, name in enumerate(names)
            }
        return shares

    def protocol(self, baseline: str) -> str:
        """How the figures are computed, where the row `baseline` is the better baseline."""
        without = (
            f"Per-image Dice on every n-th pixel of the working grid (no side above {SIDE}), before clean-up. "
            f"{WITHOUT.capitalize()}: the {self.how} by the chosen weights at threshold "
            f"{threshold_words(self.settings.threshold)}, with the member left out and the other weights "
            "renormalised, minus the same with all. "
        )
        if not self._exact:
            return f"{without}No Shapley shares: they are exact or absent, and at most {MAX_MEMBERS} members have them."
        return (
            f"{without}{SHAPLEY} (Shapley 1953): exact over all coalitions, each worth the Dice of its equal weights "
            f"at threshold {COALITION_THRESHOLD}, and nobody worth that of the {baseline}; all shares add up to the "
            "difference of the two."
        )

    def _leave_one_out(self, stack: Stack, truth: Masks) -> Float64[np.ndarray, "M+1 K"]:
        """Dice of all members, then without each; nan where a label then has no member with weight."""
        everyone = np.ones((1, len(self._weights)))
        rows = np.concatenate([everyone, 1 - np.eye(len(self._weights))])
        dice = np.full((len(rows), len(truth)), np.nan)
        for row, present in enumerate(rows):
            weights = self._weights * present[:, np.newaxis]
            if weights.any(axis=0).all():
                blended = blend(stack, self.how, weights.tolist(), self.settings.task)
                dice[row] = _dice(blended, self.settings.threshold, truth, self.settings.task)
        return dice


def every_nth(stack: Stack, truth: Masks) -> tuple[Stack, Masks]:
    """Every n-th pixel of the stack (M, K, h, w) and of the truth (K, H, W) brought to its grid; no side above SIDE."""
    if truth.shape[1:] != stack.shape[2:]:
        truth = to_image_grid(truth.astype(np.float32), (stack.shape[2], stack.shape[3])) >= 0.5
    stride = -(-max(stack.shape[2:]) // SIDE)
    return stack[:, :, ::stride, ::stride], truth[:, ::stride, ::stride]


def coalition_dice(stack: Stack, truth: Masks, task: Task) -> Float64[np.ndarray, "S K"]:
    """Each label's Dice of equal weights in every coalition: row s is that of the members whose bits are set in s.

    Row 0, of nobody, is nan.
    """
    members = len(stack)
    dice = np.full((2**members, len(truth)), np.nan)
    for coalition in range(1, 2**members):
        present = [float(coalition >> member & 1) for member in range(members)]
        dice[coalition] = _dice(weighted_mean(stack, present), COALITION_THRESHOLD, truth, task)
    return dice


def shapley(worth: Float64[np.ndarray, "n S"]) -> Float64[np.ndarray, "n M"]:
    """Each member's mean gain to a coalition, over all orders in which members can join.

    `worth[:, s]` is that of the coalition whose members' bits are set in s. A row's shares add up to
    worth of all − worth of nobody.

    Source: Shapley, A value for n-person games, 1953.
    """
    members = worth.shape[1].bit_length() - 1
    shares = np.zeros((len(worth), members))
    for coalition in range(worth.shape[1]):
        for member in range(members):
            joined = coalition | 1 << member
            if joined != coalition:
                orders = members * comb(members - 1, coalition.bit_count())
                shares[:, member] += (worth[:, joined] - worth[:, coalition]) / orders
    return shares


def _dice(blended: Probabilities, threshold: Threshold, truth: Masks, task: Task) -> Float64[np.ndarray, "K"]:
    return dice(to_masks(blended, threshold, task), truth)
