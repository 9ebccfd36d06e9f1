"""The app that the rows ask, and how a visitor or a program asks it."""

from __future__ import annotations

import atexit
import contextlib
import functools
import io
import json
from collections.abc import Callable
from typing import Any

import httpx
import numpy as np
import PIL.Image
import psutil

from benchmarks.reliability.row import Tally
from tests.running_app import Server, running_server

HTTP = httpx.Client(timeout=600, verify=False, limits=httpx.Limits(keepalive_expiry=1))  # noqa: S501 - loopback, without TLS
"""One client for all: each would make a TLS context of its own, which takes longer than most answers. Its idle
connections end before those of the server, which would break off what is sent in that moment."""


@functools.cache
def app() -> Server:
    """The app with the embedded polyp ensemble, started once for all rows that share it."""
    stack = contextlib.ExitStack()
    server = stack.enter_context(running_server())
    atexit.register(stack.close)  # after what the folder registers for its own end, so that it comes before
    while not health(server)["models_loaded"]:
        call(server, "segment", upload(server, images(1, 0)[0]), "polyp")
    return server


def memory_mb(server: Server) -> float:
    return float(psutil.Process(server.process.pid).memory_info().rss) / 2**20


def health(server: Server) -> dict[str, Any]:
    return dict(HTTP.get(f"{server.url}/health").json())


def upload(server: Server, content: bytes, name: str = "a.png") -> dict[str, Any]:
    answer = HTTP.post(f"{server.url}/gradio_api/upload", files={"files": (name, content)})
    answer.raise_for_status()
    return {"path": answer.json()[0], "meta": {"_type": "gradio.FileData"}}


def call(server: Server, name: str, *data: Any) -> tuple[str, Any]:
    """The last event (complete, error, or an HTTP status) of an endpoint and its data."""
    place = f"{server.url}/gradio_api/call/{name}"
    asked = HTTP.post(place, json={"data": data})
    if asked.status_code != 200:
        return str(asked.status_code), asked.json()["detail"]
    answer = HTTP.get(f"{place}/{asked.json()['event_id']}").text
    event, line = answer.strip().split("\n\n")[-1].split("\n")
    return event.removeprefix("event: "), json.loads(line.removeprefix("data: "))


def outcome(kind: str, data: Any) -> str:
    """In words: read, refused in a sentence, or neither."""
    sentence = data if isinstance(data, str) else data.get("error") if isinstance(data, dict) else None
    named = bool(sentence) and "on our side" not in str(sentence)
    return "read" if kind == "complete" else "refused in a sentence" if named else "without a sentence"


def images(count: int, seed: int) -> list[bytes]:
    """PNG files of distinct images."""
    draw, files = np.random.default_rng(seed), []
    for _ in range(count):
        file = io.BytesIO()
        PIL.Image.fromarray(draw.integers(0, 255, (64, 80, 3), np.uint8)).save(file, "PNG")
        files.append(file.getvalue())
    return files


def watched(server: Server, tally: Tally) -> Tally:
    """`tally` with what the process says of itself, as the last of a step."""
    tally.counts["SERVER DIED"] += server.process.poll() is not None
    tally.counts["TRACEBACK IN THE LOG"] += "Traceback" in server.said()
    tally.note(MB_in_all=memory_mb(server))
    return tally


DIED = ("SERVER DIED", "TRACEBACK IN THE LOG")


Trial = Callable[[Server, range, Tally], None]


def asking(trial: Trial) -> Callable[[range], Tally]:
    """A row's `run` from a trial of the shared app."""

    def run(cases: range) -> Tally:
        server, tally = app(), Tally()
        trial(server, cases, tally)
        return watched(server, tally)

    return run
