"""`python -m benchmarks.viewers [SOURCE …]`: every kind of source × result × reader, printed, and, where all sources
were tried, written into docs/dicom.md. It wants Orthanc, OHIF, Chromium (tests/viewers/install) and half an hour."""

from __future__ import annotations

import tempfile
from collections import defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from benchmarks.needs import need, parser

need("pytest", "hypothesis", "highdicom")

import pydicom

from medseg.export.results import KINDS as RESULTS
from tests.dicom_sources import KINDS as SOURCES
from tests.viewers.hospital import Hospital, opens_in_ohif, opens_in_orthanc, running_hospital
from tests.viewers.readers import READERS, Result, reads, results_of

GUIDE = Path(__file__).resolve().parents[1] / "docs" / "dicom.md"
BEGIN, END = "<!-- matrix: python -m benchmarks.viewers -->", "<!-- end of the matrix -->"
ALL = (*READERS, "Orthanc", "OHIF")
NAMES = {
    **{"seg": "mask (SEG)", "label-map": "label map (SEG)", "probabilities": "probabilities (SEG)"},
    **{"capture": "Secondary Capture", "map": "parametric map"},
}


@dataclass(frozen=True)
class Cell:
    """What a reader made of one result: a figure or words, or why it failed."""

    source: str
    kind: str
    empty: bool
    reader: str
    words: str
    failed: bool = False

    @property
    def row(self) -> str:
        return NAMES[self.kind] + (", nothing found" if self.empty else "")


def cells(sources: list[str], hospital: Hospital) -> Iterator[Cell]:
    for source in sources:
        for kind in RESULTS:
            for empty in (False, True) if kind in ("seg", "label-map") else (False,):
                with tempfile.TemporaryDirectory() as folder:
                    yield from _of_one(source, kind, empty, Path(folder), hospital)


def _of_one(source: str, kind: str, empty: bool, folder: Path, hospital: Hospital) -> Iterator[Cell]:
    study = str(pydicom.uid.generate_uid())
    paths, (result, *_) = results_of(source, folder, empty=empty, kinds=[kind], study=study)
    asked: dict[str, Callable[[Result], str | None]] = {
        **{reader: read for reader, read in READERS.items() if reads(reader, result)},
        "Orthanc": lambda result: opens_in_orthanc(hospital, paths, result),
        "OHIF": lambda result: opens_in_ohif(hospital, study, result),
    }
    for reader, read in asked.items():
        try:
            cell = Cell(source, kind, empty, reader, read(result) or "as written")
        except Exception as error:
            words = (str(error) or type(error).__name__).splitlines()[0][:80]
            cell = Cell(source, kind, empty, reader, words, failed=True)
        print(f"{source:20} {cell.row:34} {reader:10} {'FAILED ' * cell.failed}{cell.words}", flush=True)
        yield cell


def page(tried: list[Cell]) -> str:
    """Two tables: of how many sources each reader opens each result, and how well OHIF's area agrees with the mask."""
    by_place: dict[tuple[str, str], list[Cell]] = defaultdict(list)
    for cell in tried:
        by_place[cell.row, cell.reader].append(cell)
    rows = dict.fromkeys(cell.row for cell in tried)
    lines = [f"| result | {' | '.join(ALL)} |", "|---" * (len(ALL) + 1) + "|"]
    lines += [f"| {row} | {' | '.join(_count(by_place[row, reader]) for reader in ALL)} |" for row in rows]
    figures = {(cell.source, cell.kind): cell.words for cell in tried if cell.reader == "OHIF" and not cell.empty}
    shown = [kind for kind in ("seg", "label-map") if any(kind == other for _, other in figures)]
    lines += ["", f"| Dice in OHIF | {' | '.join(NAMES[kind] for kind in shown)} |", "|---" * (len(shown) + 1) + "|"]
    for source in dict.fromkeys(source for source, _ in figures):
        lines.append(f"| {source} | {' | '.join(figures.get((source, kind), '–') for kind in shown)} |")
    return "\n".join(lines)


def _count(those: list[Cell]) -> str:
    """Of how many sources it is opened, how it is shown, and which are not opened, with what becomes of them."""
    if not those:
        return "–"
    said = {cell.words for cell in those if not cell.failed and not cell.words[:1].isdigit()} - {"as written"}
    failed: dict[str, list[str]] = defaultdict(list)
    for cell in those:
        if cell.failed:
            failed[cell.words].append(cell.source)
    parts = [f"{sum(not cell.failed for cell in those)} of {len(those)}", *sorted(said)]
    for words, sources in failed.items():
        parts.append(words if len(sources) == len(those) else f"{words}: {', '.join(sources)}")
    return "; ".join(parts)


def main() -> None:
    options = parser(__doc__)
    options.add_argument("sources", nargs="*", metavar="SOURCE", help=f"all, or some of {', '.join(SOURCES)}")
    sources = options.parse_args().sources or [*SOURCES]
    if unknown := set(sources) - {*SOURCES}:
        options.error(f"There is no source {min(unknown)!r}; there are {', '.join(SOURCES)}.")
    with running_hospital() as hospital:
        tried = list(cells(sources, hospital))
    text = page(tried)
    print(text)
    if sources == [*SOURCES]:
        before, _, rest = GUIDE.read_text(encoding="utf-8").partition(BEGIN)
        after = rest.partition(END)[2]
        GUIDE.write_text(f"{before}{BEGIN}\n\n{text}\n\n{END}{after}", encoding="utf-8")


if __name__ == "__main__":
    main()
