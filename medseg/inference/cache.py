"""Arrays that were computed for the last images, within a bound of bytes."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable

import numpy as np


class ArrayCache:
    """At most `limit` bytes of arrays; the longest unused goes first. Nobody may write into what it hands out."""

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self._arrays: OrderedDict[Hashable, np.ndarray] = OrderedDict()
        self._bytes = 0
        self._lock = threading.Lock()

    def get(self, key: Hashable, compute: Callable[[], np.ndarray]) -> np.ndarray:
        """The array of `key`, computed where it is not there; two threads that ask at once may both compute it."""
        with self._lock:
            if key in self._arrays:
                self._arrays.move_to_end(key)
                return self._arrays[key]
        array = compute()
        with self._lock:
            if key not in self._arrays and array.nbytes <= self.limit:
                self._arrays[key] = array
                self._bytes += array.nbytes
                while self._bytes > self.limit:
                    self._bytes -= self._arrays.popitem(last=False)[1].nbytes
        return array

    def drop(self, chosen: Callable[[Hashable], bool]) -> None:
        """Forget the arrays of the keys that are `chosen`."""
        with self._lock:
            for key in list(filter(chosen, self._arrays)):
                self._bytes -= self._arrays.pop(key).nbytes
