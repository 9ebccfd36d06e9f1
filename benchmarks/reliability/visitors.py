"""Rows that ask the running app as visitors, programs and attackers do."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import json
import socket
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from benchmarks.reliability.events import events_of
from benchmarks.reliability.files import damaged
from benchmarks.reliability.row import Row, Tally
from benchmarks.reliability.visitor import DIED, HTTP, asking, call, health, images, memory_mb, outcome, upload, watched
from medseg.inference.ensemble import Ensemble
from medseg.inference.record import masks_sha256
from medseg.places import shipped
from medseg.reading.readers import read_image
from tests.running_app import Server, running_server

CLIENTS = 32

# --- load


@functools.cache
def _alone() -> Ensemble:
    return Ensemble.from_pretrained(shipped("assets/ensembles/polyp"))


def load(server: Server, cases: range, tally: Tally) -> None:
    """Many clients at once, each with images of its own: every mask is that of its image alone, in this process."""
    files, wanted = {case: images(1, case)[0] for case in cases}, {}
    with tempfile.NamedTemporaryFile() as file:
        for case, content in files.items():
            Path(file.name).write_bytes(content)
            wanted[case] = masks_sha256(_alone().predict(read_image(file.name)).masks)

    def client(number: int) -> list[tuple[str, float]]:
        return [_segmented(server, files[case], wanted[case]) for case in cases if case % CLIENTS == number]

    with ThreadPoolExecutor(CLIENTS) as pool:
        for word, seconds in (pair for pairs in pool.map(client, range(CLIENTS)) for pair in pairs):
            tally.counts[word] += 1
            tally.seconds.append(round(seconds, 3))


def _segmented(server: Server, content: bytes, wanted: str) -> tuple[str, float]:
    begun = time.monotonic()
    kind, data = call(server, "segment", upload(server, content), "polyp")
    if kind != "complete":
        return "LOST", time.monotonic() - begun
    again, remixed = call(server, "remix", data[0], [1, 1, 1], 0.5, "weighted mean", 0.3)
    seconds = time.monotonic() - begun
    if again != "complete":
        return "LOST", seconds
    same = data[3]["masks_sha256"] == wanted and remixed[2]["image"]["sha256"] == data[3]["image"]["sha256"]
    return "right" if same else "ANOTHER'S OR WRONG", seconds


def burst(server: Server, cases: range, tally: Tally) -> None:
    """All cases at once, on connections that are open already."""
    body = json.dumps({"data": [upload(server, images(1, 2)[0]), "polyp"]}).encode()
    head = b"POST /gradio_api/call/segment HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n"
    request = head + b"Content-Type: application/json\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body)
    for word, seconds in asyncio.run(_at_once(server, request, len(cases))):
        tally.counts[word] += 1
        if word != "taken":
            tally.note(last_refusal_s=seconds)
    while health(server)["queue"]:
        time.sleep(0.2)


async def _at_once(server: Server, request: bytes, count: int) -> list[tuple[str, float]]:
    place = urlsplit(server.url)
    streams = [await asyncio.open_connection(place.hostname, place.port) for _ in range(count)]

    async def ask(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> tuple[str, float]:
        begun = time.monotonic()
        writer.write(request)
        answer = await reader.read()
        writer.close()
        words = "refused in our words" if b"server is busy" in answer else "REFUSED IN OTHER WORDS"
        return "taken" if b" 200 " in answer[:20] else words, time.monotonic() - begun

    return await asyncio.gather(*(ask(*stream) for stream in streams))


# --- uploads


def damaged_uploads(server: Server, cases: range, tally: Tally) -> None:
    for case in cases:
        tally.counts[outcome(*call(server, "segment", upload(server, damaged(case)), "polyp"))] += 1


def _started(place: str, sent: int) -> socket.socket:
    """A connection on which an upload of 500 kB has begun."""
    parts = urlsplit(place)
    client = socket.create_connection((parts.hostname or "", parts.port or 0))
    client.sendall(
        b"POST /gradio_api/upload HTTP/1.1\r\nHost: localhost\r\nContent-Length: 500000\r\n"
        b"Content-Type: multipart/form-data; boundary=edge\r\n\r\n--edge\r\n"
        b'Content-Disposition: form-data; name="files"; filename="a.png"\r\n\r\n' + b"0" * sent
    )
    return client


@contextlib.contextmanager
def forgetful(tally: Tally) -> Iterator[Server]:
    """An app that keeps files for 6 s; at the end nothing that was sent is on its disk any more."""
    with (
        tempfile.TemporaryDirectory() as name,
        running_server(uploads=Path(name), MEDSEG_UPLOAD_MINUTES="0.1") as server,
    ):
        idle = _bytes(Path(name))
        yield server
        deadline = time.monotonic() + 60
        while (left := max(0, _bytes(Path(name)) - idle)) and time.monotonic() < deadline:
            time.sleep(0.5)
        tally.counts["BYTES LEFT"] += left
        watched(server, tally)


def _bytes(folder: Path) -> int:
    size = 0
    for path in folder.rglob("*"):
        with contextlib.suppress(FileNotFoundError):
            size += path.stat().st_size if path.is_file() else 0
    return size


def run_aborted(cases: range) -> Tally:
    tally = Tally()
    with forgetful(tally) as server:
        for case in cases:
            _started(server.url, 1 + case * 7919 % 400_000).close()
            tally.counts["broken off"] += 1
        tally.counts["/HEALTH IS NOT ok"] += health(server)["status"] != "ok"
    return tally


def run_slow(cases: range) -> Tally:
    """All at once, each a byte a second; others are served meanwhile, and the server ends each in its deadline."""
    tally = Tally()
    with forgetful(tally) as server:
        clients, begun = [_started(server.url, 1000) for _ in cases], time.monotonic()
        others = [outcome(*call(server, "segment", upload(server, images(1, 3)[0]), "polyp")) for _ in range(3)]
        tally.counts["OTHERS WERE NOT SERVED"] += others.count("read") < 3
        open_ = set(clients)
        while open_ and time.monotonic() - begun < 180:
            time.sleep(1)
            open_ -= {client for client in open_ if _has_ended(client)}
        for client in clients:
            tally.counts["ended by the server" if client not in open_ else "NEVER ENDED"] += 1
            client.close()
        tally.note(last_end_s=time.monotonic() - begun)
    return tally


def _has_ended(client: socket.socket) -> bool:
    """Whether the server has answered or closed; else one more byte is on its way."""
    client.setblocking(False)
    try:
        client.recv(1000)
    except BlockingIOError:
        with contextlib.suppress(OSError):
            client.send(b"0")
        return False
    except OSError:
        return True
    return True


_PART = b'--edge\r\nContent-Disposition: form-data; name="files"; filename="a.png"\r\n\r\n'
_END = b"\r\n--edge--\r\n"
MALFORMED = (
    *(
        b'--edge\r\nContent-Disposition: form-data; name="files"\r\n\r\nno file' + _END,
        _PART + b"no end",
        b"",
        b"--edge--",
    ),
    *(_PART.replace(b"edge", b"other") + _END, b"--edge\r\n\r\nno name" + _END, b"--edge\r\n" + b"A" * 20_000 + _END),
    *(_PART.replace(b' name="files";', b"") + _END, _PART.replace(b'"a.png"', b"\xff\x00;=") + _END),
    b"".join(_PART + b"\r\n" for _ in range(1200)) + _END,
    _PART.replace(b"filename=", b"filename*=utf-9''") + _END,
)
"""Uploads that are no form, or none of files."""


def malformed(server: Server, cases: range, tally: Tally) -> None:
    """As they stand, and then with a byte changed."""
    kind = {"Content-Type": "multipart/form-data; boundary=edge"}
    for case in cases:
        body = bytearray(MALFORMED[case % len(MALFORMED)])
        if body and case >= len(MALFORMED):
            body[case * 7919 % len(body)] ^= 1 << case % 8
        answer = HTTP.post(f"{server.url}/gradio_api/upload", content=bytes(body), headers=kind)
        word = "taken" if answer.status_code == 200 else "refused in a sentence"
        named = answer.text.strip() and "on our side" not in answer.text
        tally.counts[word if answer.status_code < 500 and named else "WITHOUT A SENTENCE"] += 1


def strangers(server: Server, cases: range, tally: Tally) -> None:
    """Invented sessions and results of others close nobody's."""
    _, data = call(server, "segment", upload(server, images(1, 9)[0]), "polyp")

    def invent(case: int) -> int:
        return _join(server, f"invented{case}", "offered_labels", None)

    with ThreadPoolExecutor(8) as pool:
        tally.counts["invented"] += len(list(pool.map(invent, cases)))
    while health(server)["queue"]:
        time.sleep(0.2)
    again, _ = call(server, "remix", data[0], [1, 1, 1], 0.5, "weighted mean", 0.3)
    tally.counts["A VISITOR'S IMAGE CLOSED"] += again != "complete"
    tally.note(**{"MB in all": memory_mb(server)})


