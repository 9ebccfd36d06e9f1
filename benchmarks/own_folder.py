"""What the settings chosen for one's own folder are worth against training the same network from nothing.

    python benchmarks/own_folder.py ../shared/data/polyp/cvc-clinicdb --label polyp --train 40 --steps 400

Images are divided in the order of their names, so that neighbouring frames stay together: the first --train train, a
quarter as many validate, the others test. Both trainings have the same images, size, batch, augmentation and steps; one
starts as `medseg.training.defaults` chooses, one with random weights. Per-image mean Dice on the test images and its
95 % interval over cases are printed, with the difference, paired by image.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
from dataclasses import replace
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from medseg.data.manifest import write_manifest
from medseg.data.samples import Sample, load_data, select
from medseg.inference.ensemble import Ensemble
from medseg.metrics import dice, mean_interval
from medseg.training.defaults import choose

FROM_NOTHING = [
    "--architecture", "unet", "--encoder", "tu-tf_efficientnet_lite0", "--encoder-weights", "none",
    "--decoder", '{"decoder_channels": [112, 64, 48, 32, 16]}', "--init", "",
]  # fmt: skip


def divided(samples: list[Sample], train: int) -> list[Sample]:
    """The samples by name: `train` to train on, a quarter as many to validate, the rest to test."""
    bounds = (train, train + max(4, train // 4))
    ordered = sorted(samples, key=lambda sample: sample.image.stem.zfill(20))
    splits = ["train" if i < bounds[0] else "val" if i < bounds[1] else "test" for i in range(len(ordered))]
    return [replace(sample, split=split) for sample, split in zip(ordered, splits, strict=True)]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n", maxsplit=1)[0])
    parser.add_argument("data", type=Path)
    parser.add_argument("--label", required=True)
    parser.add_argument("--classes", nargs="*", default=[], help="classes of the data that the label unites")
    parser.add_argument("--train", type=int, default=40)
    parser.add_argument("--steps", type=int, default=400)
    parser.add_argument("--size", type=int, default=0, help="side of the input; 0: as chosen")
    options = parser.parse_args()
    labels = {options.label: options.classes} if options.classes else None
    samples = divided(load_data(options.data, labels=labels).samples, options.train)
    tested = select(samples, "test")
    with tempfile.TemporaryDirectory() as folder:
        manifest = Path(folder) / "samples.json"
        write_manifest(samples, [options.label], manifest)
        named = {"data": str(manifest), "labels": [options.label]}
        chosen = {choice.name: choice.value for choice in choose(named)}
        print("\n".join(f"  {choice}" for choice in choose(named)), flush=True)
        epochs = -(-options.steps // -(-options.train // chosen["batch_size"]))
        rows = {}
        for name, more in {"chosen": [], "from nothing": [*FROM_NOTHING, "--lr", "2e-3"]}.items():
            flags = ["--data", str(manifest), "--labels", options.label, "--epochs", str(epochs)]
            flags += ["--size", str(options.size or chosen["size"]), "--output", f"{folder}/{name}", *more]
            subprocess.run([sys.executable, str(ROOT / "train" / "train.py"), *flags], check=True)
            member = Ensemble.from_pretrained(Path(folder) / name / "member")
            read = (sample.read([options.label]) for sample in tested)
            rows[name] = [float(dice(member.predict(image).masks, truth)[0]) for image, truth in read]
    cases = [sample.case for sample in tested]
    rows["difference"] = [a - b for a, b in zip(rows["chosen"], rows["from nothing"], strict=True)]
    print(f"\n{options.data.name}, {options.label}: {len(tested)} test images, {options.steps} steps")
    for name, values in rows.items():
        mean = mean_interval(values, cases)
        print(f"{name:14} {mean.mean:.3f} ({mean.low:.3f} to {mean.high:.3f})")


if __name__ == "__main__":
    main()
