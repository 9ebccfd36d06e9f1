"""What ten corrections are worth: a member before and after `medseg continue` with its ten worst images, on the others.

    DATA=../shared/data/polyp
    python benchmarks/corrections.py $DATA/cvc-clinicdb --state ../corrections
    python benchmarks/corrections.py $DATA/cvc-clinicdb --state ../validated --data $DATA/kvasir-seg

The images are halved in the order of their names, so that neighbouring frames stay together. Of the first half those
with the lowest Dice are "corrected": their truth is what a person would have drawn. The second half is scored:
per-image mean Dice with its 95 % interval, and the difference, paired by image. A stopped training goes on from its
checkpoint.
"""

from __future__ import annotations

import argparse
import math
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from benchmarks.needs import TORCH, need
from medseg.data.samples import Sample, load_data
from medseg.inference.ensemble import Ensemble
from medseg.intervals import mean_interval
from medseg.metrics import dice
from medseg.training.donor import find_member


def scores(ensemble: Ensemble, samples: Sequence[Sample]) -> list[float]:
    pairs = (sample.read(ensemble.config.labels) for sample in samples)
    return [float(dice(ensemble.predict(image).masks, truth).mean()) for image, truth in pairs]


def write_pairs(samples: Sequence[Sample], label: str, folder: Path) -> None:
    """The samples as images/ and masks/ of the same names."""
    for sample in samples:
        image, masks = sample.read([label])
        for name, pixels in (("images", np.rint(image.pixels * 255).astype(np.uint8)), ("masks", masks[0])):
            (folder / name).mkdir(parents=True, exist_ok=True)
            Image.fromarray(pixels.squeeze()).save(folder / name / f"{sample.image.stem}.png")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n", maxsplit=1)[0])
    parser.add_argument("images", type=Path, help="labelled images of another centre")
    parser.add_argument("--data", type=Path, help="the member's own training data, by which medseg continue validates")
    parser.add_argument("--state", type=Path, required=True, help="folder outside the checkout for what is finished")
    parser.add_argument("--member", default="polyp-unet-lite0")
    parser.add_argument("--corrections", type=int, default=10)
    parser.add_argument("--epochs", type=int, default=1)
    options = parser.parse_args()
    need(*TORCH)
    state = options.state.resolve()
    samples = sorted(load_data(options.images, divide=False).samples, key=lambda sample: sample.image.stem.zfill(20))
    half = len(samples) // 2
    before = Ensemble.from_pretrained(find_member(options.member))
    worst = np.argsort(scores(before, samples[:half]), kind="stable")[: options.corrections]
    if not (state / "pairs").exists():
        write_pairs([samples[index] for index in sorted(worst)], before.config.labels[0], state / "pairs")
    command = ["continue", options.member, state / "pairs", "--output", state / "run", "--epochs", options.epochs]
    command += ["--data", options.data.resolve()] if options.data else []
    subprocess.run([sys.executable, "-m", "medseg", *map(str, command)], check=True, cwd=ROOT)
    rest = samples[half:]
    rows = {"before": scores(before, rest), "after": scores(Ensemble.from_pretrained(state / "run" / "member"), rest)}
    rows["difference"] = [b - a for a, b in zip(rows["before"], rows["after"], strict=True)]
    print(f"\n{options.member}, {len(worst)} corrections: {len(rest)} other images of {options.images.name}")
    for name, values in rows.items():
        mean = mean_interval(values, [s.case for s in rest], (-1, 1) if name == "difference" else (0, 1))
        bounds = "" if math.isnan(mean.low) else f" ({mean.low:.3f} to {mean.high:.3f})"
        print(f"{name:11} {mean.mean:+.3f}{bounds}")


if __name__ == "__main__":
    main()
