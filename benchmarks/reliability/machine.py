"""Rows in which the app's machine fails: a full disk, killed decode workers, the end of the process, hours of use."""

from __future__ import annotations

import contextlib
import random
import signal
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import psutil

from benchmarks.reliability.files import damaged
from benchmarks.reliability.row import Row, Tally
from benchmarks.reliability.visitor import DIED, HTTP, app, call, health, images, outcome, upload, watched
from tests.faulty_machine import full, small_disk
from tests.running_app import Server, running_server


def run_full_disk(cases: range) -> Tally:
    """A disk that is full from the upload, from the result, or in between; and empty again afterwards."""
    tally = Tally()
    with small_disk(1100) as disk:
        if disk is None:
            tally.counts["no disk could be mounted"] = len(cases)
            return tally
        with running_server(uploads=disk / "uploads") as server:
            content = images(1, 4)[0]
            for case in cases:
                _full_once(server, disk, content, case, tally)
            watched(server, tally)
    return tally


def _full_once(server: Server, disk: Path, content: bytes, case: int, tally: Tally) -> None:
    with full(disk) if case % 2 else contextlib.nullcontext():
        answer = HTTP.post(f"{server.url}/gradio_api/upload", files={"files": ("a.png", content)})
    if answer.status_code != 200:
        tally.counts["refused in a sentence" if "no room" in answer.text else "without a sentence"] += 1
    else:
        with full(disk):
            file = {"path": answer.json()[0], "meta": {"_type": "gradio.FileData"}}
            tally.counts[outcome(*call(server, "segment", file, "polyp"))] += 1
    begun = time.monotonic()
    kind, _ = call(server, "segment", upload(server, content), "polyp")
    tally.counts["NOT WELL AGAIN"] += kind != "complete"
    tally.note(well_again_s=time.monotonic() - begun)


def decoders(server: Server) -> list[psutil.Process]:
    return [child for child in psutil.Process(server.process.pid).children() if "decode" in " ".join(child.cmdline())]


def run_killed_decoders(cases: range) -> Tally:
    """SIGKILL for every decode worker, in mid-request or between two; the next request is answered."""
    server, tally = app(), Tally()
    with ThreadPoolExecutor(1) as pool:
        for case in cases:
            file = upload(server, images(1, case)[0])
            asked = pool.submit(call, server, "segment", file, "polyp")
            time.sleep(random.Random(case).uniform(0, 0.2))  # noqa: S311
            for worker in decoders(server):
                with contextlib.suppress(psutil.NoSuchProcess):
                    worker.kill()
            tally.counts[outcome(*asked.result())] += 1
            kind, _ = call(server, "segment", file, "polyp")
            tally.counts["NOT WELL AGAIN"] += kind != "complete"
    return watched(server, tally)


def run_ends(cases: range) -> Tally:
    """SIGTERM while images are segmented."""
    tally = Tally()
    for case in cases:
        with running_server() as server:
            file = upload(server, images(1, case)[0])
            for _ in range(4):
                HTTP.post(f"{server.url}/gradio_api/call/segment", json={"data": [file, "polyp"]})
            begun = time.monotonic()
            server.process.send_signal(signal.SIGTERM)
            status = server.process.wait(60)
            tally.counts["ended with 0" if status == 0 else f"ENDED WITH {status}"] += 1
            tally.counts["TRACEBACK IN THE LOG"] += server.said().count("Traceback")
            tally.note(slowest_s=time.monotonic() - begun)
    return tally


def run_soak(cases: range) -> Tally:
    """Minutes with four visitors who segment, re-mix, and sometimes send what is damaged."""
    server, tally = app(), Tally()
    ends = time.monotonic() + 60 * len(cases)

    def visit(number: int) -> list[str]:
        draw, words = random.Random(cases.start * 4 + number), []  # noqa: S311
        while time.monotonic() < ends:
            content = damaged(draw.randrange(10**6)) if draw.random() < 0.2 else images(1, draw.randrange(10**6))[0]
            kind, data = call(server, "segment", upload(server, content), "polyp")
            words.append(outcome(kind, data))
            if kind == "complete":
                weights = [draw.random() + 0.01 for _ in range(3)]
                words.append(outcome(*call(server, "remix", data[0], weights, 0.5, "median", 0.3)))
        return words

    with ThreadPoolExecutor(4) as pool:
        tally.counts.update(word for words in pool.map(visit, range(4)) for word in words)
    figures = health(server)
    tally.counts["/HEALTH IS NOT ok"] += figures["status"] != "ok"
    process = psutil.Process(server.process.pid)
    tally.note(open_files=process.num_fds(), threads=process.num_threads())
    return watched(server, tally)


ROWS = (
    Row("full-disk", "S1", "a full disk is a sentence, and the next answer is right when there is room again",
        "full disks", 2, 500, 50, run_full_disk, ("refused in a sentence", "no disk could be mounted"),
        ("read", "without a sentence", "NOT WELL AGAIN", *DIED), {"well again s": 5}),
    Row("killed-decoders", "S1", "a decode worker that is killed costs one answer at most", "kills", 4, 200, 25,
        run_killed_decoders, ("read", "refused in a sentence"), ("without a sentence", "NOT WELL AGAIN", *DIED)),
    Row("ends", "S7", "SIGTERM in mid-segmentation ends with status 0 within 8 s", "ends", 1, 20, 5, run_ends,
        ("ended with 0",), ("TRACEBACK IN THE LOG",), {"slowest s": 8}),
    Row("soak", "C1, L2", "hours of use leave the server as it was", "minutes of four visitors", 0, 120, 1, run_soak,
        ("read", "refused in a sentence"), ("without a sentence", "/HEALTH IS NOT ok", *DIED), {"MB in all": 1536}),
)  # fmt: skip
