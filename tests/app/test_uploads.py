"""What visitors send: random names, bounded sizes, a time to live, and nothing left of a process that ended."""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any
from unittest import mock
from urllib.parse import quote, urlsplit

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from medseg.app.server import upload_folder, uploads
from medseg.app.server.janitor import Janitor
from medseg.app.server.upload_folder import visitors_folder
from medseg.app.server.uploads import Renamer, UploadMiddleware, anonymous
from tests.conftest import ROOT
from tests.running_app import running_app

KEPT_S = 6
PATIENT = "Erika_Mustermann_1964"
BODY = (
    b'--edge\r\nContent-Disposition: form-data; name="files"; filename="Erika.png"\r\nContent-Type: image/png\r\n\r\n'
    b'first\r\nContent-Disposition: form-data; filename="kept.png"\r\n\r\n\r\n--edg\r\n--edge\r\n'
    b'Content-Disposition: form-data; name="note"\r\n\r\nfilename="kept too"\r\n--edge--\r\n'
)

# --- names


@given(st.lists(st.integers(0, len(BODY)), max_size=8))
def test_only_file_names_in_headers_change_wherever_the_body_is_cut(cuts: list[int]) -> None:
    renamer = Renamer(b"edge")
    ends = [0, *sorted(cuts), len(BODY)]
    passed = b"".join(renamer.feed(BODY[a:b]) for a, b in pairwise(ends)) + renamer.rest()
    name = re.search(rb'filename="([0-9a-f]{32}\.png)"', passed)
    assert name
    assert passed.replace(name[1], b"Erika.png") == BODY


@pytest.mark.parametrize(
    ("name", "ending"),
    [
        ('"a.PNG"', ".png"),
        ('"scan.nii.gz"', ".nii.gz"),
        ('"Erika.Mustermann"', ""),
        ('"page.html"', ""),
        ('"../../etc/passwd.zip"', ".zip"),
        ("plain.dcm", ".dcm"),
        ("first; filename*=UTF-8''Erika.png", ""),
    ],
)
def test_of_a_name_only_a_known_ending_stays(name: str, ending: str) -> None:
    line = f'Content-Disposition: form-data; name="files"; filename={name}\r\nX: 1'.encode()
    pattern = rf'Content-Disposition: form-data; name="files"; filename="[0-9a-f]{{32}}{re.escape(ending)}"\r\nX: 1'
    assert re.fullmatch(pattern.encode(), anonymous(line))


def test_a_name_in_the_extended_form_alone_is_replaced_too() -> None:
    line = b"Content-Disposition: form-data; name=\"files\"; filename*=UTF-8''Erika.png"
    pattern = rb'Content-Disposition: form-data; name="files"; filename="[0-9a-f]{32}"'
    assert re.fullmatch(pattern, anonymous(line))


# --- the janitor


def touched(folder: Path, *names: str) -> None:
    for name in names:
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).touch()


def below(folder: Path) -> list[str]:
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*"))


def test_what_is_old_goes_with_its_folder_and_what_is_exempt_or_new_stays(tmp_path: Path) -> None:
    clock = [0.0]
    touched(tmp_path, "old/a", "exempt/b")
    janitor = Janitor(tmp_path, 60, {tmp_path / "exempt" / "b"}, now=lambda: clock[0])
    janitor.sweep()
    clock[0] = 59
    touched(tmp_path, "new/c")
    janitor.sweep()
    assert below(tmp_path) == ["exempt", "exempt/b", "new", "new/c", "old", "old/a"]
    clock[0] = 70
    janitor.sweep()
    clock[0] = 118  # a folder that lost a file has changed, so it goes a time later
    janitor.sweep()
    assert below(tmp_path) == ["exempt", "exempt/b", "new", "new/c", "old"]
    clock[0] = 1000
    janitor.sweep()
    clock[0] = 2000
    janitor.sweep()
    assert below(tmp_path) == ["exempt", "exempt/b"]


@pytest.mark.parametrize("hours", [-48, 48])
def test_no_clock_that_is_set_moves_the_time_of_a_file(tmp_path: Path, hours: int) -> None:
    clock = [0.0]
    touched(tmp_path, "a/file")
    os.utime(tmp_path / "a" / "file", (time.time() + hours * 3600,) * 2)
    janitor = Janitor(tmp_path, 60, now=lambda: clock[0])
    janitor.sweep()
    clock[0] = 59
    janitor.sweep()
    assert (tmp_path / "a" / "file").exists()
    clock[0] = 60
    janitor.sweep()
    assert not (tmp_path / "a" / "file").exists()


