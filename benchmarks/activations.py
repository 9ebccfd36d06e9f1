"""Which activation is the best: the mean Dice of each over its seeds of training, and the differences, paired by film.

    medseg study siim-seeds
    python benchmarks/activations.py runs/studies/siim-seeds

Per-image mean Dice on the test films, both masks empty 1, at threshold 0.5, with its 95 % interval by case; of films
with a finding too. The baseline marks nothing. An interval over films says nothing of the spread over seeds, so each
seed's own mean stands beside.
"""

from __future__ import annotations

import argparse
import itertools
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import numpy as np

from medseg.data.samples import load_data, select
from medseg.inference.ensemble import Ensemble
from medseg.intervals import SHARE, Scale, mean_interval
from medseg.metrics import dice


def text(values: np.ndarray, cases: np.ndarray, scale: Scale = SHARE) -> str:
    mean = mean_interval(list(values), list(cases), scale)
    return f"{mean.mean:.3f} [{mean.low:.3f}, {mean.high:.3f}]"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n", maxsplit=1)[0])
    parser.add_argument("study", type=Path, help="the folder that `medseg study siim-seeds` wrote")
    folder = parser.parse_args().study
    tested = select(load_data(folder / "samples.json").samples, "test")
    pairs = [sample.read(["pneumothorax"]) for sample in tested]
    scores: dict[str, list[list[float]]] = {"marks nothing": [[float(not truth.any()) for _, truth in pairs]]}
    for path in sorted((folder / "members").glob("*-*/member")):
        member = Ensemble.from_pretrained(path)
        values = [float(dice(member.predict(image).masks, truth)[0]) for image, truth in pairs]
        scores.setdefault(path.parent.name.rpartition("-")[0], []).append(values)
    cases = np.array([sample.case for sample in tested])
    marked = np.array([truth.any() for _, truth in pairs])
    print(f"{len(pairs)} test films, {marked.sum()} with a finding")
    means = {name: np.mean(seeds, axis=0) for name, seeds in scores.items()}
    for name, values in means.items():
        each = " ".join(f"{np.mean(seed):.3f}" for seed in scores[name])
        print(f"{name:14} {text(values, cases)}, with a finding {text(values[marked], cases[marked])}, seeds {each}")
    for a, b in itertools.combinations(list(means)[1:], 2):
        print(f"{a + ' − ' + b:14} {text(means[a] - means[b], cases, (-1, 1))}")


if __name__ == "__main__":
    main()
