"""What a data set holds and medseg does not take (files, pages, rows, polygons, frames): counted, and said in one way.

Every reader of a layout puts what it leaves out on its `DataSet`; `load_data` says it as a `MedsegWarning`, `inspect`
in its report, and others that show a data set can do the same with `str`.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterable
from dataclasses import dataclass

from medseg.errors import MedsegWarning

_NAMED = 3
"""Names that a sentence holds; the count says how many more there are."""


DOUBTFUL = "Doubtful"
"""The lead of things that are taken, and perhaps should not be."""


@dataclass(frozen=True)
class LeftOut:
    """`count` things of one kind that are left out. `what` is that kind and the reason, as a plural noun phrase."""

    what: str
    count: int
    names: tuple[str, ...] = ()
    lead: str = "Left out"
    """Another word where the things are taken, and how is doubtful."""

    def __str__(self) -> str:
        return f"{self.lead}: {self.what} ({self.count}), the first: {', '.join(self.names)}."


def counted(count: int, noun: str) -> str:
    """The count with its noun: 1 fault, 2 faults."""
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"


def left_out(what: str, names: Iterable[str], lead: str = "Left out") -> tuple[LeftOut, ...]:
    """One entry for all `names`, none where there are none."""
    every = sorted(names)
    return (LeftOut(what, len(every), tuple(every[:_NAMED]), lead),) if every else ()


def warn_left_out(entries: Iterable[LeftOut], *, stacklevel: int = 2) -> None:
    """Say every entry as a `MedsegWarning`."""
    for entry in entries:
        warnings.warn(str(entry), MedsegWarning, stacklevel=stacklevel + 1)
