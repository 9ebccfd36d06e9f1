"""A row: cases by number, of which as many are tried as there is time for, and the tally of what came of them."""

from __future__ import annotations

import datetime
import json
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from medseg.inference.record import versions


@dataclass
class Tally:
    """What came of `done` cases: how often each outcome, the most of each measured value, the distinct sentences, and
    the seconds of each answer where a row asks for them."""

    done: int = 0
    counts: Counter[str] = field(default_factory=Counter)
    most: dict[str, float] = field(default_factory=dict)
    sentences: list[str] = field(default_factory=list)
    seconds: list[float] = field(default_factory=list)
    took_s: float = 0.0
    date: str = ""
    versions: dict[str, str] = field(default_factory=dict)

    def note(self, **values: float) -> None:
        """Keep the larger of each value and of what it was; `_` in a name stands for a space."""
        for name, value in values.items():
            label = name.replace("_", " ")
            self.most[label] = round(max(value, self.most.get(label, value)), 3)

    def say(self, sentence: str) -> None:
        if sentence not in self.sentences:
            self.sentences.append(sentence)

    def add(self, other: Tally) -> None:
        self.done += other.done
        self.counts.update(other.counts)
        self.note(**other.most)
        for sentence in other.sentences:
            self.say(sentence)
        self.seconds += other.seconds
        self.took_s += other.took_s


@dataclass(frozen=True)
class Row:
    """`threat` is the identifier of RELIABILITY; `what` names the cases; `good` and `bad` are all outcomes there are,
    and one bad one breaks the `promise`. `step` cases are tried between two writings of the state. `bounds` are the
    largest values that keep the promise; those in seconds hold on a quiet machine, so they are shown and not judged."""

    name: str
    threat: str
    promise: str
    what: str
    quick: int
    release: int
    step: int
    run: Callable[[range], Tally]
    good: tuple[str, ...]
    bad: tuple[str, ...] = ()
    bounds: dict[str, float] = field(default_factory=dict)

    def advance(self, wanted: int, state: Path, seconds: float = float("inf")) -> Tally:
        """Try cases until `wanted` are done, or `seconds` are over; what an earlier run wrote to the folder `state`
        counts, and is written again after every step."""
        path, begun = state / f"{self.name}.json", time.monotonic()
        tally = read_tally(path)
        while tally.done < wanted and time.monotonic() - begun < seconds:
            start = time.monotonic()
            cases = range(tally.done, min(wanted, tally.done + self.step))
            result = self.run(cases)
            result.done, result.took_s = len(cases), time.monotonic() - start
            tally.add(result)
            tally.date, tally.versions = datetime.date.today().isoformat(), versions()
            state.mkdir(parents=True, exist_ok=True)
            path.with_suffix(".new").write_text(json.dumps(vars(tally)), encoding="utf-8")
            path.with_suffix(".new").replace(path)
        return tally

    def is_broken(self, tally: Tally) -> bool:
        judged = {name: bound for name, bound in self.bounds.items() if not name.endswith(" s")}
        return (
            any(tally.counts[name] for name in self.bad)
            or not tally.counts.keys() <= {*self.good, *self.bad}
            or any(tally.most.get(name, 0) > bound for name, bound in judged.items())
        )


def read_tally(path: Path) -> Tally:
    """The state that an earlier run wrote, or an empty one."""
    if not path.exists():
        return Tally()
    values = json.loads(path.read_text(encoding="utf-8"))
    return Tally(**{**values, "counts": Counter(values["counts"])})
