"""Connections that say nothing: the head of a request comes within HEAD_S, and files are open as the system allows."""

from __future__ import annotations

import asyncio
import functools
import sys
from types import SimpleNamespace
from typing import Any

import h11
import uvicorn
from gradio import http_server
from uvicorn.protocols.http.h11_impl import H11Protocol

HEAD_S = 20.0
"""Longest from the first byte of a request, or from the connection, to the end of its headers."""

OPEN_FILES = 8192
"""Files and connections at a time, where the system allows so many: a visitor has about three."""


class PatientProtocol(H11Protocol):
    """uvicorn's, which waits for the head of a request without end: whoever opens connections and keeps silent would
    leave none for others."""

    _timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: Any) -> None:
        super().connection_made(transport)
        self._watch()

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        self._watch()

    def connection_lost(self, exc: Exception | None) -> None:
        self._stop()
        super().connection_lost(exc)

    def _watch(self) -> None:
        if self.conn.their_state is not h11.IDLE:
            self._stop()
        elif self._timer is None:
            self._timer = self.loop.call_later(HEAD_S, self._give_up)

    def _give_up(self) -> None:
        self._timer = None
        if self.conn.their_state is h11.IDLE:
            self.transport.close()

    def _stop(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None


def bound_connections() -> None:
    """Let Gradio's server be patient no longer than that."""
    config = functools.partial(uvicorn.Config, http=PatientProtocol)
    setattr(http_server, "uvicorn", SimpleNamespace(Config=config))  # noqa: B010 - mypy refuses to assign to a module


def raise_limit() -> None:
    """Let this process open OPEN_FILES files, or as many as the system allows."""
    if sys.platform != "win32":
        import resource

        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        wanted = OPEN_FILES if hard == resource.RLIM_INFINITY else min(OPEN_FILES, hard)
        resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, wanted), hard))
