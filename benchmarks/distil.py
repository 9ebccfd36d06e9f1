"""What one student keeps of an ensemble of three: Dice, calibration, seconds and bytes, on the test split.

    python benchmarks/distil.py ../shared/data --state ../distil [--families chest brain polyp]

Of each family the U-Net learns on from the ensemble's probabilities, mixed with the truth (`medseg distill`), on the
ensemble's own training split; the epoch is chosen on the validation split. The peers are that U-Net as it was and the
ensemble: mean Dice per image with its 95 % interval by case, differences paired by image, the expected calibration
error over all pixels. What is finished stays in --state: give the same command again.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from benchmarks.needs import TORCH, need
from medseg.calibration.temperature import ece, pool, reliability
from medseg.data.samples import load_data, select
from medseg.inference.ensemble import Ensemble
from medseg.intervals import SHARE, Scale, mean_interval
from medseg.metrics import dice
from medseg.places import shipped
from medseg.training.donor import find_member

# data, epochs, settings, classes
FAMILIES: dict[str, tuple[str, int, list[str], dict[str, tuple[str, ...]] | None]] = {
    "chest": (
        "chest/chestx-det",
        40,
        ["--classes", '{"finding": ["*"]}', "--augmentation", "light"],
        {"finding": ("*",)},
    ),
    "brain": ("brain/lgg-mri-segmentation", 12, ["--augmentation", "sequences"], None),
    "polyp": ("polyp/kvasir-seg", 4, ["--augmentation", "centres"], None),
}


def student(family: str, options: argparse.Namespace) -> Path:
    """The student's folder, taught where that is not done yet."""
    data, epochs, flags, _ = FAMILIES[family]
    output = options.state.resolve() / family
    command = ["distill", "--ensemble", family, "--init", f"{family}-unet-lite0", "--data", options.data / data]
    command += ["--labels", *Ensemble.from_pretrained(shipped("assets/ensembles") / family).config.labels, *flags]
    command += ["--epochs", epochs, "--lr", "3e-4", "--ema-decay", "0.99", "--batch-size", 8]
    command += ["--name", f"{family}-student", "--output", output]
    subprocess.run([sys.executable, "-m", "medseg", *map(str, command)], check=True, cwd=ROOT)
    return Path(output / "member")


def report(family: str, options: argparse.Namespace) -> None:
    data, _, _, classes = FAMILIES[family]
    models = {"ensemble": shipped("assets/ensembles") / family, "U-Net before": find_member(f"{family}-unet-lite0")}
    models["student"] = student(family, options)
    tested = select(load_data(options.data / data, labels=classes).samples, "test")
    cases, values = [sample.case for sample in tested], {}
    print(f"\n{family}: {len(tested)} test images")
    for name, folder in models.items():
        ensemble, tables, seconds = Ensemble.from_pretrained(folder), [], 0.0
        values[name] = []
        for sample in tested:
            image, truth = sample.read(ensemble.config.labels)
            started = time.perf_counter()
            prediction = ensemble.predict(image)
            seconds += time.perf_counter() - started
            values[name].append(float(dice(prediction.masks, truth).mean()))
            tables.append(reliability(prediction.probabilities, truth))
        size = 2 * sum(member.parameters for member in ensemble.members) / 1e6
        costs = f"ECE {ece(pool(tables)):.4f}, {1000 * seconds / len(tested):.0f} ms an image, {size:.1f} MB"
        print(f"{name:24} {text(values[name], cases)}, {costs}", flush=True)
    for other in ("U-Net before", "ensemble"):
        difference = [a - b for a, b in zip(values["student"], values[other], strict=True)]
        print(f"{'student − ' + other:24} {text(difference, cases, (-1, 1))}", flush=True)


def text(values: list[float], cases: list[str], scale: Scale = SHARE) -> str:
    mean = mean_interval(values, cases, scale)
    return f"{mean.mean:+.3f} [{mean.low:+.3f}, {mean.high:+.3f}]"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n", maxsplit=1)[0])
    parser.add_argument("data", type=Path, help="the folder of polyp/, brain/ and chest/")
    parser.add_argument("--state", type=Path, required=True, help="folder outside the checkout for what is finished")
    parser.add_argument("--families", nargs="+", choices=FAMILIES, default=list(FAMILIES))
    options = parser.parse_args()
    need(*TORCH)
    for family in options.families:
        report(family, options)


if __name__ == "__main__":
    main()
