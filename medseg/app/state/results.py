"""The results that programs may come back to, each under an identifier that nobody can guess."""

from __future__ import annotations

import secrets
import threading
import time
from collections import OrderedDict
from collections.abc import Callable

from medseg.app.state.session import Session
from medseg.errors import InputError

LIMIT = 32
"""Results kept at once, tens of megabytes each; the longest unused goes first."""

TTL_S = 3600.0
"""How long a result is kept after its last use, in seconds."""


class Results:
    """Sessions by identifier: 128 random bits, which are all that stands between a result and a stranger.

    A result holds the image's pixels and the members' probabilities, and nothing of file name or patient. It goes when
    `limit` others are younger, or `ttl_s` seconds after its last use.
    """

    def __init__(self, limit: int = LIMIT, ttl_s: float = TTL_S, now: Callable[[], float] = time.monotonic) -> None:
        self.limit, self.ttl_s = limit, ttl_s
        self._now = now
        self._kept: OrderedDict[str, tuple[float, Session]] = OrderedDict()  # the longest unused first
        self._lock = threading.Lock()
        self._sweeper: threading.Timer | None = None

    def __len__(self) -> int:
        return len(self._kept)

    def keep(self, session: Session) -> str:
        """The new identifier of `session`."""
        identifier = secrets.token_urlsafe(16)
        with self._lock:
            self._kept[identifier] = (self._now(), session)
            while len(self._kept) > self.limit:
                self._kept.popitem(last=False)
            self._sweep_later()
        return identifier

    def get(self, identifier: str) -> Session:
        """Raises InputError where there is no such result, or no longer."""
        self.sweep()
        with self._lock:
            if identifier not in self._kept:
                raise InputError(
                    f"There is no result of that identifier here: the last {self.limit} are kept, each for "
                    f"{self.ttl_s / 60:.0f} minutes after its last use. Segment the image again."
                )
            _, session = self._kept.pop(identifier)
            self._kept[identifier] = (self._now(), session)
        return session

    def sweep(self) -> None:
        """Drop what is past its time."""
        with self._lock:
            while self._kept and next(iter(self._kept.values()))[0] + self.ttl_s <= self._now():
                self._kept.popitem(last=False)

    def _sweep_later(self) -> None:
        """One timer for all results, so that they go also where nobody asks for anything any more."""
        if self._sweeper is not None and self._sweeper.is_alive():
            return
        self._sweeper = threading.Timer(self.ttl_s, self._sweep_on)
        self._sweeper.daemon = True
        self._sweeper.start()

    def _sweep_on(self) -> None:
        self.sweep()
        with self._lock:
            self._sweeper = None
            if self._kept:
                self._sweep_later()
