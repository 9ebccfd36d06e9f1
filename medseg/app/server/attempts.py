"""Logins that fail make the next one from the same address wait, longer each time."""

from __future__ import annotations

import asyncio
import logging
import time
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any

from starlette.responses import PlainTextResponse
from starlette.types import Scope

log = logging.getLogger(__name__)

FREE = 3
"""Failures without a delay: people mistype."""

LONGEST_S = 30.0
FORGET_S = 900.0
MAX_WAITING = 4
MAX_ADDRESSES = 10_000


def delay_s(failures: int) -> float:
    """Seconds that the next attempt waits: 1, 2, 4 … after FREE failures in a row, LONGEST_S at most."""
    return 0.0 if failures < FREE else min(LONGEST_S, 2.0 ** (failures - FREE))


@dataclass
class _Address:
    failures: int = 0
    last: float = 0.0
    waiting: int = 0
    turn: asyncio.Lock = field(default_factory=asyncio.Lock)


class Attempts:
    """The failures of each address, one attempt at a time."""

    def __init__(self, now: Callable[[], float] = time.monotonic) -> None:
        self._now = now
        self._addresses: OrderedDict[str, _Address] = OrderedDict()

    async def slow_down(self, scope: Scope, answer: Any, attempt: Awaitable[None]) -> None:
        """Await `attempt` when its address may try again; the status that `answer` got says whether it failed."""
        name = (scope.get("client") or ["?"])[0]
        address = self._address(name)
        if address.waiting >= MAX_WAITING:
            attempt.close()  # type: ignore[attr-defined]
            await PlainTextResponse("Too many attempts at once. Wait a minute.", 429)(scope, _nothing, answer)
            return
        address.waiting += 1
        try:
            async with address.turn:
                await asyncio.sleep(delay_s(address.failures))
                await attempt
                self._note(name, address, answer.status)
        finally:
            address.waiting -= 1

    def _note(self, name: str, address: _Address, status: int) -> None:
        address.last = self._now()
        if status != 400:  # Gradio's answer to a wrong name or password
            address.failures = 0
            return
        address.failures += 1
        wait = delay_s(address.failures)
        log.warning("Login refused, %d in a row from %s; the next waits %g s.", address.failures, name, wait)

    def _address(self, name: str) -> _Address:
        address = self._addresses.pop(name, None)
        if address is None or (self._now() - address.last > FORGET_S and not address.waiting):
            address = _Address(last=self._now())
        self._addresses[name] = address
        while len(self._addresses) > MAX_ADDRESSES:
            self._addresses.popitem(last=False)
        return address


async def _nothing() -> dict[str, Any]:
    return {"type": "http.disconnect"}
