"""What waits for visitors is bounded: results that nobody fetches, names that somebody invents, silent connections."""

from __future__ import annotations

import asyncio
from functools import partial
from types import SimpleNamespace
from typing import Any

import pytest

pytest.importorskip("gradio")

from gradio import http_server
from gradio.server_messages import ProcessCompletedMessage
from uvicorn.server import ServerState

from medseg.app.server import connections, waiting
from medseg.app.server.waiting import Messages, UploadProgress, VisitorsQueue, size_of


@pytest.fixture
def queue() -> VisitorsQueue:
    async def made() -> VisitorsQueue:  # in a loop: Gradio makes one of its own elsewhere, and leaves it open
        return VisitorsQueue(True, 4, 1, None, None, 1)

    return asyncio.run(made())


def finish(queue: VisitorsQueue, name: str, size: int) -> None:
    """A session of that name, whose result of `size` bytes was not fetched."""
    queue.pending_messages_per_session[name] = Messages()
    queue.pending_event_ids_session[name] = {"event"}
    output = {"data": ["x" * size]}
    queue.send_message(SimpleNamespace(session_hash=name, alive=True, _id="event"), _completed(output))


def _completed(output: dict[str, Any]) -> ProcessCompletedMessage:
    return ProcessCompletedMessage(output=output, success=True)


def test_results_that_nobody_fetches_are_forgotten_by_their_bytes_the_longest_unused_first(
    queue: VisitorsQueue, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(waiting, "MAX_UNFETCHED", 3000)
    for name in "abc":
        finish(queue, name, 1000)
    queue.event_ids_to_events["running"] = SimpleNamespace(session_hash="a")  # type: ignore[assignment]
    queue.forget()
    assert [*queue.pending_messages_per_session] == ["a", "c"]
    assert [*queue.pending_event_ids_session] == ["a", "c"]


def test_what_was_fetched_counts_no_more(queue: VisitorsQueue) -> None:
    finish(queue, "a", 1000)
    messages = queue.pending_messages_per_session["a"]
    assert messages.nbytes > 1000
    assert messages.get_nowait().output == {"data": ["x" * 1000]}
    assert messages.nbytes == 0
    assert size_of({"a": ["bc", 1, None]}) == 50 + 50 + 2 + 50 + 50


def test_more_sessions_than_are_kept_leave_those_whose_events_wait(
    queue: VisitorsQueue, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(waiting, "MAX_SESSIONS", 3)
    queue.event_ids_to_events["waiting"] = SimpleNamespace(session_hash="0")  # type: ignore[assignment]
    for number in range(9):
        finish(queue, str(number), 1)
        queue.forget()
    assert [*queue.pending_messages_per_session] == ["0", "8"]


def test_no_statistics_are_kept_of_events(queue: VisitorsQueue) -> None:
    assert queue.ANALYTICS_MAX_EVENTS == 0


def test_uploads_that_are_only_asked_for_leave_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(waiting, "MAX_SESSIONS", 2)

    async def ask() -> UploadProgress:
        progress = UploadProgress()
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(progress.is_tracked("asked"), 0.01)
        for name in "abc":
            progress.track(name)
        return progress

    progress = asyncio.run(ask())
    assert [*progress._statuses] == [*progress._signals] == ["b", "c"]


def test_a_connection_without_the_head_of_a_request_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connections, "HEAD_S", 0.2)
    connections.bound_connections()

    async def page(scope: Any, receive: Any, send: Any) -> None:
        await asyncio.sleep(0.4)  # longer than a head may take
        await send({"type": "http.response.start", "status": 204, "headers": []})
        await send({"type": "http.response.body"})

    async def ask(sent: bytes) -> bytes:
        config = http_server.uvicorn.Config(page, lifespan="off", log_level="critical")
        config.load()
        make = partial(config.http_protocol_class, config=config, server_state=ServerState(), app_state={})
        async with await asyncio.get_running_loop().create_server(make, "127.0.0.1", 0) as server:
            reader, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
            writer.write(sent)
            answer = await reader.read()
            writer.close()
            await writer.wait_closed()
            return answer

    head = b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n"
    assert asyncio.run(ask(b"")) == asyncio.run(ask(head)) == b""
    assert asyncio.run(ask(head + b"\r\n")).startswith(b"HTTP/1.1 204")
