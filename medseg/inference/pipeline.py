"""Several images at a time: while one is in the networks, the next is decoded and the last is written."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextvars import copy_context
from itertools import islice
from typing import TypeVar

T = TypeVar("T")
S = TypeVar("S")

AHEAD = 4
"""Sources in work at a time beside a CPU: one decodes, one is in the networks, one writes, one is about to."""
MAX_BYTES = 2**28
"""Of what sources in work hold: of images of 4096 × 4096 pixels there is one at a time."""


class _End:
    """A source has nothing more."""


def ahead(sources: Iterable[Iterator[T]], size: Callable[[T], int] | None = None, at_once: int = AHEAD) -> Iterator[T]:
    """The items of all `sources`, in order, each source on a thread of a pool, `at_once` of them at a time.

    A source is one item ahead of what was taken. `size` says how many bytes stand behind an item: with it the first
    source is alone until its first item is there, and where `at_once` of the largest so far would be more than
    MAX_BYTES, fewer are begun. What a source raises is raised when its turn comes. Sources are taken from their
    iterable one by one: it may end early, and those begun come to their end.
    """
    rest, limit = iter(sources), at_once if size is None else 1
    largest = 1
    steps: deque[tuple[Iterator[T], Future[T | _End]]] = deque()
    with ThreadPoolExecutor(at_once, "ahead") as pool:

        def step(source: Iterator[T]) -> Future[T | _End]:
            context = copy_context()  # the caller's: who asks, on a Space that lends GPUs
            return pool.submit(lambda: context.run(lambda: next(source, _End())))

        while True:
            steps.extend((source, step(source)) for source in islice(rest, max(0, limit - len(steps))))
            if not steps:
                return
            source, future = steps.popleft()
            item = future.result()
            if not isinstance(item, _End):
                if size is not None:
                    largest = max(largest, size(item))
                    limit = max(1, min(at_once, MAX_BYTES // largest))
                steps.appendleft((source, step(source)))
                yield item


def mapped(
    work: Callable[[S], T], items: Iterable[S], size: Callable[[T], int] | None = None, at_once: int = AHEAD
) -> Iterator[T]:
    """`work` of each item, in order, `ahead` of what was taken."""

    def once(item: S) -> Iterator[T]:
        yield work(item)

    return ahead(map(once, items), size, at_once)
