"""What the members predict for labelled images, and what fitting keeps of it."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Int64

from medseg.arrays import Masks, Stack, Weight
from medseg.config import Task
from medseg.data.manifest import Sample
from medseg.errors import InputError
from medseg.fitting.baseline import baseline_score, constant_counts, on_square, prior_counts
from medseg.fitting.histogram import Histogram, add, to_histograms
from medseg.fitting.measure import Measure
from medseg.fitting.search import Objective
from medseg.inference.blend import normalise_weights
from medseg.inference.member import LoadedMember
from medseg.inference.members import Members
from medseg.inference.pipeline import mapped
from medseg.preprocess import to_image_grid

SEARCH_SIDE = 256
"""Every n-th pixel is looked at, so that no side exceeds this: scores over them differ from the whole by less than the
images differ from each other, and the search takes seconds."""

Progress = Callable[[int, int], None]


@dataclass(frozen=True, eq=False)
class Observation:
    """One image of a task: the members' probabilities (M, K, h, w) float16 and the truth (K, h, w), both on every n-th
    pixel (`thin`) of the working grid."""

    sample: Sample
    task: Task
    stack: Stack
    truth: Masks

    def only(self, members: Sequence[int]) -> Observation:
        """The same of these members alone."""
        return replace(self, stack=self.stack[list(members)])


def observe(
    members: Sequence[LoadedMember], samples: Sequence[Sample], *, progress: Progress = lambda done, total: None
) -> Iterator[Observation]:
    """Run the members on each sample, in order; they must agree in task and labels.

    `progress(done, total)` is called after each. Raises InputError without members or samples, ReadError for a sample
    that cannot be read.
    """
    if not members or not samples:
        raise InputError(f"Fitting needs members and samples, got {len(members)} and {len(samples)}.")

    together = Members(members)

    def look(sample: Sample) -> tuple[Observation, int]:
        image, truth = sample.read(members[0].config.labels)
        return observation(sample, members[0].config.task, together.stack(image), truth), image.pixels.nbytes

    looks = mapped(look, samples, lambda pair: pair[1], together.at_once)
    for done, (observed, _) in enumerate(looks, start=1):
        yield observed
        progress(done, len(samples))


def observation(sample: Sample, task: Task, stack: Stack, truth: Masks) -> Observation:
    """Of a whole stack on the working grid, and the truth on the image's own grid."""
    if truth.shape[1:] != stack.shape[2:]:
        truth = to_image_grid(truth.astype(np.float32), (stack.shape[2], stack.shape[3])) >= 0.5
    return Observation(sample, task, thin(stack), thin(truth))


def thin(planes: np.ndarray) -> np.ndarray:
    """A copy of every n-th row and column of (…, h, w), so that no side exceeds SEARCH_SIDE: the grid of fitting."""
    stride = -(-max(planes.shape[-2:]) // SEARCH_SIDE)
    rows = planes[..., ::stride, :].copy()  # the rows first: two thirds of the time
    return rows[..., ::stride].copy()


@dataclass(frozen=True)
class Observations:
    """All that fitting keeps of images: of each its histograms, what the mean mask of the other cases marks of it, its
    case; the split."""

    histograms: tuple[tuple[Histogram, ...], ...]
    prior: Int64[np.ndarray, "n K T 3"]
    cases: tuple[str, ...]
    split: str
    task: Task

    @classmethod
    def of(cls, observations: Iterable[Observation]) -> Observations:
        """What fitting keeps of these, of which there is at least one; each is let go before the next is made."""
        histograms, squares, cases = [], [], []
        for observation in observations:
            histograms.append(to_histograms(observation.stack, observation.truth, observation.task))
            squares.append(on_square([observation.truth])[0])
            cases.append(observation.sample.case)
        prior = prior_counts(np.array(squares), cases)
        return cls(tuple(histograms), prior, tuple(cases), observation.sample.split, observation.task)

    def without(self, cases: Collection[str]) -> Observations:
        """Those of all other cases."""
        images = [i for i, case in enumerate(self.cases) if case not in cases]
        return replace(
            self,
            histograms=tuple(self.histograms[i] for i in images),
            prior=self.prior[images],
            cases=tuple(self.cases[i] for i in images),
        )

    @property
    def members(self) -> int:
        """The number of members."""
        return len(self.histograms[0][0].probabilities)

    @property
    def positives(self) -> tuple[int, ...]:
        """The number of cases that show each label."""
        shows = np.array([np.concatenate([part.true for part in image]) > 0 for image in self.histograms])
        return tuple(len({case for case, there in zip(self.cases, column, strict=True) if there}) for column in shows.T)

    def label(self, index: int) -> Observations:
        """One label of several that may overlap, by itself."""
        histograms = tuple((image[index],) for image in self.histograms)
        return replace(self, histograms=histograms, prior=self.prior[:, index : index + 1])

    def curves(self, images: Sequence[int], weights: Sequence[Weight]) -> Int64[np.ndarray, "n K T 3"]:
        """What the weights, for each label by itself where they are given so, mark on these at each of THRESHOLDS."""
        groups = len(self.histograms[0])
        normalised = np.array(normalise_weights(weights, self.members, groups)).reshape(self.members, -1)
        each = np.broadcast_to(normalised, (self.members, groups)).T
        counted = (
            [part.counts(row[None], self.task)[0] for part, row in zip(self.histograms[i], each, strict=True)]
            for i in images
        )
        return np.array([np.concatenate(parts) for parts in counted])

    def baseline(self, images: Sequence[int], measure: Measure) -> float:
        """The score of the best mask that never looks at these images."""
        chosen = [self.histograms[i] for i in images]
        constant = [np.concatenate([constant_counts(part.total, part.true) for part in image]) for image in chosen]
        return baseline_score(self.prior[images], np.array(constant), measure)

    def objective(self, fold_of: Sequence[int], measure: Measure) -> Objective:
        """The scores of weights on these images; for a pooled measure on folds, of one histogram each."""
        if measure.average == "per image":
            return Objective(self.histograms, fold_of, self.task, measure)
        folds = range(max(fold_of) + 1)
        images = [
            [histograms for histograms, of in zip(self.histograms, fold_of, strict=True) if of == fold]
            for fold in folds
        ]
        units = [[add(parts) for parts in zip(*fold, strict=True)] for fold in images]
        return Objective(units, folds, self.task, measure)
