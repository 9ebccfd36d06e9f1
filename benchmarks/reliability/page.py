"""docs/reliability.md, from the states of the rows."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from benchmarks.reliability.row import Row, Tally

ELSEWHERE = (
    ("D1, D2, D3", "pixels, attributes, orientation: `tests/reading`"),
    ("M2", "pickles and foreign formats: `tests/inference/test_member.py`"),
    ("G1", "memory of a GPU: `tests/training/test_gpu_kit.py`, on a GPU only"),
    ("S1", "descriptors, memory, clock, folders that cannot be written: `tests/app/test_machine.py`"),
    ("T2, T3, T4", "resumed steps, pushes, dirty data: `tests/training`, `tests/hub`, `tests/data`"),
    ("W2", "viewers: [which software opens the results](dicom.md#which-software-opens-the-results)"),
    ("L1", "supply chain: `tests/test_supply.py`"),
)


def page(rows: Sequence[tuple[Row, Tally, int]], how: str) -> str:
    """The page of `rows`: each with its tally and the count that the run `how` (quick or release) wants of it."""
    reached = [(row, tally, wanted) for row, tally, wanted in rows if tally.done]
    sets = list({str(tally.versions): tally.versions for _, tally, _ in reached}.values())
    lines = [_line(row, tally, wanted, sets.index(tally.versions)) for row, tally, wanted in reached]
    missed = [(row.threat, f"{row.promise}: not tried in this run") for row, tally, _ in rows if not tally.done]
    others = "\n".join(f"| {threat} | {where} |" for threat, where in (*missed, *ELSEWHERE))
    used = "\n".join(f"- {letter(number)}: {_listed(versions)}" for number, versions in enumerate(sets))
    joined = "\n".join(lines)
    return f"""# Reliability

What medseg promises where files are damaged, users hostile, machines full and networks away, and what came of trying.
`python -m benchmarks.reliability --{how}` wrote this page; each row can be tried again alone (`--rows NAME`), and a run
that was stopped goes on where it was. Traffic stays on loopback, and the app is a process of its own.

**Times are upper bounds**: the machine had two cores and other work to do. A figure in bold breaks its promise; a time
in italics is above the promise's own bound here. "98 of 100" says that a run of full length tries 100.

| | row | promise | tried | figure | date |
|---|---|---|---|---|---|
{joined}

Versions:

{used}

Not reached by this run:

| | where else |
|---|---|
{others}

[Security and privacy](security.md) says what stays outside.
"""


def letter(number: int) -> str:
    return chr(ord("a") + number)


def _listed(versions: dict[str, str]) -> str:
    return ", ".join(f"{name} {version}" for name, version in versions.items())


def _line(row: Row, tally: Tally, wanted: int, versions: int) -> str:
    of = f" of {wanted:,}" if tally.done < wanted else ""
    tried = f"{tally.done:,}{of} {row.what}"
    run_on = f"{tally.date}, {letter(versions)}"
    return f"| {row.threat} | {row.name} | {row.promise} | {tried} | {figure(row, tally)} | {run_on} |"


def figure(row: Row, tally: Tally) -> str:
    """What came of it, in words: every outcome there is, the bad ones in bold where there are any."""
    good = [f"{tally.counts[name]:,} {name}" for name in row.good]
    others = [*row.bad, *sorted(tally.counts.keys() - {*row.good, *row.bad})]
    bad = [f"**{tally.counts[name]:,} {name}**" if tally.counts[name] else f"0 {name}" for name in others]
    kinds = [f"{len(tally.sentences)} different sentences"] if tally.sentences else []
    most = [_value(name, value, row.bounds.get(name)) for name, value in tally.most.items()]
    return ", ".join([*good, *bad]) + "".join(f"; {part}" for part in (*kinds, *most, *_times(tally.seconds)))


def _value(name: str, value: float, bound: float | None) -> str:
    text = f"{name} {value:.3g}" if value < 100 else f"{name} {value:,.0f}"
    if bound is None:
        return text
    mark = "" if value <= bound else "*" if name.endswith(" s") else "**"
    return f"{mark}{text} (bound {bound:g}){mark}"


def _times(seconds: Sequence[float]) -> list[str]:
    if not seconds:
        return []
    middle, slow = np.percentile(seconds, [50, 99])
    return [f"s an answer: median {middle:.2f}, p99 {slow:.2f}, p99/p50 {slow / middle:.2f}"]
