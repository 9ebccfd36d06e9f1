"""Where Gradio would break a promise of ours and has no setting for it, its function is replaced here, once."""

from __future__ import annotations

import logging
import sys
import threading
import traceback
from types import SimpleNamespace
from typing import Any, NoReturn

from gradio import Error, networking, processing_utils, queueing, route_utils, routes, state_holder, utils
from starlette.exceptions import HTTPException

from medseg.app.server.mistakes import name_mistakes
from medseg.app.server.waiting import LONG_NAME, MAX_NAME, UploadProgress
from medseg.app.state.refusals import place_of
from medseg.app.state.session import Session
from medseg.errors import InputError

log = logging.getLogger(__name__)

LINK = "Links are not fetched here: send the file itself."

MAX_STATES = 1000
"""Visitors' states that Gradio keeps, beside the open images, which `medseg.app.state.openings` bounds."""


def guard() -> None:
    """Replace what is replaced, before the page is launched."""
    refuse_links()
    trust_own_address()
    name_mistakes()
    _keep_messages_out_of_the_log()
    setattr(routes, "StateHolder", VisitorStates)  # noqa: B010 - mypy refuses to assign to a class
    routes.file_upload_statuses = UploadProgress()


def refuse_links() -> None:
    """Let no visitor make this machine open a connection.

    A file may be given as a link, or asked for by one, which Gradio then fetches: public hosts only, but of any size,
    past every limit on uploads. No component can switch that off.
    """
    processing_utils.async_ssrf_protected_download = _refuse
    processing_utils.ssrf_protected_download = processing_utils.save_url_to_cache = _refuse
    setattr(routes, "secure_url_stream_response", _refuse_to_pass)  # noqa: B010


def trust_own_address() -> None:
    """Let a busy machine start: Gradio ends the process where its own page does not answer it within 3 s. Of links to
    share, which are https, it still waits for the answer."""
    answers = networking.url_ok
    networking.url_ok = lambda url: not url.startswith("https:") or answers(url)


def _refuse(*_: object, **__: object) -> NoReturn:
    raise Error(LINK, print_exception=False)


async def _refuse_to_pass(*_: object, **__: object) -> NoReturn:
    raise HTTPException(403, LINK)


def _keep_messages_out_of_the_log() -> None:
    """Log of an error its kind and place: a message may hold a request's body, or a path with a visitor's name."""

    def print_place(*_: object, **__: object) -> None:
        error = sys.exception()
        if error is not None:
            log.error("%s", place_of(error))

    quiet = SimpleNamespace(**{**vars(traceback), "print_exc": print_place})
    for module in (queueing, routes, route_utils, utils):
        setattr(module, "traceback", quiet)  # noqa: B010
    threading.excepthook = lambda failed: log.error("%s", place_of(failed.exc_value) if failed.exc_value else "?")
    make = logging.getLogRecordFactory()

    logging.setLogRecordFactory(lambda *args, **kwargs: without_message(make(*args, **kwargs)))


def without_message(record: logging.LogRecord) -> logging.LogRecord:
    """`record`, of an error with its place alone; and of a library that may repeat a request, as that of MCP does."""
    if record.exc_info and record.exc_info[1] is not None:
        record.msg, record.args = f"{record.name}: {place_of(record.exc_info[1])}", ()
        record.exc_info = None
    elif not record.name.startswith(("medseg", "uvicorn")):
        record.msg, record.args = f"{record.name}: at {record.filename}:{record.lineno}", ()
    return record


class VisitorStates(state_holder.StateHolder):
    """Gradio's states of visitors: when they are too many, the longest unused without an open image goes first, so that
    names which somebody invents empty nobody's page."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.capacity = MAX_STATES

    def set_blocks(self, blocks: Any) -> None:
        super().set_blocks(blocks)
        self.capacity = MAX_STATES

    def __getitem__(self, session_id: str) -> state_holder.SessionState:
        if len(session_id) > MAX_NAME:
            raise InputError(LONG_NAME)
        if session_id not in self.session_data:
            self.session_data[session_id] = LeanState(self.blocks)
        return super().__getitem__(session_id)

    def update(self, session_id: str) -> None:
        with self.lock:
            if session_id in self.session_data:
                self.session_data.move_to_end(session_id)
            while len(self.session_data) > self.capacity:
                empty = (name for name, state in self.session_data.items() if name != session_id and _is_empty(state))
                evicted = next(empty, next(iter(self.session_data)))
                del self.session_data[evicted]
                self.time_last_used.pop(evicted, None)


class LeanState(state_holder.SessionState):
    """Gradio's, less its copy of the page's whole configuration: 0.2 MB and 10 ms for each call of a program. Links to
    a state, which would use it, are not offered."""

    def __init__(self, blocks: Any) -> None:
        super().__init__(SimpleNamespace(default_config=blocks.default_config, blocks={}))  # type: ignore[arg-type]

    def _update_config(self, key: int) -> None: ...

    def _update_value_in_config(self, key: int, value: Any) -> None: ...


def _is_empty(state: state_holder.SessionState) -> bool:
    return all(value.is_empty for value in list(state.state_data.values()) if isinstance(value, Session))
