"""One thread that removes what is past its time: visitors' files, and results of programs.

Nothing that a sweep meets ends the thread, and `Janitor.seconds_since_sweep` says whether it is alive.
"""

from __future__ import annotations

import contextlib
import logging
import os
import threading
import time
from collections.abc import Callable, Collection, Iterator
from pathlib import Path
from typing import TypeAlias

log = logging.getLogger(__name__)

_State: TypeAlias = "tuple[int, int]"
"""Size and time of change of a path: what has changed is new again."""


class Janitor:
    """Removes files and empty folders of `folder` that have not changed for `seconds`, but for `exempt`; with every
    sweep it calls `others` too.

    A path's age is counted from the first sweep that meets it in its state, by a clock that nobody can set.
    """

    def __init__(
        self,
        folder: Path,
        seconds: float,
        exempt: Collection[Path] = (),
        others: Collection[Callable[[], object]] = (),
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        self.period_s = min(60.0, seconds / 4)
        self._folder, self._seconds, self._exempt, self._others = folder, seconds, frozenset(exempt), others
        self._now = now
        self._first_met: dict[Path, tuple[_State, float]] = {}
        self._last = now()

    @property
    def seconds_since_sweep(self) -> float:
        """Since the last complete sweep; more than a few `period_s` say that the disk or the thread is stuck."""
        return self._now() - self._last

    def start(self) -> None:
        threading.Thread(target=self._sweep_for_ever, name="janitor", daemon=True).start()

    def sweep(self) -> None:
        """Remove what is past its time. A path that goes meanwhile, or cannot be removed, is passed over."""
        now, met = self._now(), {}
        for path in _below(self._folder):
            with contextlib.suppress(OSError):
                stat = path.lstat()
                state = (stat.st_size, stat.st_mtime_ns)
                before = self._first_met.get(path)
                since = before[1] if before is not None and before[0] == state else now
                if now - since < self._seconds or path in self._exempt:
                    met[path] = state, since
                    continue
                path.rmdir() if path.is_dir() and not path.is_symlink() else path.unlink()
        self._first_met = met
        for other in self._others:
            other()
        self._last = self._now()

    def _sweep_for_ever(self) -> None:
        while True:
            time.sleep(self.period_s)
            try:
                self.sweep()
            except Exception as error:
                log.error("A sweep was broken off: %s; the next follows.", type(error).__name__)


def _below(folder: Path) -> Iterator[Path]:
    """Every path below `folder`, what is in a folder before the folder; what vanishes meanwhile is left out."""
    for place, folders, files in os.walk(folder, topdown=False):
        for name in (*files, *folders):
            yield Path(place, name)
