"""How often 95 % intervals hold the truth, and what recommendations cost.

    python benchmarks/coverage.py [means | nested]

means: Dice-like values, most near 0.9 and a share that failed, by case; `mean_interval` against the mean they are drawn
with. nested: whole fits on drawn images; the nested estimate of each contender and each difference, against the score
on 3,000 other images of the weights and threshold chosen on all of the images; and how often the recommended ones are
worse than the best single member by more than 0.02. Kinds: members equally good; one broken; one slightly or far ahead;
two good and the rest poor; graded. Five members are fitted greedily: their grid takes four times as long. The rule and
the width of the intervals were chosen on the data sets from 1000 on (`--first 1000`); others are the test.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from functools import cache
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import numpy as np

from medseg.fitting.baseline import prior_counts
from medseg.fitting.fit import Choice, fit
from medseg.fitting.histogram import to_histograms
from medseg.fitting.observations import Observations
from medseg.intervals import mean_interval
from medseg.scores import Score

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

LOSS = 0.02
Images = tuple[np.ndarray, np.ndarray]


def values(rng: np.random.Generator, cases: int, failures: float, most: int) -> tuple[list[float], list[str]]:
    """Dice-like values of 1 to `most` images a case, whose mean is `expected`; images of a case fail together."""
    numbers = rng.integers(1, most + 1, cases)
    names = np.repeat(np.arange(cases), numbers)
    failed = (rng.random(cases) < failures)[names]
    drawn = np.where(failed, rng.beta(1, 4, len(names)), rng.beta(14, 1.6, len(names)))
    return drawn.tolist(), names.astype(str).tolist()


def expected(failures: float) -> float:
    return (1 - failures) * 14 / 15.6 + failures * 0.2


def means(sets: int) -> None:
    print("| cases | images a case | least coverage | most above the truth | mean width |\n|---|---|---|---|---|")
    for cases in (5, 10, 13, 20, 30, 50, 100):
        for most in (1, 5):
            rows = [_means(cases, failures, most, sets) for failures in (0, 0.02, 0.05, 0.1, 0.2, 0.3)]
            held, above, width = np.array(rows).T
            figures = f"{held.min():.3f} | {above.max():.3f} | {width.mean():.3f}"
            figures = "none is given | |" if np.isnan(width).any() else figures
            print(f"| {cases} | 1 to {most} | {figures} |", flush=True)


def _means(cases: int, failures: float, most: int, sets: int) -> tuple[float, float, float]:
    """Of the intervals for drawn data sets: the share that holds the true mean, the share above it, the mean width."""
    rng, true = np.random.default_rng(cases), expected(failures)
    estimates = [mean_interval(*values(rng, cases, failures, most)) for _ in range(sets)]
    low, high = np.array([(each.low, each.high) for each in estimates]).T
    return float(((low <= true) & (true <= high)).mean()), float((low > true).mean()), float((high - low).mean())


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


def observed(images: Images) -> Observations:
    stack, truth = images
    histograms = tuple(
        to_histograms(s[:, None, None], t[None, None], "binary") for s, t in zip(stack, truth, strict=True)
    )
    cases = tuple(map(str, range(len(truth))))
    return Observations(histograms, prior_counts(truth[:, None, None], cases), cases, "val", "binary")


@cache
def others(kind: str, members: int) -> Images:
    return draw(np.random.default_rng(99), kind, members, OTHERS)


@cache
def worth(kind: str, members: int, weights: tuple[float, ...], threshold: float) -> float:
    """Mean Dice of the weights on images that nothing was chosen on."""
    stack, truth = others(kind, members)
    blended = np.tensordot(np.array(weights, np.float32), stack.astype(np.float32), axes=(0, 1))
    marked = blended >= np.float32(threshold)
    return float(np.mean(2 * (marked & truth).sum(axis=1) / np.maximum(marked.sum(axis=1) + truth.sum(axis=1), 1)))


def nested(sets: int, numbers: Sequence[int], first: int) -> None:
    heads = ("members", "kind", "images", "single", "equal", "fitted", "fitted − single", "fitted − equal")
    print("|", " | ".join((*heads, "single − equal", "lost")), "|")
    print("|---" * 10 + "|")
    lost = total = 0
    least = [1.0] * 6
    for members in numbers:
        for kind in SPREAD:
            for images in (12, 30, 100):
                rows = [_fitted(kind, members, images, seed) for seed in range(first, first + sets)]
                held = np.mean([row[0] for row in rows], axis=0)
                losses = sum(row[1] > LOSS for row in rows)
                lost, total = lost + losses, total + sets
                least = np.minimum(least, held).tolist()
                cells = " | ".join(f"{share:.3f}" for share in held)
                print(f"| {members} | {kind} | {images} | {cells} | {losses} |", flush=True)
    print(f"| least | | | {' | '.join(f'{share:.3f}' for share in least)} | {lost} of {total} |")


def _fitted(kind: str, members: int, images: int, seed: int) -> tuple[list[bool], float]:
    """Whether each interval of the nested estimate holds, and by how much the recommended weights are worse than the
    best single member."""
    images_of = draw(np.random.default_rng((seed, images, members)), kind, members, images)
    chosen = fit(observed(images_of), method="greedy" if members == 5 else "grid")
    nested = chosen.nested
    if nested is None or nested.single_over_equal is None:
        raise SystemExit(f"{images} images are too few for a nested estimate.")

    def true(choice: Choice) -> float:
        return worth(kind, members, tuple(map(float, choice.weights)), choice.threshold)  # type: ignore[arg-type]

    single, equal, fitted = (true(chosen.choice(name)) for name in ("best single", "equal", "fitted"))
    pairs = [(nested.best_single, single), (nested.equal, equal), (nested.fitted, fitted)]
    pairs += [(nested.over_best_single, fitted - single), (nested.over_equal, fitted - equal)]
    pairs += [(nested.single_over_equal, single - equal)]
    best = max(worth(kind, members, tuple(row), 0.5) for row in np.eye(members).tolist())
    return [_holds(score, value) for score, value in pairs], best - true(chosen.choice(chosen.recommended))


def _holds(score: Score, value: float) -> bool:
    return score.low is not None and score.high is not None and score.low - 1e-9 <= value <= score.high + 1e-9


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("part", nargs="?", choices=("means", "nested"), help="default: both")
    parser.add_argument(
        "--sets", type=int, default=200, help="drawn data sets of each kind (default: 200; means: 5 times as many)"
    )
    parser.add_argument("--members", type=int, nargs="+", default=(3, 4, 5), help="of nested (default: 3 4 5)")
    parser.add_argument("--first", type=int, default=20000, help="number of nested's first data set (default: 20000)")
    options = parser.parse_args()
    if options.part != "nested":
        means(5 * options.sets)
    if options.part != "means":
        nested(options.sets, options.members, options.first)


if __name__ == "__main__":
    main()
