"""Rows whose cases are processes of their own: starts while the Hub is ill, trainings that are killed."""

from __future__ import annotations

import tempfile
from pathlib import Path

from benchmarks import hub, kill
from benchmarks.reliability.row import Row, Tally

STATES = ("cold", "warm", "damaged cache")


def run_hub(cases: range) -> Tally:
    tally = Tally()
    for case in cases:
        state, mode = STATES[case % 3], hub.MODES[case // 3 % len(hub.MODES)]
        seconds, outcome = hub.measure("medseg", mode, state)
        if outcome.startswith("refused: "):
            tally.say(f"{outcome[9:90]}")
            outcome = "refused in a sentence" if state != "warm" else "WARM AND REFUSED"
        names = {"same": "the right files", "left out": "a member left out and named"}
        tally.counts[names.get(outcome, outcome)] += 1
        tally.note(**{f"{state} s": float(seconds.removeprefix("> "))})
    return tally


def run_kills(cases: range) -> Tally:
    with tempfile.TemporaryDirectory() as folder:
        result = kill.measure(Path(folder), kills=len(cases), workers=0, seed=cases.start)
    tally = Tally()
    tally.counts["resumed"] = result.resumes
    tally.counts["killed inside a save"] = result.inside_saves
    tally.counts["runs ended with equal weights"] = result.equal
    tally.counts["RUNS ENDED OTHERWISE"] = result.finished - result.equal
    return tally


ROWS = (
    Row("hub", "H", "a Hub that refuses, hangs, drips or lies: the right files, the cache, or a sentence within 10 s",
        "starts (12 faults; cache cold, warm, damaged)", 3, 36, 3, run_hub,
        ("the right files", "a member left out and named", "refused in a sentence"),
        ("WRONG", "stopped", "WARM AND REFUSED"), {"cold s": 10, "damaged cache s": 10, "warm s": 4}),
    Row("kills", "T1", "a training killed at any moment goes on to the same weights", "kills", 1, 200, 10, run_kills,
        ("resumed", "killed inside a save", "runs ended with equal weights"), ("RUNS ENDED OTHERWISE",)),
)  # fmt: skip
