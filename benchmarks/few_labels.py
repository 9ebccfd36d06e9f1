"""What images without masks are worth: 50 labelled images alone, with 650 more without labels, and all 700 labelled.

    python benchmarks/few_labels.py ../shared/data/polyp/kvasir-seg --state ../few-labels [--steps 600] [--size 256]

Three U-Nets on ImageNet weights (another seed each) learn from the 50 images and become an ensemble of equal weights,
which teaches a student (`medseg distill`) on the 50 and the 650; a fourth U-Net learns from all 700. None starts from
an embedded polyp member, whose training images these are. All have the same network, size and steps; the epoch is
chosen on the validation split. Per-image mean Dice on the test split with its 95 % interval is printed, with the
student's difference to one member and to the ensemble, paired by image. What is finished stays in --state: give the
same command again.
"""

from __future__ import annotations

import argparse
import json
import math
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from benchmarks.needs import TORCH, need
from medseg.data.manifest import write_manifest
from medseg.data.samples import Sample, load_data, select
from medseg.inference.ensemble import Ensemble
from medseg.intervals import mean_interval
from medseg.metrics import dice

NETWORK = [
    "--architecture", "unet", "--encoder", "tu-tf_efficientnet_lite0", "--encoder-weights", "package", "--decoder",
    '{"encoder_depth": 4, "feature_cls": "getter", "decoder_channels": [96, 64, 48, 24]}', "--lr", "1e-3",
    "--augmentation", "medium", "--loss", "bce + dice", "--ema-decay", "0.975", "--batch-size", "8",
    "--labels", "polyp",
]  # fmt: skip


def medseg(*words: object) -> None:
    subprocess.run([sys.executable, "-m", "medseg", *map(str, words)], check=True, cwd=ROOT)


def divide(options: argparse.Namespace) -> tuple[Path, Path, list[Sample]]:
    """The manifests of few and of all labels, with images/ of the others beside them; and the test samples."""
    samples = load_data(options.data).samples
    train = sorted(select(samples, "train"), key=lambda sample: sample.image.name)
    spare = {sample.image for sample in train[options.labelled :]}
    few, every, unlabelled = (options.state / name for name in ("few.json", "all.json", "unlabelled"))
    write_manifest([sample for sample in samples if sample.image not in spare], ["polyp"], few)
    write_manifest(samples, ["polyp"], every)
    unlabelled.mkdir(exist_ok=True)
    for image in spare:
        if not (unlabelled / image.name).exists():
            (unlabelled / image.name).symlink_to(image.resolve())
    return few, every, select(samples, "test")


def train(name: str, data: Path, options: argparse.Namespace, *more: object) -> Path:
    """The member `name`, trained in --steps steps where that is not done yet."""
    folder = options.state / name
    count = sum(sample["split"] == "train" for sample in json.loads(data.read_text(encoding="utf-8"))["samples"])
    images = count + (len(list((options.state / "unlabelled").iterdir())) if more and more[0] == "--unlabelled" else 0)
    epochs = max(1, options.steps // -(-images // 8))
    command = ["distill"] if "--ensemble" in more else ["train"]
    flags = ["--data", data, "--output", folder, "--name", name, "--epochs", epochs, "--size", options.size]
    medseg(*command, *flags, *NETWORK, *more)
    return Path(folder / "member")


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n", maxsplit=1)[0])
    parser.add_argument("data", type=Path)
    parser.add_argument("--state", type=Path, required=True, help="folder outside the checkout for what is finished")
    parser.add_argument("--labelled", type=int, default=50)
    parser.add_argument("--steps", type=int, default=600)
    parser.add_argument("--size", type=int, default=256)
    options = parser.parse_args(arguments)
    need(*TORCH)
    options.state = options.state.resolve()
    options.state.mkdir(parents=True, exist_ok=True)
    few, every, tested = divide(options)
    members = [train(f"few-{seed}", few, options, "--seed", seed) for seed in range(3)]
    if not (teacher := options.state / "ensemble").exists():
        medseg("fit", *members, "--data", few, "--output", teacher, "--name", "few", "--choose", "equal")
    more = ["--unlabelled", options.state / "unlabelled", "--ensemble", teacher]
    rows = {
        "few, one member": members[0],
        "few, ensemble": teacher,
        "with unlabelled": train("student", few, options, *more),
    }
    rows["all labelled"] = train("all", every, options)
    report(rows, tested)


def report(rows: dict[str, Path], tested: Sequence[Sample]) -> None:
    values: dict[str, list[float]] = {}
    for name, folder in rows.items():
        ensemble = Ensemble.from_pretrained(folder)
        pairs = (sample.read(["polyp"]) for sample in tested)
        values[name] = [float(dice(ensemble.predict(image).masks, truth)[0]) for image, truth in pairs]
    for name in ("few, one member", "few, ensemble"):
        pairs = zip(values["with unlabelled"], values[name], strict=True)
        values[f"with unlabelled − {name}"] = [a - b for a, b in pairs]
    cases = [sample.case for sample in tested]
    print(f"\n{len(tested)} test images")
    for name, each in values.items():
        mean = mean_interval(each, cases, (-1, 1) if "−" in name else (0, 1))
        bounds = "" if math.isnan(mean.low) else f" ({mean.low:.3f} to {mean.high:.3f})"
        print(f"{name:34} {mean.mean:+.3f}{bounds}")


if __name__ == "__main__":
    main()
