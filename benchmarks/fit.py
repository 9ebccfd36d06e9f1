"""What the search for weights costs, against one over the pixels: `python benchmarks/fit.py`.

First the peer's grid: every weight 0.0, 0.1 … 0.9 for each of three members, 100 images of 512². The peer holds all
probabilities in float32 and tries each weight vector on all pixels at once: on every second row and column, which is
all that ours sees, at 0.5 alone and at all 19 thresholds of ours, those from one count of all pixels by twentieth and
truth; then on every pixel at 0.5. Ours makes histograms of the same pixels, as `fit` does, and tries the same vectors
on them at all thresholds. Once pooled, once per image; all of it in each of several fresh processes.
Then what `fit` does with five members and 1,000 images: histograms, grid, nested estimate.

The probabilities are drawn: smooth blobs, saturated inside and outside, each member with errors of its own.
"""

import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from itertools import product
from pathlib import Path
from typing import Any

sys.path[:] = [str(Path(__file__).resolve().parents[1]), *sys.path[1:]]

import numpy as np
from scipy import ndimage

from benchmarks.certificate import headroom
from benchmarks.needs import parser
from medseg.fitting.baseline import on_square, prior_counts
from medseg.fitting.fit import fit
from medseg.fitting.histogram import Histogram, add, to_histograms
from medseg.fitting.measure import Measure
from medseg.fitting.observations import Observations, thin
from medseg.fitting.search import Objective
from medseg.fitting.thresholds import HALF
from medseg.inference.blend import normalise_weights

SIDE, STRIDE, IMAGES, MANY, PROCESSES = 512, 2, 100, 1000, 3
VECTORS = [tuple(n / 10 for n in v) for v in product(range(10), repeat=3) if any(v)]
TRIED = 13
"""The peer tries every 13th vector: all take as long each."""
MEASURES = (Measure("iou", "pooled"), Measure("dice", "per image"))

Image = tuple[np.ndarray, np.ndarray]


def draw(members: int, count: int, side: int) -> Iterator[Image]:
    """Answers (members, 1, side, side) in half precision and the truth, image by image."""
    for number in range(count):
        rng = np.random.default_rng(number)
        field = _smooth(rng, side) - rng.uniform(0.8, 1.6)
        errors = [0.35 * _smooth(rng, side) + rng.normal(0, 0.15) for _ in range(members)]
        logits = np.stack([12 * (field + error) for error in errors])
        yield (1 / (1 + np.exp(-logits)))[:, None].astype(np.float16), (field > 0)[None]


def _smooth(rng: np.random.Generator, side: int) -> np.ndarray:
    coarse = ndimage.gaussian_filter(rng.normal(size=(32, 32)), 2, mode="wrap")
    return ndimage.zoom(coarse / coarse.std(), side / 32, order=1)


class Peer:
    """The grid over the arrays of `images` in float32."""

    def __init__(self, images: list[Image], measure: Measure) -> None:
        self.stack = np.concatenate([s[:, 0].astype(np.float32) for s, _ in images], axis=1).reshape(
            len(images[0][0]), -1
        )
        self.truth = np.concatenate([t.ravel() for _, t in images])
        self.images, self.measure = len(images), measure
        self.starts = np.repeat(42 * np.arange(len(images)), images[0][1].size)
        self.true = self.count(self.truth)

    def count(self, mask: np.ndarray) -> np.ndarray:
        pooled = self.measure.average == "pooled"
        return np.array(np.count_nonzero(mask) if pooled else mask.reshape(self.images, -1).sum(axis=1))

    def score(self, vector: tuple[float, ...]) -> float:
        weights = np.array(normalise_weights(vector, len(vector)), np.float32)
        mask = weights @ self.stack >= np.float32(0.5)
        counts = np.stack([self.count(mask & self.truth), self.count(mask), self.true], axis=-1)
        return float(np.mean(self.measure.ratio(counts)))

    def best(self, vector: tuple[float, ...]) -> float:
        """The best score of the vector at any of THRESHOLDS, from one count of all pixels."""
        weights = np.array(normalise_weights(vector, len(vector)), np.float32)
        values = weights @ self.stack
        values *= 20
        bins = values.astype(np.int64)
        bins *= 2
        bins += self.truth
        units = 1 if self.measure.average == "pooled" else self.images
        if units > 1:
            bins += self.starts
        counts = np.bincount(bins, minlength=42 * units).reshape(units, 21, 2)
        least = counts[:, ::-1].cumsum(axis=1)[:, 19:0:-1]  # at or above each threshold
        both, predicted = least[..., 1], least.sum(axis=-1)
        true = np.broadcast_to(np.reshape(self.true, (-1, 1)), both.shape)
        return float(self.measure.ratio(np.stack([both, predicted, true], axis=-1)).mean(axis=0).max())

    def scores(self, score: Callable[[tuple[float, ...]], float]) -> tuple[np.ndarray, float]:
        """The `score` of every TRIED of VECTORS, and the seconds that all of them take at that pace."""
        started = time.perf_counter()
        scores = np.array([score(vector) for vector in VECTORS[::TRIED]])
        return scores, (time.perf_counter() - started) * len(VECTORS) / len(scores)


def ours(images: list[Image], measure: Measure) -> tuple[np.ndarray, list[tuple[Histogram, ...]], float, float]:
    """The score of each of VECTORS at 0.5, the histograms, the best score at any threshold, and the seconds."""
    started = time.perf_counter()
    histograms = [to_histograms(*image, "binary") for image in images]
    units = histograms if measure.average == "per image" else [(add([image[0] for image in histograms]),)]
    scores = Objective(units, range(len(units)), "binary", measure).without(None)(VECTORS)
    return scores[:, HALF], units, float(scores.max()), time.perf_counter() - started


