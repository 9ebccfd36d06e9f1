"""The machine fails under the running app: a sentence, nothing lost, and well again without a restart."""

from __future__ import annotations

import contextlib
import resource
import shutil
import signal
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import PIL.Image
import psutil
import pytest

import medseg
from tests.app.test_server import call, segment, upload
from tests.conftest import write_disc_pair
from tests.faulty_machine import full, read_only, small_disk
from tests.running_app import Server, running_server

pytest.importorskip("gradio")

import gradio as gr

from medseg.app.state.session import Session
from medseg.app.tabs.downloads import FORMATS, save
from medseg.app.tabs.events import refusal

FULL = "The server's disk is full"
READ_ONLY = "The server cannot write here: its folder is read-only"
START = """
import os, runpy, time
from medseg.app.server import uploads
uploads.SPARE_BYTES = 2**21
now = time.time
time.time = lambda: now() - (2 * 86400 if os.path.exists(os.environ["SET_BACK"]) else 0)
runpy.run_path("app.py", run_name="__main__")
"""
"""The app, which leaves 2 MB of a small disk alone, and whose clock can be set back by two days."""


@pytest.fixture(scope="module")
def disk() -> Iterator[Path]:
    with small_disk(32) as folder:
        if folder is None:
            pytest.skip("this machine lets us mount no disk")
        yield folder


