"""Weights and threshold from validation samples, by a plain search over the simplex.

The objective is the per-image mean Dice over labels. Every choice that is compared (each member alone, equal weights,
the fitted weights) gets its own best threshold, so that none is favoured. A member that alone is no better than
an answer that never looks at the image is broken: it gets weight 0.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from math import comb

import numpy as np
from jaxtyping import Bool, Float32, Float64

from medseg.arrays import Masks, Probabilities, Stack
from medseg.blend import weighted_mean
from medseg.config import Fitted, Score, Task
from medseg.errors import InputError
from medseg.member import LoadedMember
from medseg.metrics import mean_interval
from medseg.preprocess import to_image_grid, working_size
from medseg.samples import Sample, split_hash

STEPS = 10
MAX_SEARCHED = 1001
"""Weight vectors tried at most: five members in steps of 1/10. More members are searched in wider steps."""

THRESHOLDS = np.arange(5, 96, 5) / 100
PRIOR_SIDE = 128
SEARCH_SIDE = 256
"""Every n-th pixel is looked at, so that no side exceeds this: Dice over them differs from the whole by less than the
images differ from each other, and the search takes seconds."""


@dataclass(frozen=True)
class Choice:
    """Weights with their best threshold and what they score there: Dice, one value per image."""

    weights: tuple[float, ...]
    threshold: float
    dice: tuple[float, ...]

    @property
    def mean(self) -> float:
        return float(np.mean(self.dice))


@dataclass(frozen=True)
class Fit:
    """The choices compared on the validation samples.

    `floor` is the mean Dice of the best answer that never looks at the image; `broken` are the indices of the members
    that do not exceed it alone and got weight 0 for that; empty where none exceeds it, and then all are searched.
    """

    singles: tuple[Choice, ...]
    equal: Choice
    fitted: Choice
    floor: float
    broken: tuple[int, ...]

    @property
    def best_single(self) -> int:
        """Index of the member that is best alone."""
        return int(np.argmax([choice.mean for choice in self.singles]))

    def record(self, names: Sequence[str], samples: Sequence[Sample], data: str) -> Fitted:
        """This fit as ensemble.json keeps it."""
        cases = [sample.case for sample in samples]
        compared = (self.singles[self.best_single], self.equal, self.fitted)
        scores = [_score(choice, cases, samples[0].split) for choice in compared]
        return Fitted(data, split_hash(samples), self._method(), names[self.best_single], *scores)

    def _method(self) -> str:
        steps = _steps(len(self.singles) - len(self.broken))
        return (
            f"grid over the simplex in steps of 1/{steps} and over thresholds 0.05 to 0.95; "
            f"weight 0 for members not above the best answer that never looks at the image ({self.floor:.3f})"
        )


def fit(
    members: Sequence[LoadedMember],
    samples: Sequence[Sample],
    *,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> Fit:
    """Choose weights (>= 0, summing to 1) and threshold for `members` on `samples`.

    Among equal scores the weights nearest to equal win, so noise never drops a member; only a broken one, no better
    alone than a blind answer, is left out beforehand (at a low threshold it would pass as harmless). Members must
    agree in task and labels. `progress(done, total)` is called after each image. Raises InputError without members or
    samples; ReadError for a sample that cannot be read.
    """
    if not members or not samples:
        raise InputError(f"Fitting needs members and samples, got {len(members)} and {len(samples)}.")
    images = []
    for done, sample in enumerate(samples, start=1):
        images.append(_observe(members, sample))
        progress(done, len(samples))
    task = members[0].config.task
    count = len(members)
    singles = tuple(_best_threshold(images, weights, task) for weights in np.eye(count).tolist())
    equal = _best_threshold(images, [1 / count] * count, task)
    floor = _blind_dice([truth for _, truth in images])
    sound = [i for i, choice in enumerate(singles) if choice.mean > floor] or list(range(count))
    searched = [_best_threshold(images, weights, task) for weights in _candidates(sound, count)]
    best = max(searched, key=lambda choice: (round(choice.mean, 6), -np.ptp([choice.weights[i] for i in sound])))
    return Fit(singles, equal, best, floor, tuple(i for i in range(count) if i not in sound))


def mean_mask(truths: Sequence[Masks]) -> tuple[Float32[np.ndarray, "K side side"], Float64[np.ndarray, "T"]]:
    """The mean of many images' masks on a grid of PRIOR_SIDE², and its mean Dice on them at each of THRESHOLDS."""
    small = _on_square(truths)
    mean = np.asarray(np.mean(small, axis=0), dtype=np.float32)
    return mean, np.mean([dice_by_threshold(mean, truth) for truth in small], axis=0)


def _blind_dice(truths: Sequence[Masks]) -> float:
    """Mean Dice of the best answer that never looks at the image: nothing, everything, or the others' mean mask.

    The others': with its own mask in the mean, each image of a small split would have an unbeatable prior.
    """
    small = _on_square(truths)
    total = np.sum(small, axis=0, dtype=np.float32)
    others = [(total - mask.astype(np.float32)) / np.float32(max(len(small) - 1, 1)) for mask in small]
    prior = np.mean([dice_by_threshold(mean, mask) for mean, mask in zip(others, small, strict=True)], axis=0)
    constant = [[dice_by_threshold(np.full(t.shape, v, np.float32), t)[0] for v in (0, 1)] for t in truths]
    return float(max(prior.max(), np.mean(constant, axis=0).max()))