def _join(server: Server, session: str, event: str, *data: Any) -> int:
    """The status of an event of the page in a session of that name, whose result nobody fetches."""
    number = next(each["id"] for each in events_of(server.url) if each["api_name"] == event)
    body = {"data": data, "fn_index": number, "session_hash": session}
    return HTTP.post(f"{server.url}/gradio_api/queue/join", json=body).status_code


def unfetched(server: Server, cases: range, tally: Tally) -> None:
    """Visitors who open the page's first image and go before they have it: image and planes are megabytes of text."""
    for case in cases:
        while health(server)["queue"] > 32:
            time.sleep(0.1)
        tally.counts["left"] += _join(server, f"left{case}", "show_first", None, None, "") == 200
    while health(server)["queue"]:
        time.sleep(0.2)


ROWS = (
    Row("load", "C1, P2", "32 clients at once: every mask is that of its image alone, nothing is lost or another's",
        "images, each segmented and re-mixed", 32, 6400, 320, asking(load), ("right",),
        ("LOST", "ANOTHER'S OR WRONG", *DIED)),
    Row("burst", "C1", "the queue's surplus is refused at once, in our words", "requests at once", 100, 500, 500,
        asking(burst), ("taken", "refused in our words"), ("REFUSED IN OTHER WORDS", *DIED), {"last refusal s": 1}),
    Row("damaged-uploads", "U1, U4", "a damaged file over HTTP is read or refused in a sentence", "mutants, uploaded",
        34, 2000, 100, asking(damaged_uploads), ("read", "refused in a sentence"), ("without a sentence", *DIED),
        {"MB in all": 1024}),
    Row("aborted", "U4", "a broken-off upload disturbs nobody and is gone after its time", "uploads", 20, 1000, 500,
        run_aborted, ("broken off",), ("BYTES LEFT", "/HEALTH IS NOT ok", *DIED)),
    Row("malformed", "U4", "a malformed upload gets a sentence, and never an error of the server", "uploads of "
        f"{len(MALFORMED)} kinds", 11, 200, 100, asking(malformed), ("taken", "refused in a sentence"),
        ("WITHOUT A SENTENCE", *DIED)),
    Row("slow", "U4", "slow uploads end at their deadline, and others are served meanwhile", "uploads at once, a "
        "byte a second", 0, 200, 200, run_slow, ("ended by the server",),
        ("NEVER ENDED", "OTHERS WERE NOT SERVED", "BYTES LEFT", *DIED)),
    Row("strangers", "L2", "invented sessions close nobody's image", "sessions", 40, 200, 40, asking(strangers),
        ("invented",), ("A VISITOR'S IMAGE CLOSED", *DIED), {"MB in all": 1024}),
    Row("unfetched", "L2", "results that nobody fetches are forgotten before they fill the memory", "visitors who left",
        24, 400, 100, asking(unfetched), ("left",), DIED, {"MB in all": 1536}),
)  # fmt: skip
