"""Rows that ask the running app as attackers do, and as visitors whose names must not stay."""

from __future__ import annotations

import contextlib
import json
import random
from collections.abc import Iterator
from urllib.parse import quote, urlsplit

import httpx
import psutil

from benchmarks.reliability.row import Row, Tally
from benchmarks.reliability.visitor import DIED, HTTP, asking, call, memory_mb, outcome, upload
from tests.running_app import ROOT, Server

CANARY = "Mustermann_1964"
STARTS = (
    *(b"<svg xmlns='http://www.w3.org/2000/svg'/>", b"<html><script>alert(1)</script>", b"%PDF-1.7\n", b"\x7fELF"),
    *(b"PK\x03\x04", b"MZ", b"#!/bin/sh\n", b"\x80\x04\x95", b"\x89HDF\r\n", b"RIFF....WAVE", b"BM", b"{}"),
)
"""How files of twelve foreign types begin."""


def types(server: Server, cases: range, tally: Tally) -> None:
    """What is no image, under an image's ending: refused by its content, and served as an attachment at most."""
    endings = ("png", "jpg", "dcm", "tiff", "nii", "nii.gz", "svg", "html")
    for case in cases:
        content = STARTS[case % len(STARTS)] + bytes(random.Random(case).randbytes(200))  # noqa: S311
        file = upload(server, content, f"a.{endings[case // len(STARTS) % len(endings)]}")
        word = outcome(*call(server, "segment", file, "polyp"))
        headers = HTTP.get(f"{server.url}/gradio_api/file={file['path']}").headers
        inline = not headers.get("content-disposition", "").startswith("attachment")
        tally.counts["SERVED INLINE" if inline else word] += 1


def probes(server: Server, cases: range, tally: Tally) -> None:
    """Paths and hosts that are nobody's, over every route that takes one."""
    targets = ["/etc/passwd", "/proc/self/environ", str(ROOT / "app.py"), "http://127.0.0.1:1/", "file:///etc/passwd"]
    routes = ["gradio_api/file=", "file=", "gradio_api/file/", "static/", "assets/", "custom_component/"]
    routes += ["gradio_api/proxy=", "gradio_api/stream/", "theme.css?", "gradio_api/upload_progress?upload_id="]
    with _no_sockets_outwards(server, tally):
        for case in cases:
            draw = random.Random(case)  # noqa: S311
            dots = draw.choice(["", "../" * draw.randrange(1, 9), "%2e%2e/" * 3, "..%2f" * 5, "/.", "....//"])
            target, route = dots + draw.choice(targets), draw.choice(routes)
            if case % 4 == 3:
                body = {"path": target, "url": target, "meta": {"_type": "gradio.FileData"}}
                kind, data = call(server, "segment", body, "polyp")
                leaked = kind == "complete" or "root:" in json.dumps(data)
            else:
                with HTTP.stream("GET", f"{server.url}/{route}{quote(target)}") as answer:
                    content = next(answer.iter_bytes(), b"")
                leaked = answer.status_code == 200 and (b"root:" in content or b"medseg.app" in content)
            tally.counts["LEAKED" if leaked else "nothing given away"] += 1


@contextlib.contextmanager
def _no_sockets_outwards(server: Server, tally: Tally) -> Iterator[None]:
    """Count connections of the server to anything but its own clients."""
    yield
    port = urlsplit(server.url).port
    tally.counts["SOCKETS OUTWARDS"] += sum(
        bool(connection.raddr) and connection.laddr.port != port
        for connection in psutil.Process(server.process.pid).net_connections("inet")
    )


def canaries(server: Server, cases: range, tally: Tally) -> None:
    """A patient's name in file names, bodies and paths, looked for in the log and in names on the disk."""
    for case in cases:
        name = f"{CANARY}_{case}"
        file = upload(server, name.encode(), f"{name}.png")
        call(server, "segment", file, name)
        call(server, "remix", name, [1], name)
        HTTP.post(f"{server.url}/gradio_api/queue/join", content=f'{{"data": "{name}')
        with contextlib.suppress(httpx.HTTPError):
            HTTP.get(f"{server.url}/gradio_api/file=/{name}")
        tally.counts["planted"] += 5
    tally.counts["IN THE LOG"] += server.said().count(CANARY)
    tally.counts["IN NAMES ON THE DISK"] += sum(CANARY in path.name for path in server.log.parent.rglob("*"))


def bodies(server: Server, cases: range, tally: Tally) -> None:
    """JSON bodies of 300 MB, sent without their length."""
    for _ in cases:
        status = 0
        with contextlib.suppress(httpx.HTTPError):  # the server closes while the client still sends
            chunks = (b"0" * 2**20 for _ in range(300))
            kind = {"Content-Type": "application/json"}
            status = HTTP.post(
                f"{server.url}/gradio_api/queue/join", content=chunks, headers=kind, timeout=300
            ).status_code
        tally.counts["refused" if status in (0, 413) else "TAKEN"] += 1
        tally.note(**{"MB in all": memory_mb(server)})


ROWS = (
    Row("types", "U3", "the content decides the type; files are served as attachments only", "files of 12 types",
        12, 300, 100, asking(types), ("refused in a sentence",),
        ("read", "without a sentence", "SERVED INLINE", *DIED)),
    Row("probes", "U5", "nothing outside the app's own results is served, no connection is opened", "probes", 100, 2000,
        250, asking(probes), ("nothing given away",), ("LEAKED", "SOCKETS OUTWARDS", *DIED)),
    Row("canaries", "P1", "no visitor's name is in the log or in a name on the disk", "names, each in five places", 20,
        2400, 200, asking(canaries), ("planted",), ("IN THE LOG", "IN NAMES ON THE DISK", *DIED)),
    Row("bodies", "L2", "a body that is no upload has at most 8 MB", "bodies of 300 MB", 2, 30, 5, asking(bodies),
        ("refused",), ("TAKEN", *DIED), {"MB in all": 1024}),
)  # fmt: skip
