"""What the settings chosen for one's own folder are worth against training the same network from nothing.

    python benchmarks/own_folder.py ../shared/data --state ../own-folder [--tasks lungs] [--steps 400] [--size 128]

Three small tasks whose test images no embedded member saw: polyps of another clinic (CVC-ClinicDB, divided in the
order of its frames, so that neighbours stay together), lungs (covid-cxr, both halves of the films in turn tested by a
member of the other) and one finding of ChestX-Det (tested on the films that the chest members did not train on). Both
trainings have the same images, size, batch, running mean and steps, and the augmentation that
`medseg.training.defaults` chooses for their start; one starts and learns as it chooses, the other from random weights
at 2e-3.

Per-image mean Dice on the test images and its 95 % interval by case are printed, with the difference, paired by image.
What is finished stays in --state, and a stopped training goes on from its checkpoint: give the same command again.
"""

from __future__ import annotations

import argparse
import json
import math
import subprocess
import sys
import warnings
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from benchmarks.needs import TORCH, need
from medseg.data.manifest import write_manifest
from medseg.data.samples import Sample, load_data, select
from medseg.inference.ensemble import Ensemble
from medseg.intervals import mean_interval
from medseg.metrics import dice
from medseg.training.defaults import choose

FROM_NOTHING = [
    "--architecture", "unet", "--encoder", "tu-tf_efficientnet_lite0", "--encoder-weights", "none",
    "--decoder", '{"decoder_channels": [112, 64, 48, 32, 16]}', "--init", "", "--lr", "2e-3",
]  # fmt: skip


def in_order(samples: list[Sample], part: int) -> list[Sample]:
    """The first 40 by name train, 10 validate, the others are tested."""
    ordered = sorted(samples, key=lambda sample: sample.image.stem.zfill(20))
    return [replace(s, split="train" if i < 40 else "val" if i < 50 else "test") for i, s in enumerate(ordered)]


def in_halves(samples: list[Sample], part: int) -> list[Sample]:
    """The cases of half number `part` are tested; of the others every fifth case validates."""
    cases = sorted({sample.case for sample in samples})
    others = [case for i, case in enumerate(cases) if i % 2 != part]
    validate = set(others[::5])
    split = {case: "val" if case in validate else "train" for case in others}
    return [replace(sample, split=split.get(sample.case, "test")) for sample in samples]


def not_trained_on(samples: list[Sample], part: int) -> list[Sample]:
    """Of the chest members' training patients every fifth validates, the others train; all others are tested."""
    cases = sorted({sample.case for sample in samples if sample.split == "train"})
    split = {case: "val" if i % 5 == 0 else "train" for i, case in enumerate(cases)}
    return [replace(sample, split=split.get(sample.case, "test")) for sample in samples]


@dataclass(frozen=True)
class Task:
    data: str
    label: str
    classes: list[str]
    divide: Callable[[list[Sample], int], list[Sample]]
    parts: int = 1


TASKS = {
    "polyps": Task("polyp/cvc-clinicdb", "polyp", [], in_order),
    "lungs": Task("chest/covid-cxr", "lungs", ["Left_Lung", "Right_Lung"], in_halves, 2),
    "finding": Task("chest/chestx-det", "consolidation", ["Consolidation"], not_trained_on),
}


def scores(name: str, part: int, side: str, options: argparse.Namespace) -> dict[str, list[object]]:
    """Dice and case of each test image under the member of `side`, trained where that is not done yet."""
    task = TASKS[name]
    folder = options.state / f"{name}-{part}-{side}-{options.steps}-{options.size}"
    result: dict[str, list[object]] = {}
    if not (folder / "scores.json").exists():
        samples = load_data(
            options.data / task.data, labels={task.label: task.classes} if task.classes else None
        ).samples
        divided = task.divide(samples, part)
        folder.mkdir(parents=True, exist_ok=True)
        manifest = folder / "samples.json"
        write_manifest(divided, [task.label], manifest)
        member = train(manifest, task.label, side, folder, options)
        tested = select(divided, "test")
        pairs = (sample.read([task.label]) for sample in tested)
        result["dice"] = [float(dice(member.predict(image).masks, truth)[0]) for image, truth in pairs]
        result["case"] = [f"{part} {sample.case}" for sample in tested]
        (folder / "scores.json").write_text(json.dumps(result), encoding="utf-8")
    return json.loads((folder / "scores.json").read_text(encoding="utf-8"))  # type: ignore[no-any-return]


def train(manifest: Path, label: str, side: str, folder: Path, options: argparse.Namespace) -> Ensemble:
    """The member that `side` gives, "chosen" or "from nothing"."""
    count = sum(sample["split"] == "train" for sample in json.loads(manifest.read_text(encoding="utf-8"))["samples"])
    chosen = {choice.name: choice.value for choice in choose({"data": str(manifest), "labels": [label]})}
    epochs = -(-options.steps // -(-count // chosen["batch_size"]))
    flags = ["--data", str(manifest), "--labels", label, "--epochs", str(epochs), "--output", str(folder)]
    flags += ["--size", str(options.size or chosen["size"]), *(FROM_NOTHING if side == "from nothing" else [])]
    subprocess.run([sys.executable, str(ROOT / "train" / "train.py"), *flags], check=True)
    return Ensemble.from_pretrained(folder / "member")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n", maxsplit=1)[0])
    parser.add_argument("data", type=Path, help="the folder of polyp/, brain/ and chest/")
    parser.add_argument("--state", type=Path, required=True, help="folder outside the checkout for what is finished")
    parser.add_argument("--tasks", nargs="+", choices=TASKS, default=list(TASKS))
    parser.add_argument("--steps", type=int, default=400)
    parser.add_argument("--size", type=int, default=0, help="side of the input; 0: as chosen")
    options = parser.parse_args()
    need(*TORCH)
    warnings.simplefilter("ignore")  # of annotated images that are not here
    for name in options.tasks:
        runs: dict[str, list[dict[str, list[object]]]] = {"chosen": [], "from nothing": []}
        for part in range(TASKS[name].parts):
            for side, finished in runs.items():
                finished.append(scores(name, part, side, options))
        report(name, runs, options)


def report(name: str, runs: dict[str, list[dict[str, list[object]]]], options: argparse.Namespace) -> None:
    rows = {side: [float(str(value)) for run in parts for value in run["dice"]] for side, parts in runs.items()}
    cases = [str(case) for run in runs["chosen"] for case in run["case"]]
    rows["difference"] = [a - b for a, b in zip(rows["chosen"], rows["from nothing"], strict=True)]
    task = TASKS[name]
    print(f"\n{name} ({task.data}, {task.label}): {len(cases)} test images, {options.steps} steps")
    for side, values in rows.items():
        mean = mean_interval(values, cases, (-1, 1) if side == "difference" else (0, 1))
        bounds = "" if math.isnan(mean.low) else f" ({mean.low:.3f} to {mean.high:.3f})"
        print(f"{side:14} {mean.mean:.3f}{bounds}", flush=True)


if __name__ == "__main__":
    main()
