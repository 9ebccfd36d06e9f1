"""What each layout's reader gives: `python benchmarks/layouts.py [FOLDER …]`.

A line for each generated set, and one for each real data set in the folders (default: ../shared/data/*/*): layout,
samples, cases, labels, and how many things are left out and said.
"""

from __future__ import annotations

import os
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks.needs import existing, need, parser

need("pytest", "hypothesis")

from medseg.data.samples import load_data
from tests.conftest import REAL_DATA
from tests.data.test_left_out import MAKERS


def line(origin: str, place: Path) -> str:
    loaded = load_data(place, quiet=True)
    cases, gone = len({sample.case for sample in loaded.samples}), sum(entry.count for entry in loaded.left_out)
    counts = f"{len(loaded.samples):7} {cases:7} {len(loaded.labels):7} {gone:9}"
    return f"{loaded.layout:14} {origin:24} {counts}"


def lines(places: list[Path]) -> Iterator[str]:
    yield f"{'layout':14} {'set':24} {'samples':>7} {'cases':>7} {'labels':>7} {'left out':>9}"
    with tempfile.TemporaryDirectory() as folder:
        os.environ["MEDSEG_CACHE"] = f"{folder}/cache"
        for layout, make in MAKERS.items():
            make(Path(folder) / layout)
            yield line("generated", Path(folder) / layout)
    for place in places:
        yield line(place.name, place)


if __name__ == "__main__":
    options = parser(__doc__)
    options.add_argument("folders", nargs="*", type=existing, metavar="FOLDER", help="without any: ../shared/data/*/*")
    for text in lines(options.parse_args().folders or sorted(REAL_DATA.glob("*/*"))):
        print(text, flush=True)
