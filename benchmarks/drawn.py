"""Drawn images for `benchmarks/coverage.py`: small and alike in size, so that a fit to them takes milliseconds."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache

import numpy as np

from medseg.arrays import Weight
from medseg.fitting.baseline import baseline_score, prior_counts
from medseg.fitting.measure import Measure
from medseg.fitting.observations import Observations
from medseg.fitting.search import Objective, Vector
from medseg.fitting.thresholds import FINEST, threshold_bins

PIXELS, OTHERS = 64, 3000
SPREAD: dict[str, tuple[float | None, ...]] = {
    "equal": (0.06,) * 5,
    "broken": (None, 0.06, 0.06, 0.06, 0.06),
    "dominant": (0.05, 0.16, 0.16, 0.16, 0.16),
    "far ahead": (0.05, 0.5, 0.5, 0.5, 0.5),
    "two good": (0.05, 0.05, 0.5, 0.5, 0.5),
    "graded": (0.05, 0.07, 0.09, 0.11, 0.13),
}
"""How far each member is off, in lengths of the line that an image is; None answers at random."""

Images = tuple[np.ndarray, np.ndarray]
"""Probabilities (images, members, PIXELS) and truth (images, PIXELS)."""


def draw(rng: np.random.Generator, kind: str, members: int, images: int) -> Images:
    """Probabilities (images, members, PIXELS) and truth (images, PIXELS): a segment of a line, found more or less."""
    line = np.linspace(-1, 1, PIXELS)
    margin = rng.uniform(0.15, 0.45, (images, 1)) - np.abs(line - rng.uniform(-0.5, 0.5, (images, 1)))
    hopeless, shared = rng.random((images, 1)) < 0.07, rng.normal(0, 0.04, (images, 1))
    stack = [_member(rng, margin, hopeless, shared, spread) for spread in SPREAD[kind][:members]]
    return np.stack(stack, axis=1).astype(np.float16), margin >= 0


def _member(
    rng: np.random.Generator, margin: np.ndarray, hopeless: np.ndarray, shared: np.ndarray, spread: float | None
) -> np.ndarray:
    if spread is None:
        return rng.random(margin.shape)
    images = len(margin)
    failed = hopeless | (rng.random((images, 1)) < 0.03 + 0.6 * spread)
    near = margin + shared + rng.normal(0, spread, (images, 1)) + 0.05 * rng.normal(size=margin.shape)
    missed = 0.3 * margin - np.abs(rng.normal(0.1, 0.1, (images, 1)))
    return np.asarray(1 / (1 + np.exp(-12 * np.where(failed, missed, near))))


def marks(stack: np.ndarray, truth: np.ndarray, vectors: Sequence[Sequence[Weight]]) -> np.ndarray:
    """The counts (V, n, T, 3) of every weight vector on all images at once: what `Histogram.counts` is for one."""
    blended = np.tensordot(np.array(vectors, np.float32), stack, axes=(1, 1))
    cells = len(vectors) * len(truth)
    index = threshold_bins(blended).reshape(cells, -1) + np.arange(cells)[:, None] * (FINEST + 1)
    inside = np.broadcast_to(truth, blended.shape).reshape(cells, -1)
    of = [np.bincount(each, minlength=cells * (FINEST + 1)) for each in (index[inside], index.ravel())]
    both, predicted = (
        each.reshape(len(vectors), len(truth), -1)[..., ::-1].cumsum(-1)[..., FINEST - 1 : 0 : -1] for each in of
    )
    return np.stack([both, predicted, np.broadcast_to(truth.sum(1)[:, None], both.shape)], axis=-1)


class _Objective(Objective):
    """`Objective` over images of one size."""

    def __init__(self, images: Images, fold_of: Sequence[int], measure: Measure) -> None:
        super().__init__([], fold_of, "binary", measure)
        self._images = images

    def _shares(self, vectors: Sequence[Vector]) -> np.ndarray:
        return Measure().ratio(marks(*self._images, vectors)).astype(np.float32)


@dataclass(frozen=True)
class Lines(Observations):
    """Observations of drawn images, which are small and of one size: counted all at once, a tenth of the time."""

    stack: np.ndarray
    truth: np.ndarray

    @classmethod
    def drawn(cls, images: Images) -> Lines:
        stack, truth = images
        cases = tuple(map(str, range(len(truth))))
        prior = prior_counts(truth[:, None, None], cases)
        return cls(((),), prior, cases, "val", "binary", stack.astype(np.float32), truth)

    @property
    def members(self) -> int:
        return self.stack.shape[1]

    @property
    def positives(self) -> tuple[int, ...]:
        return (int(self.truth.any(axis=1).sum()),)

    def curves(self, images: Sequence[int], weights: Sequence[Weight]) -> np.ndarray:
        return marks(self.stack[images], self.truth[images], [weights])[0][:, None]

    def baseline(self, images: Sequence[int], measure: Measure) -> float:
        true = self.truth[images].sum(axis=1)
        both = np.stack([np.zeros_like(true), true], axis=-1)
        constant = np.stack([both, np.broadcast_to([0, PIXELS], both.shape), np.stack([true] * 2, -1)], axis=-1)
        return baseline_score(self.prior[images], constant[:, None], measure)

    def objective(self, fold_of: Sequence[int], measure: Measure) -> Objective:
        return _Objective((self.stack, self.truth), fold_of, measure)


@cache
def others(kind: str, members: int) -> Images:
    stack, truth = draw(np.random.default_rng(99), kind, members, OTHERS)
    return stack.astype(np.float32), truth


@cache
def worth(kind: str, members: int, weights: tuple[float, ...], threshold: float) -> float:
    """Mean Dice of the weights on images that nothing was chosen on."""
    stack, truth = others(kind, members)
    marked = np.tensordot(np.array(weights, np.float32), stack, axes=(0, 1)) >= np.float32(threshold)
    return float(np.mean(2 * (marked & truth).sum(axis=1) / np.maximum(marked.sum(axis=1) + truth.sum(axis=1), 1)))
