"""What waits for visitors in Gradio, with bounds where it has none: results nobody fetches, names, paths, progress."""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from typing import Any

from gradio.queueing import Queue
from gradio.route_utils import FileUploadProgress

MAX_NAME = 64
"""Longest name of a session: those of Gradio's page have eleven characters, and those of programs 32."""

MAX_SESSIONS = 2000
MAX_UNFETCHED = 2**26
"""Bytes of all results that were not fetched yet: what the viewer gets of a large image is megabytes of text."""

LONG_NAME = f"The name of a session may have {MAX_NAME} characters."


class Messages(asyncio.Queue[Any]):
    """The messages for one session, and the bytes of those that were not fetched."""

    nbytes = 0

    def _put(self, item: Any) -> None:
        size = size_of(getattr(item, "output", None))
        self.nbytes += size
        super()._put((size, item))

    def _get(self) -> Any:
        size, item = super()._get()
        self.nbytes -= size
        return item


def size_of(value: Any) -> int:
    """About the bytes of a JSON value."""
    if isinstance(value, str | bytes):
        return len(value)
    inner = value.values() if isinstance(value, dict) else value if isinstance(value, list | tuple) else ()
    return 50 + sum(map(size_of, inner))


class _Sessions(OrderedDict[str, Messages]):
    """The messages by session, the longest unused first."""

    def __setitem__(self, name: str, _: object) -> None:
        super().__setitem__(name, Messages())


class VisitorsQueue(Queue):
    """Gradio's queue, which forgets sessions beyond MAX_SESSIONS, or whose results have more than MAX_UNFETCHED bytes
    in all: the longest unused first, and none whose event waits or runs, as Gradio's own does. It keeps no statistics:
    Gradio works them out anew from its last 10,000 events at the end of each."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self.pending_messages_per_session = _Sessions()  # type: ignore[assignment]
        self.ANALYTICS_MAX_EVENTS = 0

    async def push(self, body: Any, *arguments: Any, **options: Any) -> Any:
        name = body.session_hash
        if name is not None and len(name) > MAX_NAME:
            return False, LONG_NAME, "error"
        if name in self.pending_messages_per_session:
            self.pending_messages_per_session.move_to_end(name)
        self.forget()
        return await super().push(body, *arguments, **options)

    def send_message(self, event: Any, event_message: Any) -> None:
        if event.session_hash in self.pending_messages_per_session:
            super().send_message(event, event_message)

    def knows(self, event: str) -> bool:
        """Whether an event of that identifier waits, runs, or has a result to fetch."""
        return event in self.event_ids_to_events or any(event in ids for ids in self.pending_event_ids_session.values())

    def forget(self) -> None:
        """Forget the longest unused sessions beyond the bounds."""
        sessions, events = self.pending_messages_per_session, self.pending_event_ids_session
        active = {event.session_hash for event in self.event_ids_to_events.values()}
        unfetched = sum(messages.nbytes for messages in sessions.values())
        for name in [name for name in sessions if name not in active]:
            if len(sessions) < MAX_SESSIONS and unfetched <= MAX_UNFETCHED:
                break
            unfetched -= sessions.pop(name).nbytes
            events.pop(name, None)
        if len(events) > 2 * MAX_SESSIONS:  # Gradio leaves a name there for every visitor who went
            self.pending_event_ids_session = {name: events[name] for name in events if name in sessions}


class UploadProgress(FileUploadProgress):
    """Gradio's, of MAX_SESSIONS uploads, and without what others only asked for."""

    def track(self, upload_id: str) -> None:
        super().track(upload_id)
        while len(self._statuses) > MAX_SESSIONS:
            self.stop_tracking(next(iter(self._statuses)))

    def stop_tracking(self, upload_id: str) -> None:
        super().stop_tracking(upload_id)
        self._signals.pop(upload_id, None)

    async def is_tracked(self, upload_id: str) -> bool:
        try:
            return await super().is_tracked(upload_id)
        finally:
            if upload_id not in self._statuses:
                self._signals.pop(upload_id, None)


class _Paths(set[str]):
    """Of files that Gradio would list for a clean-up of its own, which is not used here: ours removes them."""

    def add(self, _: str) -> None: ...

    def update(self, *_: object) -> None: ...


class _PathSets(list[set[str]]):
    def append(self, _: set[str]) -> None: ...


def list_no_paths(page: Any) -> None:
    """Let Gradio's `page` keep no list of all files that ever came or went."""
    page.upload_file_set, page.temp_file_sets = _Paths(), _PathSets()
    for block in page.blocks.values():
        block.temp_files = _Paths()
