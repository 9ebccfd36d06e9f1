"""`python -m benchmarks.reliability --quick | --release`: docs/reliability.md from a run.

A release goes on from the states of the run before, row by row and step by step; `--quick` starts anew.
"""

from __future__ import annotations

import argparse
import os
import shutil
import sys
import tempfile
import warnings
from pathlib import Path

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

from benchmarks.needs import TORCH, need

need(*TORCH, "onnx", "psutil", "pytest", "hypothesis")

from benchmarks.reliability import archive, attackers, events, files, machine, models, processes, visitors
from benchmarks.reliability.page import figure, page
from benchmarks.reliability.row import Row, read_tally
from tests import running_app

ROOT = Path(__file__).resolve().parents[2]
ROWS: tuple[Row, ...] = (
    *files.ROWS,
    *visitors.ROWS,
    *attackers.ROWS,
    *events.ROWS,
    *machine.ROWS,
    *models.ROWS,
    *processes.ROWS,
    *archive.ROWS,
)


def main(arguments: list[str] | None = None) -> None:
    names = [row.name for row in ROWS]
    parser = argparse.ArgumentParser(prog="benchmarks.reliability", description=__doc__)
    size = parser.add_mutually_exclusive_group(required=True)
    size.add_argument("--quick", action="store_true", help="minutes")
    size.add_argument("--release", action="store_true", help="hours; goes on where it was")
    parser.add_argument("--rows", default=",".join(names), help="some of them, separated by commas")
    parser.add_argument("--seconds", type=float, default=float("inf"), help="for each row, at most")
    parser.add_argument("--state", type=Path, default=Path(tempfile.gettempdir()) / "medseg-reliability")
    parser.add_argument("--page", type=Path, default=ROOT / "docs" / "reliability.md")
    options = parser.parse_args(arguments)
    chosen, how = options.rows.split(","), "release" if options.release else "quick"
    if unknown := set(chosen) - set(names):
        parser.error(f"There is no row {min(unknown)!r}; there are {', '.join(names)}.")
    state = options.state / how
    if options.quick:
        shutil.rmtree(state, ignore_errors=True)
    wanted = {row.name: row.release if options.release else row.quick for row in ROWS}
    warnings.simplefilter("ignore")  # of pydicom, about the mutants that it writes
    running_app.PATIENCE_S = 600  # a run of hours is one of low priority
    halted = []
    for row in ROWS:
        if row.name in chosen and wanted[row.name]:
            try:
                tally = row.advance(wanted[row.name], state, options.seconds)
            except Exception as error:  # the other rows go on; this one goes on with the next run
                halted.append(f"{row.name} halted: {error!r:.300}")
                continue
            print(f"{row.name}: {tally.done} in {tally.took_s:.0f} s: {figure(row, tally)}", flush=True)
    results = [(row, read_tally(state / f"{row.name}.json"), row.release) for row in ROWS]
    options.page.write_text(page(results, how), encoding="utf-8")
    broken = [f"{row.name} breaks its promise" for row, tally, _ in results if row.is_broken(tally)]
    sys.exit("\n".join([*halted, *broken]) or 0)


if __name__ == "__main__":
    main()