def _on_square(truths: Sequence[Masks]) -> list[Masks]:
    return [to_image_grid(truth.astype(np.float32), (PRIOR_SIDE, PRIOR_SIDE)) >= 0.5 for truth in truths]


def decision_values(probabilities: Probabilities, task: Task) -> Probabilities:
    """Values v with `to_masks(p, t, task) == (v >= t)` for every threshold t > 0: what lets one pass try them all."""
    if task != "multiclass":
        return probabilities
    winner = probabilities.argmax(axis=0) == np.arange(len(probabilities))[:, None, None]
    return np.asarray(np.where(winner, probabilities.sum(axis=0), np.float32(-1)))


def dice_by_threshold(values: Probabilities, truth: Masks) -> Float64[np.ndarray, "T"]:
    """Dice, the mean over labels, of `values >= t` for every t of THRESHOLDS; 1 where both masks are empty."""
    # in float32, as `values >= t` compares: float32(0.7) lies below the float64 0.7
    bins = np.searchsorted(THRESHOLDS.astype(np.float32), values, side="right")
    dice = [_label_dice(b, t) for b, t in zip(bins, truth, strict=True)]
    return np.asarray(np.mean(dice, axis=0), dtype=np.float64)


def _label_dice(bins: np.ndarray, truth: Bool[np.ndarray, "H W"]) -> Float64[np.ndarray, "T"]:
    reached = _at_least(np.bincount(bins.ravel(), minlength=len(THRESHOLDS) + 1))
    hit = _at_least(np.bincount(bins[truth], minlength=len(THRESHOLDS) + 1))
    total = reached + np.count_nonzero(truth)
    return np.where(total == 0, 1.0, 2 * hit / np.maximum(total, 1))


def _at_least(counts: np.ndarray) -> np.ndarray:
    """From pixels per bin to pixels at or above each threshold."""
    return counts[::-1].cumsum()[::-1][1:]


def _observe(members: Sequence[LoadedMember], sample: Sample) -> tuple[Stack, Masks]:
    """The members' answers and the truth on every n-th pixel of the working grid."""
    image, truth = sample.read(members[0].config.labels)
    stack = np.stack([member.probabilities(image) for member in members])
    on_grid = truth
    if image.size != working_size(image.size):
        on_grid = to_image_grid(truth.astype(np.float32), working_size(image.size)) >= 0.5
    stride = -(-max(stack.shape[2:]) // SEARCH_SIDE)
    return stack[:, :, ::stride, ::stride].copy(), on_grid[:, ::stride, ::stride].copy()


def _best_threshold(images: Sequence[tuple[Stack, Masks]], weights: Sequence[float], task: Task) -> Choice:
    blended = (decision_values(weighted_mean(stack, weights), task) for stack, _ in images)
    table = np.array([dice_by_threshold(values, truth) for values, (_, truth) in zip(blended, images, strict=True)])
    means = table.mean(axis=0).round(6)
    # of equally good thresholds the one nearest to 0.5, the value that calibrated probabilities call for
    best = max(range(len(THRESHOLDS)), key=lambda i: (means[i], -abs(THRESHOLDS[i] - 0.5)))
    return Choice(tuple(weights), float(THRESHOLDS[best]), tuple(table[:, best].tolist()))


def _candidates(sound: Sequence[int], members: int) -> Iterator[list[float]]:
    """Weights for `members` to try: equal ones, then the grid over the simplex, over the `sound` members only."""
    for entry in [[1 / len(sound)] * len(sound), *_simplex(len(sound), _steps(len(sound)))]:
        weights = dict(zip(sound, entry, strict=True))
        yield [weights.get(i, 0.0) for i in range(members)]


def _steps(members: int) -> int:
    """The finest grid, up to STEPS, with at most MAX_SEARCHED weight vectors."""
    return max((s for s in range(2, STEPS + 1) if comb(s + members - 1, members - 1) <= MAX_SEARCHED), default=1)


def _simplex(members: int, steps: int) -> Iterator[list[float]]:
    """All weight vectors whose entries are multiples of 1/steps and sum to 1."""

    def parts(left: int, places: int) -> Iterator[tuple[int, ...]]:
        if places == 1:
            yield (left,)
            return
        for first in range(left + 1):
            for rest in parts(left - first, places - 1):
                yield (first, *rest)

    return ([part / steps for part in entry] for entry in parts(steps, members))


def _score(choice: Choice, cases: Sequence[str], split: str) -> Score:
    mean = mean_interval(choice.dice, cases)
    protocol = (
        f"per-image mean over labels, every n-th pixel of the working grid, threshold {choice.threshold:g} chosen here"
    )
    return Score("dice", mean.mean, mean.low, mean.high, mean.n, split, protocol)