@pytest.fixture(scope="module")
def image(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("images")
    write_disc_pair(folder, "disc", 5)
    return folder / "images" / "disc.png"


@pytest.fixture(scope="module")
def set_back(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The clock is set back while this file is there."""
    return tmp_path_factory.mktemp("clock") / "set-back"


@pytest.fixture(scope="module")
def server(plain_ensemble: Path, disk: Path, set_back: Path) -> Iterator[Server]:
    with running_server(plain_ensemble, ("-c", START), disk / "uploads", SET_BACK=str(set_back)) as running:
        yield running
        assert "Traceback" not in running.said()


@pytest.fixture
def result(server: Server, image: Path) -> Iterator[str]:
    """A result from before the fault; afterwards it is still there, and the next image is segmented."""
    result, _ = segment(server, image)
    yield result
    assert call(server, "remix", result, [1, 0])[0] == "complete"
    segment(server, image)


def refused(server: Server, name: str, *data: Any) -> str:
    kind, answer = call(server, name, *data)
    assert kind == "error", answer
    return str(answer["error"])


def test_a_full_disk_is_said_at_the_upload_and_at_the_result(
    server: Server, image: Path, disk: Path, result: str
) -> None:
    file = upload(server, image)
    with full(disk):
        early = httpx.post(f"{server.url}/gradio_api/upload", files={"files": ("a.png", b"0" * 99)}, timeout=60)
        assert (early.status_code, early.text) == (413, "There is no room for uploads just now; try again in an hour.")
        assert refused(server, "segment", file, None).startswith(FULL)
        assert refused(server, "remix", result, [1, 1]).startswith(FULL)
        assert httpx.get(f"{server.url}/health", timeout=60).json()["disk_free_bytes"] == 0


def test_a_disk_that_fills_in_mid_upload_is_said(server: Server, disk: Path, result: str) -> None:
    begin, end = (
        b'--edge\r\nContent-Disposition: form-data; name="files"; filename="a.png"\r\n\r\n',
        b"\r\n--edge--\r\n",
    )

    def chunks(stack: contextlib.ExitStack) -> Iterator[bytes]:
        before = shutil.disk_usage(disk).used
        yield begin
        yield bytes(2**20)
        for _ in range(400):  # until the server has taken it; else the upload is refused early
            if shutil.disk_usage(disk).used > before:
                break
            time.sleep(0.05)
        stack.enter_context(full(disk))
        yield from (bytes(2**20) for _ in range(8))
        yield end

    head = {"Content-Type": "multipart/form-data; boundary=edge"}
    head["Content-Length"] = str(len(begin) + 9 * 2**20 + len(end))
    with contextlib.ExitStack() as stack:
        answer = httpx.post(f"{server.url}/gradio_api/upload", content=chunks(stack), headers=head, timeout=60)
    assert answer.status_code == 500
    assert FULL in answer.text


def test_folders_that_cannot_be_written_are_said(server: Server, image: Path, disk: Path, result: str) -> None:
    file = upload(server, image)
    with read_only(disk):
        assert refused(server, "segment", file, None).startswith(READ_ONLY)
        assert refused(server, "remix", result, [1, 1]).startswith(READ_ONLY)
        body = {"data": [result, [1, 1], 0.5, "median", 1]}
        direct = httpx.post(f"{server.url}/gradio_api/run/remix", json=body, timeout=60)
        assert (direct.status_code, direct.json()["error"][: len(READ_ONLY)]) == (500, READ_ONLY)
        early = httpx.post(f"{server.url}/gradio_api/upload", files={"files": ("a.png", b"0" * 99)}, timeout=60)
        assert READ_ONLY in early.text


def test_few_descriptors_are_said(server: Server, image: Path, result: str) -> None:
    process, file = psutil.Process(server.process.pid), upload(server, image)
    limits = process.rlimit(resource.RLIMIT_NOFILE)
    with httpx.Client(timeout=60) as client:
        client.get(f"{server.url}/health")
        process.rlimit(resource.RLIMIT_NOFILE, (process.num_fds() + 1, limits[1]))
        try:
            asked = client.post(f"{server.url}/gradio_api/call/segment", json={"data": [file, None]})
            text = asked.text
            if asked.status_code == 200:
                text = client.get(f"{server.url}/gradio_api/call/segment/{asked.json()['event_id']}").text
        finally:
            process.rlimit(resource.RLIMIT_NOFILE, limits)
    assert "too many files open" in text or "event: complete" in text, text


def test_little_memory_is_said(server: Server, image: Path, tmp_path: Path, result: str) -> None:
    noise = np.random.default_rng(0).integers(0, 255, (3000, 3000, 3), np.uint8)
    PIL.Image.fromarray(noise).save(tmp_path / "large.png", compress_level=0)
    process, file = psutil.Process(server.process.pid), upload(server, image)
    limits = process.rlimit(resource.RLIMIT_AS)
    process.rlimit(resource.RLIMIT_AS, (process.memory_info().vms + 2**24, limits[1]))
    try:
        with (tmp_path / "large.png").open("rb") as large:
            sent = httpx.post(f"{server.url}/gradio_api/upload", files={"files": ("a.png", large)}, timeout=60)
        file["path"] = sent.json()[0]
        sentence = refused(server, "segment", file, None)
    finally:
        process.rlimit(resource.RLIMIT_AS, limits)
    assert "memory" in sentence


def test_a_killed_decode_worker_costs_nothing(server: Server, image: Path, result: str) -> None:
    workers = [child for child in psutil.Process(server.process.pid).children() if "decode" in "".join(child.cmdline())]
    assert workers
    for worker in workers:
        worker.send_signal(signal.SIGKILL)
    segment(server, image)


def test_a_clock_that_is_set_back_loses_nothing(server: Server, image: Path, set_back: Path, result: str) -> None:
    file = upload(server, image)
    set_back.touch()
    try:
        assert call(server, "remix", result, [1, 0])[0] == "complete"
        assert call(server, "segment", file, None)[0] == "complete"
        segment(server, image)
        assert httpx.get(f"{server.url}/health", timeout=60).json()["status"] == "ok"
    finally:
        set_back.unlink()


@pytest.mark.parametrize("fault", [(full, FULL), (read_only, READ_ONLY)], ids=["full", "read-only"])
def test_every_kind_of_result_says_why_it_cannot_be_written(
    fault: tuple[Any, str], disk: Path, image: Path, plain_ensemble: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GRADIO_TEMP_DIR", str(disk / "results"))
    session, (faulty, sentence) = Session(), fault
    session.open(image, medseg.Ensemble.from_pretrained(plain_ensemble))
    kinds = {name: partial(save, session, name) for name in FORMATS}
    kinds["pair"] = partial(refusal(session.write_pair), session.view_state.prediction.masks)
    kinds["frames"] = partial(refusal(session.segment_frames), lambda done, of: None)
    said = {}
    with faulty(disk):
        for name, write in kinds.items():
            with pytest.raises(gr.Error) as caught:
                write()
            said[name] = caught.value.message
    others = {name: words for name, words in said.items() if not words.startswith(sentence)}
    assert all("DICOM" in words for words in others.values()), others  # those are of a DICOM image only
    assert len(others) < len(said) / 2
    assert Path(save(session, "mask")[0]).exists()