def test_a_folder_that_vanishes_in_mid_sweep_disturbs_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    clock = [0.0]
    touched(tmp_path, "gone/a", "old/b")
    janitor = Janitor(tmp_path, 60, now=lambda: clock[0])
    janitor.sweep()
    clock[0] = 100
    scan = os.scandir

    def vanishing(path: Any) -> Any:
        if not isinstance(path, int) and Path(path).name == "gone":
            shutil.rmtree(path)
        return scan(path)

    monkeypatch.setattr(os, "scandir", vanishing)
    janitor.sweep()
    assert not (tmp_path / "old" / "b").exists()


def test_a_sweep_that_fails_is_followed_by_the_next(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    calls: list[None] = []

    def failing() -> None:
        calls.append(None)
        if len(calls) < 3:
            raise OSError("a disk that stutters")

    janitor = Janitor(tmp_path, 0.04, others=[failing])
    janitor.start()
    assert wait_until(lambda: len(calls) > 3)
    assert caplog.text.count("A sweep was broken off: OSError") == 2
    assert janitor.seconds_since_sweep < 60


CLAIM = """import time
from medseg.app.server.upload_folder import claim_folder
print(claim_folder(), flush=True)
time.sleep(300)"""


def claiming(base: Path) -> tuple[subprocess.Popen[str], Path]:
    """A process that claims a folder below `base` and stays, and the folder."""
    process = subprocess.Popen(
        [sys.executable, "-c", CLAIM],
        cwd=ROOT,
        env=os.environ | {"GRADIO_TEMP_DIR": str(base)},
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout
    return process, Path(process.stdout.readline().strip()).parent


def test_the_next_start_removes_what_a_killed_process_left_and_nothing_of_a_living_one(tmp_path: Path) -> None:
    killed, left = claiming(tmp_path)
    (left / "scan.dcm").touch()
    killed.send_signal(signal.SIGKILL)
    killed.communicate()
    assert (left / "scan.dcm").exists()
    living, used = claiming(tmp_path)
    another, own = claiming(tmp_path)
    assert not left.exists()
    assert used.is_dir()
    assert own.stat().st_mode & 0o777 == 0o700
    for process in (living, another):
        process.kill()
        process.communicate()


def test_a_folder_that_a_cleaner_of_temporary_files_took_comes_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "medseg-visitors-1"
    monkeypatch.setenv("GRADIO_TEMP_DIR", str(folder / "gradio"))
    for lost in folder / "gradio", folder:
        shutil.rmtree(lost, ignore_errors=True)
        assert visitors_folder() == folder
        assert (folder / "gradio").is_dir()
        assert folder.stat().st_mode & 0o777 == 0o700
    assert not upload_folder._is_abandoned(folder)


# --- bounds, before anything is read


def answered(headers: dict[str, str], receive: Callable[[], Any] | None = None) -> tuple[int, str]:
    """Status and text of the middleware before an app that reads its whole body."""
    sent: list[dict[str, Any]] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        from starlette.requests import Request
        from starlette.responses import PlainTextResponse

        body = await Request(scope, receive).body()
        await PlainTextResponse(body)(scope, receive, send)

    async def send(message: Any) -> None:
        sent.append(message)

    async def nothing() -> dict[str, Any]:
        return {"type": "http.request", "body": b""}

    pairs = [(name.encode(), value.encode()) for name, value in headers.items()]
    scope = {"type": "http", "method": "POST", "path": "/", "headers": pairs}
    asyncio.run(UploadMiddleware(app)(scope, receive or nothing, send))
    return sent[0]["status"], sent[1]["body"].decode()


FORM = {"content-type": "multipart/form-data; boundary=edge"}


@pytest.fixture
def room(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GRADIO_TEMP_DIR", str(tmp_path / "gradio"))
    monkeypatch.setenv("MEDSEG_UPLOAD_MB", "2")


@pytest.mark.usefixtures("room")
@pytest.mark.parametrize(
    ("headers", "sentence"),
    [
        ({"content-length": str(2 * 2**20 + 1)}, "An upload may have 2 MB, all files together"),
        ({}, "has to say how long it is"),
        ({"content-length": "10", "transfer-encoding": "chunked"}, "has to say how long it is"),
    ],
)
def test_too_much_and_an_unknown_length_are_refused_unread(headers: dict[str, str], sentence: str) -> None:
    status, text = answered({**FORM, **headers})
    assert status == 413
    assert sentence in text


@pytest.mark.usefixtures("room")
def test_a_disk_that_is_nearly_full_takes_no_uploads(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(uploads, "SPARE_BYTES", 2**60)
    assert answered({**FORM, "content-length": "10"}) == (
        413,
        "There is no room for uploads just now; try again in an hour.",
    )


@pytest.mark.usefixtures("room")
def test_nobody_waits_without_end_for_an_upload_that_stands_still(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(uploads, "PATIENCE_S", 0.01)

    async def never() -> None:
        await asyncio.sleep(300)

    assert answered({**FORM, "content-length": "10"}, never) == (408, "The upload was broken off. Send it again.")


@pytest.mark.usefixtures("room")
def test_a_slow_drip_ends_though_something_always_comes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(uploads, "PATIENCE_S", 0.2)

    async def drip() -> dict[str, Any]:
        await asyncio.sleep(0.01)
        return {"type": "http.request", "body": b"0", "more_body": True}

    assert answered({**FORM, "content-length": "1000"}, drip) == (408, "The upload was broken off. Send it again.")


def test_what_is_no_form_passes_untouched() -> None:
    assert answered({"content-type": "application/json"}) == (200, "")


# --- the app itself


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("uploads")


@pytest.fixture(scope="module")
def server(tiny_ensemble: Path, folder: Path) -> Iterator[str]:
    """An app that keeps uploads of at most 1 MB for KEPT_S seconds; when it was stopped nothing is left."""
    limits = {"MEDSEG_UPLOAD_MINUTES": str(KEPT_S / 60), "MEDSEG_UPLOAD_MB": "1"}
    with mock.patch.dict(os.environ, limits), running_app(tiny_ensemble, uploads=folder) as url:
        yield url
    assert list(folder.iterdir()) == []  # SIGTERM


def send(server: str, content: bytes) -> str:
    """The path that the app gives to a file with a patient's name."""
    answer = httpx.post(f"{server}/gradio_api/upload", files={"files": (f"{PATIENT}.png", content)}, timeout=60)
    assert answer.status_code == 200, answer.text
    return str(answer.json()[0])


def fetched(server: str, path: str) -> httpx.Response:
    return httpx.get(f"{server}/gradio_api/file={quote(path)}", timeout=60)


def files(folder: Path) -> set[str]:
    return {path.name for path in folder.rglob("*") if path.is_file()}


def wait_until(true: Callable[[], bool]) -> bool:
    deadline = time.monotonic() + KEPT_S + 60
    while not true() and time.monotonic() < deadline:
        time.sleep(0.2)
    return true()


@contextlib.contextmanager
def coming_and_going(folder: Path) -> Iterator[None]:
    """Folders that vanish in `folder` while it is swept, as on a busy server."""
    done = threading.Event()

    def churn() -> None:
        while not done.is_set():
            shutil.rmtree(tempfile.mkdtemp(dir=folder))
            time.sleep(0.002)

    thread = threading.Thread(target=churn)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()


def broken_off(server: str, folder: Path) -> set[str]:
    """The names of the files that an upload leaves whose visitor goes in the middle of it."""
    before = files(folder)
    head = f'--edge\r\nContent-Disposition: form-data; name="files"; filename="{PATIENT}.png"\r\n\r\n'.encode()
    place = urlsplit(server)
    with socket.create_connection((place.hostname or "", place.port or 0)) as visitor:
        visitor.sendall(
            b"POST /gradio_api/upload HTTP/1.1\r\nHost: localhost\r\nContent-Length: 500000\r\n"
            b"Content-Type: multipart/form-data; boundary=edge\r\n\r\n" + head + b"0" * 100_000
        )
        assert wait_until(lambda: bool(files(folder) - before))
        return files(folder) - before


def test_a_file_gets_a_random_name_is_served_by_it_alone_and_goes_in_time_as_one_does_that_was_broken_off(
    server: str, folder: Path
) -> None:
    left = broken_off(server, folder)
    path = send(server, b"one image")
    assert re.fullmatch(r"[0-9a-f]{32}\.png", Path(path).name)
    assert fetched(server, path).content == b"one image"
    beside = Path(path).parent
    for wrong in (beside / f"{PATIENT}.png", beside / f"{'0' * 32}.png", beside, folder):
        assert fetched(server, str(wrong)).status_code == 403
    assert not [name for name in files(folder) | left if PATIENT in name]
    places = [Path(path), *(found for name in left for found in folder.rglob(name))]
    with coming_and_going(next(folder.glob("medseg-visitors-*"))):
        assert wait_until(lambda: not any(place.exists() for place in places))
    assert fetched(server, path).status_code == 403
    assert httpx.get(f"{server}/health", timeout=60).json()["status"] == "ok"


def test_the_same_file_of_two_visitors_is_two_files(server: str) -> None:
    assert send(server, b"the same") != send(server, b"the same")


def test_what_is_too_large_is_refused_with_the_limit(server: str) -> None:
    answer = httpx.post(f"{server}/gradio_api/upload", files={"files": ("a.png", b"0" * 2**20)}, timeout=60)
    assert answer.status_code == 413
    assert answer.text == "An upload may have 1 MB, all files together; send it in parts."
