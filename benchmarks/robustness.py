"""What damage costs the embedded ensembles: nine kinds in five strengths on images of their test splits.

    python benchmarks/robustness.py ../shared/data [polyp brain chest] [--images 40]

Every image is a line in --state, and a stopped run goes on with the next; of the whole test split every n-th image is
taken. When all families have as many as are asked for, docs/robustness.md and its figure are written.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from tqdm import tqdm

from benchmarks.needs import need
from benchmarks.published import DATA, ROOT, cell, split_of
from medseg.data.samples import Sample
from medseg.evaluation.evaluate import ENSEMBLE
from medseg.evaluation.robustness import NONE, summary, under_damage
from medseg.inference.ensemble import Ensemble

PAGE, FIGURE = ROOT / "docs" / "robustness.md", ROOT / "docs" / "robustness.png"
INTRODUCTION = """# Under damage

`python benchmarks/robustness.py ../shared/data` writes this page: the embedded ensembles on damaged images of their
test splits (`medseg evaluate ENSEMBLE DATA --robustness` does the same for yours). Mean Dice per image with 95 %
intervals by case; the ensemble has the weights that its fit recommends; its gain is its Dice minus that of the member
that was best alone on validation, paired by image. A rotation turns the truth too. Nothing was trained or chosen on
damaged images.

![Dice over the strength of nine kinds of damage; dashed: the best single member](robustness.png)
"""


def measured(family: str, samples: Sequence[Sample], state: Path) -> dict[str, Any]:
    """The summary over the samples, of which those in `state` are not damaged again."""
    ensemble = Ensemble.from_pretrained(ROOT / "assets" / "ensembles" / family)
    path = state / f"{family}.jsonl"
    lines = path.read_text(encoding="utf-8").splitlines() if path.exists() else []
    done = {one["sample"]: one["dice"] for one in map(json.loads, lines)}
    state.mkdir(parents=True, exist_ok=True)
    for sample in tqdm(samples, desc=family, disable=not sys.stderr.isatty()):
        if (name := _name(sample)) not in done:
            done[name] = under_damage(ensemble, sample)
            with path.open("a", encoding="utf-8") as stream:
                stream.write(json.dumps({"sample": name, "dice": done[name]}) + "\n")
    return summary(ensemble, [done[_name(sample)] for sample in samples], [sample.case for sample in samples])


def _name(sample: Sample) -> str:
    return f"{sample.image.name} {sample.frame}"


def tables(family: str, report: dict[str, Any], number: int, whole: int) -> str:
    """Every kind over its strengths, with all rows; then every strength."""
    rows = [*report["kinds"][NONE]["0"]["rows"]]
    head = f"| damage | {' | '.join((*rows, 'gain'))} |"
    lines = [
        f"## {family.capitalize()}: {number} of {whole} test images",
        "",
        "Over the five strengths of each kind:",
        "",
    ]
    lines += [head, "|---" * (len(rows) + 2) + "|"]
    lines += [_line(kind, of, rows) for kind, of in report["mean"].items()]
    lines += [
        "",
        "At each strength:",
        "",
        head.replace("damage", "damage, strength"),
        "|---" * (len(rows) + 2) + "|",
    ]
    for kind, strengths in report["kinds"].items():
        if kind != NONE:
            lines += [_line(f"{kind.partition(' (')[0]}, {at}", of, rows) for at, of in strengths.items()]
    return "\n".join(lines)


def _line(name: str, of: dict[str, Any], rows: Sequence[str]) -> str:
    cells = [cell(of["rows"][row]) for row in rows]
    return f"| {name} | {' | '.join([*cells, cell(of['gain'], '+')])} |"


def draw(reports: dict[str, dict[str, Any]], path: Path) -> None:
    """A panel for each kind: the Dice of every ensemble and of its best single member, without damage at the left."""
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot

    kinds = [kind for kind in next(iter(reports.values()))["kinds"] if kind != NONE]
    figure, panels = pyplot.subplots(3, 3, figsize=(10, 8), sharey=True)
    for panel, kind in zip(panels.flat, kinds, strict=True):
        for colour, (family, report) in zip(("C0", "C1", "C2"), reports.items(), strict=False):
            of = {"0": report["kinds"][NONE]["0"], **report["kinds"][kind]}
            mean, low, high = (
                [each["rows"][ENSEMBLE][name] for each in of.values()] for name in ("mean", "low", "high")
            )
            places = range(len(of))
            panel.plot(places, mean, colour, label=family)
            panel.fill_between(places, low, high, color=colour, alpha=0.12)
            panel.plot(
                places, [m - each["gain"]["mean"] for m, each in zip(mean, of.values(), strict=True)], colour + "--"
            )
        panel.set_xticks(places, [*of])
        panel.set_title(kind, fontsize=9)
    panels[0][0].legend(fontsize=8)
    figure.supylabel("Dice, mean per image")
    figure.tight_layout()
    figure.savefig(path, dpi=80)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path, help="the folder of the data sets")
    parser.add_argument("families", nargs="*", default=[*DATA], metavar="FAMILY", help="default: all three")
    parser.add_argument("--images", type=int, default=40, help="of each test split at most (default: 40)")
    parser.add_argument("--state", type=Path, default=Path("runs/robustness"), help="default: runs/robustness")
    options = parser.parse_args()
    need("matplotlib")
    reports, parts = {}, [INTRODUCTION]
    for family in options.families:
        whole = split_of(family, options.data, "test")
        samples = whole[:: -(-len(whole) // options.images)]
        reports[family] = measured(family, samples, options.state)
        parts.append(tables(family, reports[family], len(samples), len(whole)))
        print(parts[-1], flush=True)
    if options.families == [*DATA]:
        PAGE.write_text("\n".join(parts) + "\n", encoding="utf-8")
        draw(reports, FIGURE)


if __name__ == "__main__":
    main()
