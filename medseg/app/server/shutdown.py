"""The end of the process: what runs is finished within STOP_S, nothing new is taken, nothing of a visitor stays."""

from __future__ import annotations

import logging
import os
import shutil
import signal
import sys
import threading
import time
from collections.abc import Callable
from queue import SimpleQueue

from medseg.app.server.gate import STATE
from medseg.app.server.upload_folder import visitors_folder

STOP_S = 8.0
"""Longest that a stop takes; a container is killed 10 s after it was asked to stop."""

_LAST_ANSWERS_S = 0.5  # a finished result is still on its way to its client

NO_PORT = (
    "The page cannot listen there: let GRADIO_SERVER_NAME be an address of this machine, and GRADIO_SERVER_PORT a port "
    "that is free."
)

log = logging.getLogger(__name__)


def serve_until_stopped(launch: Callable[[], object], is_idle: Callable[[], bool]) -> None:
    """Call `launch`, which returns, and serve until SIGTERM or SIGINT; then end the process with status 0.

    A thread that still computes when the time is over would abort the interpreter's own end (exit status 134), so the
    process ends without it.
    """
    asked: SimpleQueue[None] = SimpleQueue()  # its `put` may interrupt itself; a second stop in `Event.set` hangs both
    for kind in (signal.SIGTERM, signal.SIGINT):
        signal.signal(kind, lambda *_: asked.put(None))
    # beside the launch: on a busy machine it still waits for its own first answers when visitors have theirs
    threading.Thread(target=_end, args=(asked, is_idle), name="end", daemon=True).start()
    try:
        launch()
    except OSError as error:
        if error.errno is not None:
            raise
        sys.exit(f"error: {NO_PORT}")  # Gradio says it without a number
    while True:  # Python hears a signal when this thread runs: one that comes as it falls asleep would wait for ever
        time.sleep(_LAST_ANSWERS_S)


def _end(asked: SimpleQueue[None], is_idle: Callable[[], bool]) -> None:
    """End the process once it is `asked` to."""
    asked.get()
    STATE.stopping = True
    ends = time.monotonic() + STOP_S - _LAST_ANSWERS_S
    try:
        while not is_idle() and time.monotonic() < ends:
            time.sleep(0.05)
        time.sleep(_LAST_ANSWERS_S)
        if not is_idle():
            log.warning("Stopped after %g s, before all that ran was done.", STOP_S)
        shutil.rmtree(visitors_folder(), ignore_errors=True)
        sys.stdout.flush()
        sys.stderr.flush()
    finally:  # a stop ends the process whatever fails on the way
        os._exit(0)