def compare() -> None:
    """The table: medians over fresh processes, their ratios pair by pair, and how far the scores are apart."""
    with tempfile.TemporaryDirectory() as folder:
        for number, (stack, truth) in enumerate(draw(3, IMAGES, SIDE)):
            np.savez(Path(folder) / f"{number:03}.npz", stack=stack, truth=truth)
        command = [sys.executable, __file__, "turn", folder]
        said = [subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout for _ in range(PROCESSES)]
    turns = [json.loads(each) for each in said]
    print(
        f"{len(VECTORS)} vectors of 3 members on {IMAGES} images of {SIDE} × {SIDE}, {PROCESSES} fresh processes, load "
        f"{os.getloadavg()[0]:.1f}\n\n"
        "| measure | ours, all thresholds | peer on the same pixels at all thresholds | ratio | at 0.5 alone | ratio | "
        "at 0.5 on all pixels | ratio | largest difference of a score at 0.5 |\n|---|---|---|---|---|---|---|---|---|"
    )
    for index, measure in enumerate(MEASURES):
        ours, *theirs = zip(*(turn[index]["seconds"] for turn in turns), strict=True)
        cells = [f"{statistics.median(each):.2f} s | {_spread(each, ours)}" for each in theirs]
        apart = turns[0][index]["apart"]
        quick = f"{statistics.median(ours):.3f} s ({min(ours):.3f} to {max(ours):.3f})"
        print(f"| {measure.metric}, {measure.average} | {quick} | {' | '.join(cells)} | {apart:.5f} |")
    print("\n" + "\n".join(each["note"] for each in turns[0]))


def turn(folder: str) -> None:
    """One process: of each measure the seconds of ours and of the peer's three grids, and what their scores say."""
    images = [(each["stack"], each["truth"]) for each in map(np.load, sorted(Path(folder).iterdir()))]
    equal = [(thin(s), thin(t)) for s, t in images]
    print(json.dumps([_turn(images, equal, measure) for measure in MEASURES]))


def _turn(images: list[Image], equal: list[Image], measure: Measure) -> dict[str, Any]:
    ours(equal[:2], measure)  # what is imported late
    scores, units, best, seconds = ours(equal, measure)
    peer = Peer(equal, measure)
    chosen = peer.score(VECTORS[int(scores.argmax())])
    times = [seconds, peer.scores(peer.best)[1], peer.scores(peer.score)[1]]
    del peer
    whole = Peer(images, measure)
    exact, slowest = whole.scores(whole.score)
    note = (
        f"{measure.metric}, {measure.average}: the best vector scores {scores.max():.5f} by ours and {chosen:.5f} "
        f"by the peer on equal pixels; at any threshold {best:.5f}, and no weights score more than "
        f"{headroom(units, measure, best):.4f} above that."
    )
    return {"seconds": [*times, slowest], "apart": float(abs(exact - scores[::TRIED]).max()), "note": note}


def _spread(theirs: Sequence[float], ours: Sequence[float]) -> str:
    """How many times as long, pair by pair: median, smallest and largest."""
    ratios = sorted(peer / mine for peer, mine in zip(theirs, ours, strict=True))
    return f"{statistics.median(ratios):.0f} ({ratios[0]:.0f} to {ratios[-1]:.0f})"


def many() -> None:
    """Five members and 1,000 images, drawn one by one: the seconds of what `fit` does but for the probabilities."""
    histograms, small, seconds = [], [], 0.0
    for stack, truth in draw(5, MANY, SIDE // STRIDE):
        started = time.perf_counter()
        histograms.append(to_histograms(stack, truth, "binary"))
        small.append(on_square([truth])[0])
        seconds += time.perf_counter() - started
    cases = tuple(str(number) for number in range(MANY))
    observations = Observations(tuple(histograms), prior_counts(np.array(small), cases), cases, "val", "binary")
    largest = max(t[0].nbytes for t in histograms)
    print(f"5 members, {MANY} images: histograms {seconds:.1f} s, the largest {largest} bytes")
    for measure in MEASURES:
        started = time.perf_counter()
        found = fit(observations, metric=measure.metric, average=measure.average)
        took = time.perf_counter() - started
        print(f"  {measure.metric}, {measure}: grid and nested estimate {took:.1f} s, in all {seconds + took:.1f} s")
        print(f"  weights {found.fitted.weights}, threshold {found.fitted.threshold}, {found.recommended}")


def alone() -> None:
    """Ours once, in a process of its own: its highest memory so far, step by step."""
    imported = _highest_mb()
    images = list(draw(3, IMAGES, SIDE))
    drawn = _highest_mb()
    for measure in MEASURES:
        ours([(thin(s), thin(t)) for s, t in images], measure)
    print(
        f"ours: highest memory {_highest_mb():.0f} MB ({imported:.0f} after the imports, {drawn:.0f} with the images)"
    )


def _highest_mb() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**10


def main() -> None:
    """All figures, or those of one part; `turn FOLDER` is a process of `compare`."""
    parts = {"compare": compare, "many": many, "alone": alone}
    if sys.argv[1:2] == ["turn"]:
        turn(sys.argv[2])
        return
    options = parser(__doc__)
    options.add_argument("part", nargs="?", choices=parts, help="this alone: the table, five members, our memory")
    if part := options.parse_args().part:
        parts[part]()
        return
    for part in parts:
        subprocess.run([sys.executable, __file__, part], check=True)


if __name__ == "__main__":
    main()
