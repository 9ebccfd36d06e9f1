"""The results that programs may come back to, each under an identifier that nobody can guess."""

from __future__ import annotations

import secrets
import threading
import time
from collections import OrderedDict
from collections.abc import Callable
from typing import Generic, TypeVar

from medseg.errors import InputError

TTL_S = 3600.0
"""How long a result is kept after its last use, in seconds."""

MAX_REMEMBERED = 100_000
"""Identifiers whose end is remembered, so that who asks reads why; some 200 bytes each."""


Kept = TypeVar("Kept")


class Results(Generic[Kept]):
    """What programs made, by identifier: 128 random bits, which are all that stands between a result and a stranger.

    A result holds the image's pixels and the members' probabilities, and nothing of file name or patient. It goes
    `ttl_s` seconds after its last use, or when `medseg.app.state.openings` closes it to make room.
    """

    def __init__(self, ttl_s: float = TTL_S, now: Callable[[], float] = time.monotonic) -> None:
        self.ttl_s = ttl_s
        self._now = now
        self._sessions: OrderedDict[str, tuple[float, Kept]] = OrderedDict()  # the longest unused first
        self._ended: OrderedDict[str, None] = OrderedDict()
        self._lock = threading.Lock()

    def __len__(self) -> int:
        return len(self._sessions)

    def keep(self, session: Kept) -> str:
        """The new identifier of `session`."""
        identifier = secrets.token_urlsafe(16)
        with self._lock:
            self._sessions[identifier] = (self._now(), session)
        return identifier

    def get(self, identifier: str) -> Kept:
        """Raises InputError where there is no such result, or no longer."""
        self.sweep()
        with self._lock:
            if identifier in self._ended:
                minutes = f"{self.ttl_s / 60:.0f} minutes"
                raise InputError(f"This result was deleted {minutes} after its last use. Segment the image again.")
            if identifier not in self._sessions:
                raise InputError("There is no result of that identifier here. Segment the image first.")
            _, session = self._sessions.pop(identifier)
            self._sessions[identifier] = (self._now(), session)
        return session

    def sweep(self) -> None:
        """Drop what is past its time; the janitor calls it too, so results go where nobody asks for anything."""
        with self._lock:
            while self._sessions and next(iter(self._sessions.values()))[0] + self.ttl_s <= self._now():
                identifier, _ = self._sessions.popitem(last=False)
                self._ended[identifier] = None
                while len(self._ended) > MAX_REMEMBERED:
                    self._ended.popitem(last=False)
