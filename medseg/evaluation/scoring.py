"""What every report holds, whoever made the masks: each row's metrics, lesions, conventions, and how rows compare."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Any

import numpy as np

from medseg.arrays import Masks, Probabilities
from medseg.data.manifest import Sample
from medseg.data.splits import split_hash
from medseg.evaluation.conventions import Conventions
from medseg.evaluation.detection import Froc
from medseg.evaluation.ranking import compare
from medseg.evaluation.rows import EMPTY, PRIOR, Evaluation, location_prior, plain
from medseg.image import Image

Row = tuple[str, Probabilities, Masks]
"""The name of a row, and of one image probabilities and masks on its own grid."""


@dataclass(frozen=True)
class Result:
    """The `report` in plain values, and the `scores` of every single image that it summarises."""

    report: dict[str, Any]
    scores: Evaluation


class Scoring:
    """Collects the rows of one image after another, beside the baselines; `training` gives the location prior, and
    the rows `swept` get a FROC."""

    def __init__(self, labels: Sequence[str], training: Sequence[Sample], swept: Sequence[str]) -> None:
        self.scores = Evaluation(labels)
        self._conventions = Conventions(labels)
        self._froc = Froc(labels)
        self._prior = location_prior(training, labels) if training else None
        self._samples: list[Sample] = []
        self._swept = swept

    def add(self, sample: Sample, image: Image, truth: Masks, rows: Iterable[Row]) -> None:
        """Score the `rows` of one image, each let go before the next: a dozen of a large image fill the memory."""
        self._samples.append(sample)
        self.scores.cases.append(sample.case)
        for row, probabilities, masks in chain(self._baselines(image), rows):
            self._add(row, probabilities, masks, truth, image)

    def _add(self, row: str, probabilities: Probabilities, masks: Masks, truth: Masks, image: Image) -> None:
        self.scores.add(row, masks, truth, image)
        self._conventions.add(row, probabilities, truth)
        if row in self._swept:
            self._froc.add(row, probabilities, truth)

    def _baselines(self, image: Image) -> Iterator[Row]:
        nothing = np.zeros((len(self.scores.labels), *image.size), dtype=np.float32)
        yield EMPTY, nothing, nothing > 0
        if self._prior is not None:
            yield PRIOR, self._prior.probabilities(image.size), self._prior.masks(image.size)

    def result(self, report: dict[str, Any], compared: Sequence[str]) -> Result:
        """`report`, which has a `protocol`, with what is in every report: n, cases, split and its hash, `rows` as
        `Evaluation.summary`, `lesions` as `per_lesion` with a "froc" each, `conventions`, and the `comparison` of the
        rows `compared`. What is not a finite number is None, since JSON has no word for it."""
        scores, lesions = self.scores, self.scores.per_lesion()
        for label, counted in lesions.items():
            counted["froc"] = self._froc.curves(label)
        protocol = report["protocol"] + ("; no training image, so no location prior" if self._prior is None else "")
        counts = {
            "n": len(self._samples),
            "cases": len({*scores.cases}),
            "split": self._samples[0].split,
            "split_sha256": split_hash(self._samples),
            "protocol": protocol,
            "rows": scores.summary(),
            "lesions": lesions,
            "conventions": plain(self._conventions.summary(scores.confusions, scores.cases)),
            "comparison": compare(scores, compared),
        }
        return Result({**report, **counts}, scores)
