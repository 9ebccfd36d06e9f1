"""Several sources worked on at once: order, bounds, failures, what is begun when a run ends, equal bits."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextvars import ContextVar

import numpy as np
import pytest

from medseg.inference import pipeline
from medseg.inference.member import load_member
from medseg.inference.pipeline import AHEAD, ahead, mapped
from medseg.inference.runtime import run
from medseg.places import shipped


def test_items_come_in_the_order_of_their_sources_however_long_each_takes() -> None:
    def source(number: int) -> Iterator[tuple[int, int]]:
        for item in range(number % 3):
            time.sleep(0.002 * ((number * 7) % 5))
            yield number, item

    assert list(ahead(map(source, range(20)))) == [(n, item) for n in range(20) for item in range(n % 3)]


def test_as_many_sources_as_may_be_are_worked_on_at_once() -> None:
    together = threading.Barrier(AHEAD, timeout=10)
    assert list(mapped(lambda item: together.wait() >= 0, range(2 * AHEAD))) == [True] * 2 * AHEAD


def test_sources_of_large_items_come_one_by_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pipeline, "MAX_BYTES", 100)
    active, most = set[int](), list[int]()

    def work(number: int) -> int:
        active.add(number)
        time.sleep(0.005)
        most.append(len(active))
        active.discard(number)
        return number

    list(mapped(work, range(20), lambda _: 60))
    assert max(most) == 1


def test_sources_are_begun_as_they_are_needed() -> None:
    begun = list[int]()

    def numbers() -> Iterator[int]:
        for number in range(100):
            begun.append(number)
            yield number

    items = mapped(lambda number: number, numbers())
    assert [next(items) for _ in range(3)] == [0, 1, 2]
    items.close()
    assert len(begun) <= 3 + AHEAD


def test_what_a_source_raises_comes_in_its_turn() -> None:
    def work(number: int) -> int:
        if number == 2:
            raise ValueError("the third")
        return number

    items = mapped(work, range(9))
    assert [next(items), next(items)] == [0, 1]
    with pytest.raises(ValueError, match="the third"):
        next(items)


def test_a_source_sees_who_asks() -> None:
    visitor = ContextVar[str]("visitor")
    visitor.set("ann")
    assert list(mapped(lambda _: visitor.get(), range(5))) == ["ann"] * 5


def test_a_graph_gives_the_same_bits_at_every_run_and_from_several_threads() -> None:
    folder = shipped("assets/ensembles/polyp/polyp-unet-lite0")
    batch = np.random.default_rng(0).random((1, 3, 256, 256), np.float32)
    first, second = (load_member(folder, device="cpu").network for _ in range(2))
    expected = run(first, batch)
    assert all(np.array_equal(logits, expected) for logits in mapped(lambda _: run(second, batch), range(8)))
