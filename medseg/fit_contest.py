"""Best single member, equal weights and searched weights, chosen on all cases, or on some and scored on the others."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Bool, Int64

from medseg.blend import normalise_weights
from medseg.config import FitMethod, Nested, Score, Task
from medseg.fit_floor import blind_score, constant_counts
from medseg.fit_measure import Measure
from medseg.fit_search import Chosen, Objective, choose, equal, search
from medseg.metrics import Estimate
from medseg.tally import Tally, add


@dataclass(frozen=True)
class Observed:
    """All that is kept of the images: the tallies of each, its masks on a small square, its case; and their split."""

    tallies: tuple[tuple[Tally, ...], ...]
    small: Bool[np.ndarray, "n K side side"]
    cases: tuple[str, ...]
    split: str
    task: Task

    def label(self, index: int) -> Observed:
        """One label of several that may overlap, by itself."""
        tallies = tuple((image[index],) for image in self.tallies)
        return replace(self, tallies=tallies, small=self.small[:, index : index + 1])

    def counts(self, images: Sequence[int], chosen: Chosen) -> Int64[np.ndarray, "n K 3"]:
        """What the chosen weights and threshold mark on these images."""
        weights = np.array([normalise_weights(chosen[0], len(chosen[0]))])
        parts = ([t.counts(weights, self.task)[0, :, chosen[1]] for t in self.tallies[i]] for i in images)
        return np.array([np.concatenate(part) for part in parts])

    def floor(self, images: Sequence[int], measure: Measure) -> float:
        """What the best blind answer scores on these images."""
        chosen = [self.tallies[i] for i in images]
        constant = [np.concatenate([constant_counts(t.total, t.true) for t in image]) for image in chosen]
        return blind_score(self.small[images], np.array(constant), measure)


@dataclass(frozen=True)
class Contenders:
    """What was chosen on some of the images, the floor there, and the members that do not exceed it alone."""

    singles: list[Chosen]
    best_single: Chosen
    equal: Chosen
    fitted: Chosen
    floor: float
    broken: tuple[int, ...]


class Contest:
    """Chooses the contenders; what weights score on an image is computed once for all folds."""

    def __init__(self, observed: Observed, fold_of: Sequence[int], measure: Measure, method: FitMethod) -> None:
        self._observed = observed
        self._fold_of = fold_of
        self._measure = measure
        self._method = method
        self._objective = self._pooled() if measure.average == "pooled" else self._per_image()

    def choose(self, left_out: int | None = None) -> Contenders:
        """The contenders on all images, or on all but those of the fold `left_out`."""
        scores = self._objective.without(left_out)
        members = self._observed.tallies[0][0].answers.shape[0]
        singles = [choose(scores, [equal([i], members)]) for i in range(members)]
        alone = scores([vector for vector, _ in singles]).max(axis=1).round(6)
        images = [i for i, fold in enumerate(self._fold_of) if fold != left_out]
        floor = self._observed.floor(images, self._measure)
        sound = [i for i in range(members) if alone[i] > round(floor, 6)] or list(range(members))
        return Contenders(
            singles,
            singles[int(alone.argmax())],
            choose(scores, [equal(range(members), members)]),
            search(self._method, scores, sound, members),
            floor,
            tuple(i for i in range(members) if i not in sound),
        )

    def nested(self) -> Nested:
        """Each contender chosen without a fold and scored on it, over all folds."""
        images = range(len(self._fold_of))
        single, same, fitted = np.empty((3, len(images), self._observed.small.shape[1], 3), np.int64)
        for fold in range(max(self._fold_of) + 1):
            held_out = [i for i in images if self._fold_of[i] == fold]
            found = self.choose(fold)
            single[held_out] = self._observed.counts(held_out, found.best_single)
            same[held_out] = self._observed.counts(held_out, found.equal)
            fitted[held_out] = self._observed.counts(held_out, found.fitted)
        measure, cases, split = self._measure, self._observed.cases, self._observed.split
        how = f"nested cross-validation by case, {max(self._fold_of) + 1} folds"
        means = [score(measure, measure.estimate(each, cases), split, how) for each in (single, same, fitted)]
        ahead = [
            score(measure, measure.difference(fitted, each, cases), split, f"paired difference, {how}")
            for each in (single, same)
        ]
        return Nested(*means, *ahead)

    def _per_image(self) -> Objective:
        return Objective(self._observed.tallies, self._fold_of, self._observed.task, self._measure)

    def _pooled(self) -> Objective:
        folds = range(max(self._fold_of) + 1)
        pairs = list(zip(self._observed.tallies, self._fold_of, strict=True))
        images = [[tallies for tallies, of in pairs if of == fold] for fold in folds]
        units = [[add(parts) for parts in zip(*fold, strict=True)] for fold in images]
        return Objective(units, folds, self._observed.task, self._measure)


def score(measure: Measure, estimate: Estimate, split: str, words: str) -> Score:
    """An estimate as the JSON files keep it, its protocol ending in `words`."""
    protocol = f"{measure}, every n-th pixel of the working grid, {words}"
    return Score(measure.metric, estimate.mean, estimate.low, estimate.high, estimate.n, split, protocol)
