"""How often 95 % intervals hold the truth, and what recommendations cost.

    python benchmarks/coverage.py means | nested | table

means: Dice-like values, most near 0.9 and a share that failed, by case; `mean_interval` against the mean they are drawn
with. nested: whole fits on drawn images; the nested estimate of each contender and each difference, against the score
on 3,000 other images of the weights and threshold chosen on all of the images; and how often the recommended ones are
worse than the best single member by more than 0.02. Kinds: members equally good; one broken; one slightly or far ahead;
two good and the rest poor; graded. Every set is a line in --state, and a stopped run goes on; table writes the figures
into docs/results.md. Rule and widths were chosen on data sets from 1000 on (`--first 1000`); those reported are others.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import numpy as np

from benchmarks.drawn import SPREAD, Lines, draw, worth
from benchmarks.section import write_section
from medseg.fitting.fit import Choice, Fit, fit
from medseg.intervals import mean_interval
from medseg.scores import Contender, Score

RESULTS = Path(__file__).resolve().parents[1] / "docs" / "results.md"
LOSS = 0.02


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


@dataclass(frozen=True)
class Cell:
    """Data sets of one kind."""

    members: int
    kind: str
    images: int


def nested(cells: Sequence[Cell], numbers: range, state: Path) -> None:
    """Fits that are not in `state` yet: the first of every cell, then the second …, a line for each."""
    done = {(one["members"], one["kind"], one["images"], one["number"]) for one in sets(state)}
    state.parent.mkdir(parents=True, exist_ok=True)
    with state.open("a", encoding="utf-8") as stream:
        for number, cell in product(numbers, cells):
            if (*vars(cell).values(), number) not in done:
                line = {**vars(cell), "number": number, **figures(cell, number)}
                stream.write(json.dumps(line) + "\n")
                stream.flush()


def sets(state: Path) -> list[dict[str, Any]]:
    lines = state.read_text(encoding="utf-8").splitlines() if state.exists() else []
    return [json.loads(line) for line in lines if line.endswith("}")]  # a killed run may leave half a line


def figures(cell: Cell, number: int) -> dict[str, Any]:
    """Of one drawn data set: each nested figure with its interval, error and truth; what is recommended; and by how
    much it is worse than the best single member."""
    rng = np.random.default_rng((number, cell.images, cell.members, [*SPREAD].index(cell.kind)))
    chosen = fit(Lines.drawn(draw(rng, cell.kind, cell.members, cell.images)))
    true = {name: _worth(cell, chosen.choice(name)) for name in SHARED}
    best = max(worth(cell.kind, cell.members, tuple(row), 0.5) for row in np.eye(cell.members).tolist())
    return {
        "figures": {name: [s.value, s.low, s.high, s.error, value] for name, s, value in _pairs(chosen, true)},
        "worth": true,
        "recommended": chosen.recommended,
        "lost": best - true[chosen.recommended],
    }


SHARED: tuple[Contender, ...] = ("best single", "equal", "fitted")


def _worth(cell: Cell, choice: Choice) -> float:
    return worth(cell.kind, cell.members, tuple(map(float, choice.weights)), choice.threshold)  # type: ignore[arg-type]


def _pairs(chosen: Fit, true: dict[Contender, float]) -> list[tuple[str, Score, float]]:
    """Each figure of the nested estimate with what it estimates."""
    of = chosen.nested
    if of is None or of.single_over_equal is None:
        raise SystemExit("Too few images for a nested estimate.")
    single, equal, fitted = true.values()
    return [
        ("single", of.best_single, single),
        ("equal", of.equal, equal),
        ("fitted", of.fitted, fitted),
        ("fitted − single", of.over_best_single, fitted - single),
        ("fitted − equal", of.over_equal, fitted - equal),
        ("single − equal", of.single_over_equal, single - equal),
    ]


def table(every: Sequence[dict[str, Any]]) -> str:
    """The share of intervals that hold, and the losses, of each cell in Markdown."""
    names = [*every[0]["figures"]]
    heads = ["members", "kind", "images", "sets", *names, "lost", "mean gain"]
    lines = [f"| {' | '.join(heads)} |", "|---" * len(heads) + "|"]
    by_cell: dict[Cell, list[dict[str, Any]]] = {}
    for one in every:
        by_cell.setdefault(Cell(one["members"], one["kind"], one["images"]), []).append(one)
    held = {
        cell: [np.mean([_holds(one["figures"][name]) for one in of]) for name in names] for cell, of in by_cell.items()
    }
    for cell, of in sorted(
        by_cell.items(), key=lambda pair: (pair[0].members, [*SPREAD].index(pair[0].kind), pair[0].images)
    ):
        shares = " | ".join(f"{share:.3f}" for share in held[cell])
        lines.append(
            f"| {cell.members} | {cell.kind} | {cell.images} | {len(of)} | {shares} | {_lost(of)} | {_gain(of)} |"
        )
    shares = " | ".join(f"{share:.3f}" for share in np.min([*held.values()], axis=0))
    lost = f"{_lost(every)} ({_lost(every) / len(every):.2%})"
    lines.append(f"| least, and all sets | | | {len(every)} | {shares} | {lost} | {_gain(every)} |")
    return "\n".join(lines)


def _lost(of: Sequence[dict[str, Any]]) -> int:
    return sum(one["lost"] > LOSS for one in of)


def _gain(of: Sequence[dict[str, Any]]) -> str:
    return f"{-np.mean([one['lost'] for one in of]):+.3f}"


def _holds(figure: Sequence[float | None]) -> bool:
    _, low, high, _, true = figure
    return low is not None and high is not None and true is not None and low - 1e-9 <= true <= high + 1e-9


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("part", choices=("means", "nested", "table"))
    parser.add_argument(
        "--sets", type=int, default=200, help="drawn data sets of each kind (default: 200; means: 5 times as many)"
    )
    parser.add_argument("--members", type=int, nargs="+", default=(3, 4, 5), help="of nested (default: 3 4 5)")
    parser.add_argument("--images", type=int, nargs="+", default=(12, 30, 100), help="of nested (default: 12 30 100)")
    parser.add_argument(
        "--kinds", nargs="+", choices=SPREAD, default=[*SPREAD], help="of nested and table (default: all)"
    )
    parser.add_argument("--first", type=int, default=40000, help="number of nested's first data set (default: 40000)")
    parser.add_argument("--state", type=Path, default=Path("runs/coverage.jsonl"), help="default: runs/coverage.jsonl")
    options = parser.parse_args()
    if options.part == "means":
        means(5 * options.sets)
    if options.part == "nested":
        cells = [Cell(*each) for each in product(options.members, options.kinds, options.images)]
        nested(cells, range(options.first, options.first + options.sets), options.state)
    if options.part == "table":
        text = table([one for one in sets(options.state) if one["kind"] in options.kinds])
        print(text)
        write_section(RESULTS, "python benchmarks/coverage.py table", text)


if __name__ == "__main__":
    main()
