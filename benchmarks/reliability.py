"""`python -m benchmarks.reliability --quick | --release`: the promises of a running app, tried; docs/reliability.md.

Each row is a fault, what must happen, how often it was tried, and what came of it; a row that this command does not
reach says so. Traffic goes to loopback only; the app is a process of its own.
"""

from __future__ import annotations

import argparse
import contextlib
import datetime
import json
import random
import signal
import socket
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlsplit

import httpx
import numpy as np
import PIL.Image
import psutil

import medseg
from medseg.inference.record import masks_sha256, versions
from medseg.places import shipped
from tests.running_app import ROOT, Server, running_server

PAGE = ROOT / "docs" / "reliability.md"
CANARY = "Mustermann_1964"


@dataclass(frozen=True)
class Counts:
    """How often each fault is tried."""

    clients: int
    images_each: int
    burst: int
    mutants: int
    aborted: int
    probes: int
    canaries: int
    bodies: int


QUICK = Counts(clients=8, images_each=4, burst=100, mutants=150, aborted=20, probes=200, canaries=40, bodies=3)
RELEASE = Counts(
    clients=32, images_each=200, burst=500, mutants=2000, aborted=1000, probes=2000, canaries=2400, bodies=30
)

Row = tuple[str, str, str, str]
"""Identifier, promise, what was tried, figure."""

NOT_HERE: tuple[tuple[str, str], ...] = (
    ("U1", "the fuzz of decoders beyond these mutants: `tests/reading`"),
    ("U2, U3", "bombs and polyglots: `tests/reading`"),
    ("D1 to D3", "pixels and geometry: `tests/reading`"),
    ("M1 to M4", "hostile configurations, weights and graphs: `tests/inference`"),
    ("H", "faults of the Hub: `tests/hub/test_hub_faults.py`"),
    ("G1", "memory of a GPU: no figure"),
    ("S1", "a full disk, few descriptors: no figure from this command"),
    ("T1 to T4", "training: `benchmarks/kill.py`, `tests/training`"),
    ("A1", "replay: `tests/inference/test_replay.py`"),
    ("W1, W2", "archives and viewers: `tests/archive`, `tests/export`"),
    ("soak", "two hours under load: no figure"),
)


def upload(server: Server, content: bytes, name: str) -> dict[str, Any]:
    answer = httpx.post(f"{server.url}/gradio_api/upload", files={"files": (name, content)}, timeout=120)
    answer.raise_for_status()
    return {"path": answer.json()[0], "meta": {"_type": "gradio.FileData"}}


def call(server: Server, name: str, *data: Any) -> tuple[str, Any]:
    """The last event (complete, error, or an HTTP status) of an endpoint and its data."""
    place = f"{server.url}/gradio_api/call/{name}"
    asked = httpx.post(place, json={"data": data}, timeout=300)
    if asked.status_code != 200:
        return str(asked.status_code), asked.json()["detail"]
    event, line = (
        httpx.get(f"{place}/{asked.json()['event_id']}", timeout=300).text.strip().split("\n\n")[-1].split("\n")
    )
    return event.removeprefix("event: "), json.loads(line.removeprefix("data: "))


def images(count: int, seed: int) -> list[bytes]:
    """PNG files of distinct images."""
    draw, files = np.random.default_rng(seed), []
    for _ in range(count):
        with tempfile.SpooledTemporaryFile() as file:
            PIL.Image.fromarray(draw.integers(0, 255, (64, 80, 3), np.uint8)).save(file, "PNG")
            file.seek(0)
            files.append(file.read())
    return files


def load(server: Server, counts: Counts) -> list[Row]:
    """Many clients at once: every mask is its own image's, as the library gives it alone."""
    files = images(counts.clients * counts.images_each, 1)
    ensemble = medseg.Ensemble.from_pretrained(shipped("assets/ensembles/polyp"))
    with tempfile.TemporaryDirectory() as folder:
        wanted = []
        for file in files:
            (Path(folder) / "image.png").write_bytes(file)
            wanted.append(masks_sha256(ensemble.predict(medseg.read_image(Path(folder) / "image.png")).masks))

    def client(number: int) -> list[tuple[str, float]]:
        outcomes = []
        for index in range(number * counts.images_each, (number + 1) * counts.images_each):
            begun = time.monotonic()
            kind, data = call(server, "segment", upload(server, files[index], "a.png"), "polyp")
            same = kind == "complete" and data[3]["masks_sha256"] == wanted[index]
            again, remixed = (
                call(server, "remix", data[0], [1, 1, 1], 0.5, "weighted mean", 0.3) if same else (kind, None)
            )
            kept = again == "complete" and remixed[2]["image"]["sha256"] == data[3]["image"]["sha256"]
            outcomes.append(
                ("right" if same and kept else "lost" if kind != "complete" else "wrong", time.monotonic() - begun)
            )
        return outcomes

    with ThreadPoolExecutor(counts.clients) as pool:
        outcomes = [
            outcome for client_outcomes in pool.map(client, range(counts.clients)) for outcome in client_outcomes
        ]
    kinds, times = Counter(kind for kind, _ in outcomes), [seconds for _, seconds in outcomes]
    middle, slow = np.percentile(times, [50, 99])
    tried = f"{counts.clients} clients × {counts.images_each} images, each segmented and re-mixed"
    figure = f"{kinds['right']} right, {kinds['wrong']} wrong, {kinds['lost']} lost; p99/p50 {slow / middle:.2f}"
    return [("C1, P2", "masks under load are those of one alone; nobody gets another's", tried, figure)]


