"""What is published of the embedded ensembles, made anew by one command: scores.json and cards beside the weights, and
the rows of the tables in README.md and docs/results.md.

    python benchmarks/published.py ../shared/data [polyp brain chest] [--tta] [--robustness N]

Runs `medseg evaluate FAMILY DATA` on each test split (with --tta averaged over flips too), puts scores.json into the
family's folder, writes its cards and prints the rows; trust and the other centre's rows are printed by the commands
that docs/results.md names. The five folds of the chest are trained by `medseg folds` and stay as they are. With
--robustness N also what damage costs on N images of each test split or a few less, spread evenly over it.
"""

from __future__ import annotations

import argparse
import json
import shutil
import sys
import tempfile
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from tqdm import tqdm

from medseg.__main__ import main as medseg
from medseg.cards.folder import write_cards
from medseg.data.samples import load_data, select
from medseg.evaluation.evaluate import ENSEMBLE, EQUAL
from medseg.evaluation.robustness import robustness
from medseg.inference.ensemble import Ensemble
from medseg.report.evaluation_table import baseline_of, robustness_table

ROOT = Path(__file__).resolve().parents[1]
DATA = {
    "polyp": ("polyp/kvasir-seg", ()),
    "brain": ("brain/lgg-mri-segmentation", ()),
    "chest": ("chest/chestx-det", ("finding=*",)),
}
KINDS = {
    "Dice per image": "per_image_all",
    "Dice per image with a finding": "per_image_positives",
    "Dice per case": "per_case_all",
}


def remake(family: str, data: Path, tta: bool) -> None:
    """The scores of one family, into its folder."""
    place, labels = DATA[family]
    folder = ROOT / "assets" / "ensembles" / family
    with tempfile.TemporaryDirectory() as scratch:
        words = ["evaluate", str(folder), str(data / place), "--output", scratch, *(["--tta"] if tta else [])]
        medseg([*words, *(["--labels", *labels] if labels else [])])
        shutil.copy(Path(scratch) / "scores.json", folder / "scores.json")
    write_cards(folder)
    report = json.loads((folder / "scores.json").read_text(encoding="utf-8"))
    single = json.loads((folder / "ensemble.json").read_text(encoding="utf-8"))["fitted"]["best_single_member"]
    print("\n".join(rows(report, single)), flush=True)


def rows(report: dict[str, Any], single: str) -> list[str]:
    """The lines of docs/results.md: baseline, best single member, equal weights, ensemble, ensemble − single."""
    lines = []
    for label in report["rows"][ENSEMBLE]:
        for words, kind in KINDS.items():
            of = {row: values[label][kind]["dice"] for row, values in report["rows"].items()}
            if kind != "per_image_all" and of[ENSEMBLE]["n"] == report["n"]:
                continue
            gain = report["differences"][f"{ENSEMBLE} − {single}"][label] if kind == "per_image_all" else None
            cells = [f"{baseline_of({row: each['mean'] for row, each in of.items()}):.3f}"]
            cells += [_cell(of[row]) for row in (single, EQUAL, ENSEMBLE)]
            lines.append(f"| {label}, n = {of[ENSEMBLE]['n']} | {words} | {' | '.join([*cells, _cell(gain, '+')])} |")
    return lines


def _cell(estimate: dict[str, Any] | None, sign: str = "") -> str:
    if estimate is None:
        return ""
    mean, low, high = ("–" if v is None else f"{v:{sign}.3f}" for v in (estimate[k] for k in ("mean", "low", "high")))
    return f"{mean} [{low}, {high}]".replace("-", "−")


def damage(family: str, data: Path, number: int) -> None:
    """What damage costs on `number` images of the family's test split, every n-th of them."""
    place, labels = DATA[family]
    chosen = {name: rule.split(",") for name, _, rule in (label.partition("=") for label in labels)}
    samples = select(load_data(data / place, labels=chosen or None).samples, "test")
    every = samples[:: -(-len(samples) // number)]
    with tqdm(total=len(every), desc="damaging", disable=not sys.stderr.isatty()) as bar:
        ensemble = Ensemble.from_pretrained(ROOT / "assets" / "ensembles" / family)
        report = robustness(ensemble, every, progress=lambda done, total: bar.update())
    print(f"\n{family}: {len(every)} of {len(samples)} test images\n")
    print("\n\n".join(robustness_table({"robustness": report})), flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path, help="the folder of the data sets")
    parser.add_argument("families", nargs="*", default=[*DATA], metavar="FAMILY", help="default: all three")
    parser.add_argument("--tta", action="store_true", help="average over flips too: five times the work")
    parser.add_argument("--robustness", type=int, default=0, metavar="N", help="damage N images too (default: none)")
    parser.add_argument("--no-scores", action="store_true", help="robustness alone")
    options = parser.parse_args()
    for family in options.families:
        if not options.no_scores:
            remake(family, options.data, options.tta)
        if options.robustness:
            damage(family, options.data, options.robustness)


if __name__ == "__main__":
    main()
