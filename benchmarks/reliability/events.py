"""The row of arguments: every event of the page and every endpoint, asked with values of other kinds than it wants."""

from __future__ import annotations

import functools
import json
import random
from typing import Any

from benchmarks.reliability.row import Row, Tally
from benchmarks.reliability.visitor import DIED, HTTP, asking, images, outcome, upload
from tests.running_app import Server

_FILE = {"_type": "gradio.FileData"}
VALUES: tuple[Any, ...] = (
    *(None, True, 0, -1, 1, 0.5, 1e300, 10**30, "", "0.5", "x" * 1000, "polyp", "median", "\ud800", "../../etc/passwd"),
    *([], [[]], [0.5, 0.5, 0.5], [None] * 3, ["a", 1], [[0, 0, 1]] * 3, [-1, 1, 1], [0] * 1000, {}, {"a": {"b": []}}),
    *(
        {"path": "/etc/passwd", "meta": _FILE},
        {"path": None, "meta": _FILE},
        {"url": "http://192.0.2.1/a", "meta": _FILE},
    ),
    *("data:image/png;base64,AAAA", {"kind": "mask"}, {"strokes": [{"points": [[0, 0]]}]}, json.dumps({"strokes": 1})),
)


@functools.cache
def events_of(url: str) -> list[dict[str, Any]]:
    """The events of the page: `id`, `api_name`, `inputs`."""
    return list(HTTP.get(f"{url}/config").json()["dependencies"])


def ask(server: Server, session: str, number: int, data: list[Any], event_data: Any = None) -> tuple[str, Any]:
    """An event of the page in a session of that name: complete or error, with its data, or what it warned of."""
    body = {"data": data, "fn_index": number, "session_hash": session, "event_data": event_data}
    answer = HTTP.post(f"{server.url}/gradio_api/queue/join", content=json.dumps(body), headers=_JSON)
    if answer.status_code != 200:
        return "error", {"error": answer.text}
    warned = ""
    with HTTP.stream("GET", f"{server.url}/gradio_api/queue/data?session_hash={session}") as stream:
        for line in stream.iter_lines():
            message = json.loads(line.removeprefix("data: ")) if line else {}
            if message.get("msg") == "log":
                warned = message["log"]
            if message.get("msg") == "process_completed":
                output = message["output"]
                return ("complete" if message["success"] and not warned else "error"), (
                    {"error": warned} if warned else output
                )
    return "error", None


_JSON = {"Content-Type": "application/json"}


def arguments(server: Server, cases: range, tally: Tally) -> None:
    events = events_of(server.url)
    file = upload(server, images(1, 6)[0])
    for case in cases:
        event, draw = events[case % len(events)], random.Random(case)  # noqa: S311
        data = [draw.choice([*VALUES, file, [file]]) for _ in event["inputs"]]
        if draw.random() < 0.1:
            data = data[: draw.randrange(len(data) + 1)]
        kind, answer = ask(server, f"arguments{case % 3}", event["id"], data, draw.choice(VALUES))
        word = outcome(kind, answer)
        if event["api_visibility"] == "private" and "on our side" in str(answer):
            word = "refused in general words"  # no page sends that
        tally.counts[word] += 1
        if word == "without a sentence":
            tally.say(f"{event['api_name']}: {answer!s:.100}")


ROWS = (
    Row("arguments", "S6", "arguments that cannot be meant get a sentence", "calls of every endpoint and event of the "
        "page", 150, 3000, 150, asking(arguments), ("read", "refused in a sentence", "refused in general words"),
        ("without a sentence", *DIED), {"MB in all": 1024}),
)  # fmt: skip