def burst(server: Server, counts: Counts) -> list[Row]:
    """More than the queue takes, at once."""
    file = upload(server, images(1, 2)[0], "a.png")
    place, body = f"{server.url}/gradio_api/call/segment", {"data": [file, "polyp"]}

    def ask(_: int) -> tuple[int, float, bool]:
        begun = time.monotonic()
        answer = httpx.post(place, json=body, timeout=120)
        return answer.status_code, time.monotonic() - begun, "server is busy" in answer.text

    with ThreadPoolExecutor(counts.burst) as pool:
        answers = list(pool.map(ask, range(counts.burst)))
    refused = [(seconds, is_ours) for status, seconds, is_ours in answers if status != 200]
    slowest = max((seconds for seconds, _ in refused), default=0.0)
    ours = sum(is_ours for _, is_ours in refused)
    figure = f"{len(refused)} refused, {ours} of them in our words, the last after {slowest:.1f} s"
    while httpx.get(f"{server.url}/health", timeout=60).json()["queue"]:
        time.sleep(0.5)
    return [("C1", "what the queue cannot take is refused at once", f"{counts.burst} at once", figure)]


def mutants(server: Server, counts: Counts) -> list[Row]:
    """Damaged files: each a result, or a sentence."""
    chance, whole = random.Random(3), images(1, 3)[0]  # noqa: S311
    outcomes: Counter[str] = Counter()
    for _ in range(counts.mutants):
        content = bytearray(whole[: chance.choice([len(whole), chance.randrange(8, len(whole))])])
        for _ in range(chance.randrange(1, 9)):
            content[chance.randrange(len(content))] = chance.randrange(256)
        kind, data = call(server, "segment", upload(server, bytes(content), "a.png"), "polyp")
        outcomes[
            "read" if kind == "complete" else "unnamed" if "our side" in str(data) or not data["error"] else "refused"
        ] += 1
    figure = f"{outcomes['read']} read, {outcomes['refused']} refused in a sentence, {outcomes['unnamed']} without one"
    return [
        (
            "U1",
            "a damaged file is read or refused in a sentence",
            f"{counts.mutants} mutants of a PNG over HTTP",
            figure,
        )
    ]


def aborted(server: Server, counts: Counts) -> list[Row]:
    """Uploads that their client breaks off."""
    place = urlsplit(server.url)
    for _ in range(counts.aborted):
        with socket.create_connection((place.hostname or "", place.port or 0)) as client:
            client.sendall(
                b"POST /gradio_api/upload HTTP/1.1\r\nHost: localhost\r\nContent-Length: 500000\r\n"
                b"Content-Type: multipart/form-data; boundary=edge\r\n\r\n--edge\r\n"
                b'Content-Disposition: form-data; name="files"; filename="a.png"\r\n\r\n' + b"0" * 50_000
            )
    status = httpx.get(f"{server.url}/health", timeout=60).status_code
    return [("U4", "broken-off uploads disturb nobody", f"{counts.aborted} aborted", f"/health answers {status}")]


def probes(server: Server, counts: Counts) -> list[Row]:
    """Paths and hosts that are nobody's."""
    chance, leaked = random.Random(4), 0  # noqa: S311
    targets = ["/etc/passwd", "/proc/self/environ", str(ROOT / "app.py"), "http://127.0.0.1:1/", "file:///etc/passwd"]
    for _ in range(counts.probes):
        target = chance.choice(["", "../" * chance.randrange(1, 9), "%2e%2e/" * 3, "/."]) + chance.choice(targets)
        route = chance.choice(
            ["gradio_api/file=", "file=", "gradio_api/file/", "static/", "assets/", "custom_component/"]
        )
        answer = httpx.get(f"{server.url}/{route}{quote(target)}", timeout=60)
        leaked += answer.status_code == 200 and (b"root:" in answer.content or b"medseg.app" in answer.content)
    return [("U5", "nothing outside the app's own results is served", f"{counts.probes} probes", f"{leaked} leaked")]


