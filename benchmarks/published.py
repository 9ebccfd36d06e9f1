"""What is published of the embedded ensembles, made anew by one command: the record of the fit in ensemble.json,
scores.json and cards beside the weights, and the rows of the tables in README.md and docs/results.md.

    python benchmarks/published.py ../shared/data [polyp brain chest] [--only fit | scores] [--tta]

Fits the members on the validation split as `medseg fit` does, and says what changed; other weights or thresholds than
those that ship are said and not written, since masks, calibration and scores rest on them. Then runs `medseg evaluate
FAMILY DATA` on each test split (with --tta averaged over flips too), puts scores.json into the family's folder, writes
its cards and prints the rows; trust and the other centre's rows are printed by the commands that docs/results.md names.
The five folds of the chest are trained by `medseg folds` and stay as they are.
"""

from __future__ import annotations

import argparse
import json
import shutil
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from medseg import schema
from medseg.__main__ import main as medseg
from medseg.cards.folder import write_cards
from medseg.data.samples import Sample, load_data, select
from medseg.evaluation.evaluate import ENSEMBLE, EQUAL
from medseg.fitting.fit import fit
from medseg.fitting.observations import Observations, observe
from medseg.inference.ensemble import Ensemble
from medseg.report.evaluation_table import baseline_of
from medseg.scores import Fitted

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


def refit(family: str, data: Path) -> None:
    """The record of the family's fit, into its ensemble.json; prints what changed."""
    folder = ROOT / "assets" / "ensembles" / family
    ensemble = Ensemble.from_pretrained(folder)
    samples = split_of(family, data, "val")
    found = fit(Observations.of(observe(ensemble.members, samples)))
    before = ensemble.config.fitted
    if before is None:
        raise SystemExit(f"{folder} has no record of a fit.")
    after = found.record(ensemble.names, samples, before.data, before.chosen)
    print("\n".join(changes(family, before, after)), flush=True)
    choice = found.choice(after.chosen)
    shipped = ([member.weight for member in ensemble.config.members], ensemble.config.threshold)
    if ([*choice.written], choice.threshold) != shipped or after.recommended != after.chosen:
        print(f"{family}: recommended are the {after.recommended} weights; shipped stay {before.chosen}, {shipped}.")
    schema.dump(replace(ensemble.config, fitted=after), folder / "ensemble.json")
    write_cards(folder)


def changes(family: str, before: Fitted, after: Fitted) -> Iterator[str]:
    """A line for each figure of the nested estimate, before and after."""
    yield f"\n| {family}, validation, n = {after.equal.n} | before | now |\n|---|---|---|"
    for name in ("best_single", "equal", "fitted", "over_best_single", "over_equal", "single_over_equal"):
        cells = []
        for record in (before, after):
            figure = getattr(record.nested, name, None)
            sign = "+" if "over" in name else ""
            cells.append("–" if figure is None else cell(vars(figure) | {"mean": figure.value}, sign))
        words = name.replace("_over_", " − ").replace("over_", "fitted − ").replace("_", " ")
        yield f"| {words} | {' | '.join(cells)} |"
    yield f"| recommended | {before.recommended} | {after.recommended} |"


def split_of(family: str, data: Path, split: str) -> list[Sample]:
    place, labels = DATA[family]
    chosen = {name: rule.split(",") for name, _, rule in (label.partition("=") for label in labels)}
    return select(load_data(data / place, labels=chosen or None).samples, split)


def remake(family: str, data: Path, tta: bool) -> None:
    """The scores of one family, into its folder."""
    place, labels = DATA[family]
    folder = ROOT / "assets" / "ensembles" / family
    tta = tta and not Ensemble.from_pretrained(folder).upright
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
            cells += [cell(of[row]) for row in (single, EQUAL, ENSEMBLE)]
            lines.append(f"| {label}, n = {of[ENSEMBLE]['n']} | {words} | {' | '.join([*cells, cell(gain, '+')])} |")
    return lines


def cell(estimate: dict[str, Any] | None, sign: str = "") -> str:
    if estimate is None:
        return ""
    mean, low, high = ("–" if v is None else f"{v:{sign}.3f}" for v in (estimate[k] for k in ("mean", "low", "high")))
    return f"{mean} [{low}, {high}]".replace("-", "−")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path, help="the folder of the data sets")
    parser.add_argument("families", nargs="*", default=[*DATA], metavar="FAMILY", help="default: all three")
    parser.add_argument("--only", choices=("fit", "scores"), help="default: both")
    parser.add_argument("--tta", action="store_true", help="average over flips too, where the members know them")
    options = parser.parse_args()
    for family in options.families:
        if options.only != "scores":
            refit(family, options.data)
        if options.only != "fit":
            remake(family, options.data, options.tta)


if __name__ == "__main__":
    main()
