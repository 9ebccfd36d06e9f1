"""Per lesion: which true lesions are found, and what is marked where there is none.

A lesion is a connected area (8 neighbours) of a mask, be it one pixel. Predicted and true lesions are matched one to
one so that the sum of their IoU is greatest (Hungarian method), among the pairs that a criterion allows: any common
pixel, IoU ≥ 0.1, IoU ≥ 0.5. A true lesion without a partner is missed, a predicted one is a false finding.

Source: Maier-Hein et al., Metrics reloaded, Nature Methods 2024 (instance localisation and assignment); FROC: Bunch et
al., A free-response approach to the measurement and characterization of radiographic-observer performance, 1978.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Bool, Float64, Int64
from scipy import ndimage, sparse
from scipy.optimize import linear_sum_assignment

from medseg.arrays import Mask, Masks, Probabilities
from medseg.image import Image
from medseg.intervals import Estimate, mean_interval, ratio_interval

CRITERIA = {"any overlap": 0.0, "IoU ≥ 0.1": 0.1, "IoU ≥ 0.5": 0.5}
"""The least IoU of a match by its name; 0 is one common pixel."""

FOUND = "any overlap"
"""The criterion of sizes and of the FROC."""

THRESHOLDS = tuple(np.arange(1, 10) / 10)
"""Of the FROC."""

FEWEST_OF_SIZE = 5
"""True lesions that a third of the sizes has at least; with fewer no sizes are told apart."""

PROTOCOL = (
    "lesions: areas of 8 neighbours, matched one to one so that the sum of their IoU is greatest; precision, recall "
    "and F1 over all lesions of all images, false findings per image, with 95 % intervals by case; sizes: thirds of "
    f"the true lesions' areas, recall by {FOUND}; FROC: the probabilities cut at 0.1 to 0.9, {FOUND}"
)

_EIGHT = np.ones((3, 3), bool)
_COUNTED = 2**20
_ROUNDING = 1e-9  # an IoU of exactly 1 / 10 is 0.1


@dataclass(frozen=True, eq=False)
class Lesions:
    """Of one image: the true lesions' areas in pixels, which of them are found by each of CRITERIA, the number of
    predicted ones, and what a pixel covers (nan without spacing)."""

    areas: Int64[np.ndarray, "T"]
    is_found: Bool[np.ndarray, "C T"]
    predicted: int
    pixel_mm2: float


def match(prediction: Mask, truth: Mask, image: Image | None = None) -> Lesions:
    """The lesions of two masks (H, W)."""
    box = _box(prediction | truth)
    theirs, true = ndimage.label(truth[box], _EIGHT)
    areas = np.bincount(theirs.ravel(), minlength=true + 1)[1:]
    ours, predicted = ndimage.label(prediction[box], _EIGHT)
    own = np.bincount(ours.ravel(), minlength=predicted + 1)[1:]
    pairs, common = _overlaps(theirs, ours, predicted + 1)
    iou = common / (areas[pairs[0]] + own[pairs[1]] - common) if len(common) else np.zeros(0)
    hits = np.zeros((len(CRITERIA), true), bool)
    for row, least in zip(hits, CRITERIA.values(), strict=True):
        allowed = iou >= least - _ROUNDING
        row[_assigned(pairs[:, allowed], iou[allowed])] = True
    spacing = image.spacing_mm if image else None
    return Lesions(areas, hits, predicted, spacing[0] * spacing[1] if spacing else np.nan)


def _box(mask: Mask) -> tuple[slice, slice]:
    """The rows and columns from the first marked pixel to the last: most of an image holds nothing."""
    rows, columns = (np.flatnonzero(mask.any(axis=axis)) for axis in (1, 0))
    if not len(rows):
        return slice(0, 0), slice(0, 0)
    return slice(rows[0], rows[-1] + 1), slice(columns[0], columns[-1] + 1)


def _overlaps(
    theirs: np.ndarray, ours: np.ndarray, number: int
) -> tuple[Int64[np.ndarray, "2 n"], Int64[np.ndarray, "n"]]:
    """The pairs (true, predicted) that share pixels, counted from 0, and how many they share."""
    both = (theirs > 0) & (ours > 0)
    codes = theirs[both].astype(np.int64) * number + ours[both]  # one number a pair: sorted, or counted where they fit
    if codes.size and codes.max() < _COUNTED:
        counts = np.bincount(codes)
        codes = np.flatnonzero(counts)
        common = counts[codes]
    else:
        codes, common = np.unique(codes, return_counts=True)
    return np.stack([codes // number, codes % number]) - 1, common


def _assigned(pairs: Int64[np.ndarray, "2 n"], iou: Float64[np.ndarray, "n"]) -> Int64[np.ndarray, "m"]:
    """The true lesions that get a partner. Each cluster of overlapping lesions is solved by itself: most hold one pair,
    and noise makes thousands of them."""
    if not len(iou):
        return np.empty(0, np.int64)
    true, predicted = (np.unique(row, return_inverse=True) for row in pairs)
    size = len(true[0]), len(predicted[0])
    graph = sparse.csr_array((iou, (true[1], size[0] + predicted[1])), shape=(sum(size), sum(size)))
    _, cluster = sparse.csgraph.connected_components(graph, directed=False)
    chosen = []
    order = np.argsort(cluster[true[1]], kind="stable")
    for edges in np.split(order, np.flatnonzero(np.diff(cluster[true[1]][order])) + 1):
        rows, columns = (np.unique(which[1][edges], return_inverse=True) for which in (true, predicted))
        weights = np.zeros((len(rows[0]), len(columns[0])))
        weights[rows[1], columns[1]] = iou[edges]
        for row, column in zip(*linear_sum_assignment(weights, maximize=True), strict=True):
            if weights[row, column] > 0:
                chosen.append(true[0][rows[0][row]])
    return np.array(chosen, np.int64)


class Froc:
    """Collects what every threshold finds in the probabilities of some rows, image by image."""

    def __init__(self, labels: Sequence[str]) -> None:
        self.labels = tuple(labels)
        self.counts: dict[str, dict[str, list[Int64[np.ndarray, "T 3"]]]] = {}

    def add(self, row: str, probabilities: Probabilities, truth: Masks) -> None:
        """Take in the `probabilities` (K, H, W) of one image under the name `row`."""
        for label, values, true in zip(self.labels, probabilities, truth, strict=True):
            self.counts.setdefault(row, {}).setdefault(label, []).append(_sweep(values, true))

    def curves(self, label: str) -> dict[str, list[dict[str, float]]]:
        """{row: [{threshold, recall, false_per_image}]}; [] without lesions, and for masks: they are one point."""
        return {row: _curve(labels[label]) for row, labels in self.counts.items()}


def summarise(lesions: Mapping[str, Sequence[Lesions]], cases: Sequence[str]) -> dict[str, Any]:
    """Of one label, {"lesions": n, "protocol", "rows": {row: {criterion: {metric: estimate}}}, "sizes": {row: {size:
    {"recall": estimate}}}}; `lesions` are {row: one for each image}."""
    return {
        "lesions": sum(len(image.areas) for image in next(iter(lesions.values()))),
        "protocol": PROTOCOL,
        "rows": {row: rates(images, cases) for row, images in lesions.items()},
        "sizes": {row: by_size(images, cases) for row, images in lesions.items()},
    }


def rates(images: Sequence[Lesions], cases: Sequence[str]) -> dict[str, dict[str, Estimate]]:
    """{criterion: {precision, recall, f1, false_per_image}}; nan where there is nothing to divide by: no precision
    where nothing is predicted, no recall where there is no lesion."""
    true = np.array([len(image.areas) for image in images], float)
    predicted = np.array([image.predicted for image in images], float)
    values = {}
    for index, criterion in enumerate(CRITERIA):
        hits = np.array([image.is_found[index].sum() for image in images], float)
        values[criterion] = {
            "precision": _ratio(hits, predicted, cases),
            "recall": _ratio(hits, true, cases),
            "f1": _ratio(2 * hits, true + predicted, cases),
            "false_per_image": mean_interval((predicted - hits).tolist(), cases, None),
        }
    return values


def by_size(images: Sequence[Lesions], cases: Sequence[str]) -> dict[str, dict[str, Estimate]]:
    """The recall of small, middle and large true lesions, by thirds of their areas; {} where they are too few or all
    of one size. In mm² where every image has a spacing."""
    metric = not any(np.isnan(image.pixel_mm2) for image in images)
    areas = [image.areas * (image.pixel_mm2 if metric else 1) for image in images]
    every = np.concatenate(areas)
    if len(every) < 3 * FEWEST_OF_SIZE:
        return {}
    ends = np.quantile(every, [1 / 3, 2 / 3], method="lower")
    if not every.min() <= ends[0] < ends[1] < every.max():
        return {}
    unit = "mm²" if metric else "px"
    limits = (-np.inf, *ends, np.inf)
    small, middle = (f"{end:,.0f}" if end >= 100 else f"{end:.3g}" for end in ends)
    names = (f"up to {small} {unit}", f"up to {middle} {unit}", f"above {middle} {unit}")
    row = [*CRITERIA].index(FOUND)
    recalls = {}
    for name, low, high in zip(names, limits, limits[1:], strict=False):
        inside = [(low < area) & (area <= high) for area in areas]
        hits = np.array([(image.is_found[row] & here).sum() for image, here in zip(images, inside, strict=True)], float)
        recalls[name] = {"recall": _ratio(hits, np.array([here.sum() for here in inside], float), cases)}
    return recalls


def _curve(images: Sequence[Int64[np.ndarray, "T 3"]]) -> list[dict[str, float]]:
    counted = np.sum(images, axis=0)
    if not counted[0, 2] or (counted == counted[0]).all():
        return []
    return [
        {"threshold": float(t), "recall": float(hits / true), "false_per_image": float(false / len(images))}
        for t, (hits, false, true) in zip(THRESHOLDS, counted, strict=True)
    ]


def _sweep(probabilities: np.ndarray, truth: Mask) -> Int64[np.ndarray, "T 3"]:
    """Found true lesions, false findings and true lesions at every threshold, within the box that holds anything."""
    box = _box(truth | (probabilities >= THRESHOLDS[0]))
    values, true = probabilities[box], truth[box]
    if ((values == 0) | (values == 1)).all():  # a mask: nothing moves with the threshold
        return np.tile(_counts(values > 0, true), (len(THRESHOLDS), 1))
    return np.array([_counts(values >= threshold, true) for threshold in THRESHOLDS])


def _counts(prediction: Mask, truth: Mask) -> tuple[int, int, int]:
    lesions = match(prediction, truth)
    hits = int(lesions.is_found[[*CRITERIA].index(FOUND)].sum())
    return hits, lesions.predicted - hits, len(lesions.areas)


def _ratio(part: np.ndarray, whole: np.ndarray, cases: Sequence[str]) -> Estimate:
    if not whole.any():
        return Estimate(np.nan, np.nan, np.nan, len(whole), len({*cases}))
    return ratio_interval(np.stack([part, whole], axis=-1)[:, np.newaxis], cases)