def canaries(server: Server, counts: Counts) -> list[Row]:
    """A patient's name in file names, bodies and paths is in no log and no name on the disk."""
    for number in range(counts.canaries):
        name = f"{CANARY}_{number}"
        file = upload(server, name.encode(), f"{name}.png")
        call(server, "segment", file, name)
        httpx.post(f"{server.url}/gradio_api/queue/join", content=f'{{"data": "{name}', timeout=60)
        with contextlib.suppress(httpx.HTTPError):
            httpx.get(f"{server.url}/gradio_api/file=/{name}", timeout=60)
    told = server.said().count(CANARY)
    on_disk = sum(CANARY in path.name for path in server.log.parent.rglob("*"))
    tried = f"{counts.canaries} names, each in a file name, an argument, a broken body and a path"
    return [("P1", "no visitor's name is in log or path", tried, f"{told} in the log, {on_disk} in names on the disk")]


def bodies(server: Server, counts: Counts) -> list[Row]:
    """JSON bodies of 300 MB: refused, and the server's memory does not follow them."""
    process = psutil.Process(server.process.pid)
    before, most, statuses = process.memory_info().rss, 0, Counter[int]()
    for _ in range(counts.bodies):
        with contextlib.suppress(httpx.HTTPError):
            chunks = (b"0" * 2**20 for _ in range(300))
            kind = {"Content-Type": "application/json"}
            statuses[
                httpx.post(f"{server.url}/gradio_api/queue/join", content=chunks, headers=kind, timeout=120).status_code
            ] += 1
        most = max(most, process.memory_info().rss)
    figure = f"{statuses[413]} answered 413; memory {(most - before) / 2**20:+.0f} MB to {most / 2**20:.0f} MB"
    return [("L2", "bodies are bounded", f"{counts.bodies} of 300 MB", figure)]


def end(server: Server, counts: Counts) -> list[Row]:
    """SIGTERM while images are being segmented."""
    place = f"{server.url}/gradio_api/call/segment"
    file = upload(server, images(1, 5)[0], "a.png")
    for _ in range(4):
        httpx.post(place, json={"data": [file, "polyp"]}, timeout=60)
    begun = time.monotonic()
    server.process.send_signal(signal.SIGTERM)
    status = server.process.wait(60)
    return [
        (
            "S7",
            "SIGTERM ends with status 0 within 8 s",
            "in mid-segmentation",
            f"status {status} after {time.monotonic() - begun:.1f} s",
        )
    ]


TRIALS: tuple[Callable[[Server, Counts], list[Row]], ...] = (
    load,
    burst,
    mutants,
    aborted,
    probes,
    canaries,
    bodies,
    end,
)


def report(rows: list[Row], seconds: float, how: str) -> str:
    """The page: what was tried, and what was not."""
    table = "\n".join(f"| {' | '.join(row)} |" for row in rows)
    others = "\n".join(f"| {name} | {where} |" for name, where in NOT_HERE)
    used = ", ".join(f"{name} {version}" for name, version in versions().items())
    return f"""# Reliability

Written by `python -m benchmarks.reliability --{how}` on {datetime.date.today()}, in {seconds:.0f} s, with {used}.
The app is a process of its own with the embedded polyp ensemble, asked over HTTP on loopback; the log held
tracebacks or unnamed ends only where a row says so. Times are those of this machine, which others may have been using.

| | promise | tried | figure |
|---|---|---|---|
{table}

Not reached by this command:

| | where else |
|---|---|
{others}
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    size = parser.add_mutually_exclusive_group(required=True)
    size.add_argument("--quick", action="store_true", help="a few minutes")
    size.add_argument("--release", action="store_true", help="hours")
    parser.add_argument("--only", choices=[trial.__name__ for trial in TRIALS], help="one row, printed only")
    options = parser.parse_args()
    counts, begun, rows = RELEASE if options.release else QUICK, time.monotonic(), []
    with running_server() as server:
        for trial in TRIALS:
            if options.only in (None, trial.__name__):
                rows += trial(server, counts)
                print(*rows[-1], sep=" · ", flush=True)
    if options.only is None:
        PAGE.write_text(
            report(rows, time.monotonic() - begun, "release" if options.release else "quick"), encoding="utf-8"
        )


if __name__ == "__main__":
    main()
