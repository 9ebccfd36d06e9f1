"""How far long work is: a bar on a terminal; elsewhere, where a bar would fill the log, a line a minute."""

from __future__ import annotations

import os
import sys
from typing import Any

from tqdm import tqdm

SECONDS = 60.0
"""Between two lines in a log, and before the first: short work says nothing there."""

_IN_A_LOG: dict[str, Any] = {
    "leave": False,
    "dynamic_ncols": False,
    "bar_format": "{desc}: {n_fmt} of {total_fmt} after {elapsed}, {remaining} left",
}


class Bar(tqdm):  # type: ignore[misc] # it has no types
    """tqdm's bar on stderr, of the first of several processes."""

    def __init__(self, *arguments: Any, **settings: Any) -> None:
        self.on_terminal = sys.stderr.isatty()
        settings["disable"] = os.environ.get("RANK", "0") != "0"
        if not self.on_terminal:
            settings |= {**_IN_A_LOG, "delay": SECONDS, "mininterval": SECONDS, "maxinterval": 2 * SECONDS}
        super().__init__(*arguments, **settings)

    def advance(self, done: int = 0, total: int = 0) -> None:
        """One thing more is done; the library's functions say also how many of how many."""
        self.update()

    def display(self, msg: str | None = None, pos: int | None = None) -> bool | None:
        """As tqdm calls it: the line as it stands now, or `msg`, empty where a bar is taken away."""
        if self.on_terminal:
            shown: bool | None = super().display(msg, pos)
            return shown
        if msg is None:
            self.fp.write(f"{self}\n")
            self.fp.flush()
        return None
