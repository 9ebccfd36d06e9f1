"""All images that are open in this process, bounded by bytes: the longest unused is closed, and says so."""

from __future__ import annotations

import threading
from collections import OrderedDict
from typing import Protocol
from weakref import ref

from medseg.app.server.settings import open_bytes

FULL = (
    "This image was closed to make room for those of others, as the server's memory is bounded: open it again, or "
    "segment it again."
)


class Opening(Protocol):
    """What has an image open."""

    def close(self, reason: str) -> None: ...


class Openings:
    """Who has how many bytes open, the longest unused first; an owner that is gone counts no more."""

    def __init__(self) -> None:
        self._bytes: OrderedDict[int, tuple[ref[Opening], int]] = OrderedDict()
        self._lock = threading.Lock()

    def __len__(self) -> int:
        return len(self._bytes)

    @property
    def total(self) -> int:
        return sum(size for _, size in list(self._bytes.values()))

    def note(self, owner: Opening, size: int) -> None:
        """`owner` now has `size` bytes open (0: nothing any more) and is the newest used; closes others beyond the
        bound, but never this one."""
        key, closing = id(owner), []
        with self._lock:
            self._bytes.pop(key, None)
            if size:
                self._bytes[key] = ref(owner, lambda _: self._bytes.pop(key, None)), size
            limit = open_bytes()
            while self.total > limit and len(self._bytes) > 1:
                _, (oldest, _) = self._bytes.popitem(last=False)
                closing.append(oldest())
        for other in closing:
            if other is not None:
                other.close(FULL)

    def use(self, owner: Opening) -> None:
        """`owner` is the newest used."""
        with self._lock:
            if id(owner) in self._bytes:
                self._bytes.move_to_end(id(owner))


openings = Openings()
"""Those of this process."""
