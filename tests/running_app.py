"""`python app.py` in a process of its own, and a Chromium to look at it; tests and benchmarks use both."""

from __future__ import annotations

import contextlib
import os
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from playwright.sync_api import Browser, BrowserContext, Page

ROOT = Path(__file__).resolve().parents[1]
ABSENT = ROOT / "tests" / "absent"
CHROMIUM = Path("/usr/bin/chromium")
FLAGS = [
    "--no-sandbox",  # as root in a container
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
SOFTWARE_GL = ["--use-angle=swiftshader", "--enable-unsafe-swiftshader"]
"""Flags with which Chromium has WebGL2 on any machine."""

PATIENCE_S = 120
"""A loaded machine takes tens of seconds to import torch and answer the first image."""


@dataclass(frozen=True)
class Server:
    """A running app: its address, its process, and what it wrote so far."""

    url: str
    process: subprocess.Popen[bytes]
    log: Path

    def said(self) -> str:
        return self.log.read_text(encoding="utf-8", errors="replace")


@contextlib.contextmanager
def running_server(
    ensemble: Path | str | None = None,
    start: tuple[str, ...] = ("app.py",),
    uploads: Path | None = None,
    root: Path = ROOT,
    python: str = sys.executable,
    **environment: str,
) -> Iterator[Server]:
    """The app on a free port, with `ensemble` (or several, as in MEDSEG_ENSEMBLES) before the embedded ones; `start` is
    what Python runs in the folder `root`, `uploads` where it keeps what visitors send (default: a folder that goes with
    it), and `environment` sets more variables."""
    port = _free_port()
    paths = [str(ABSENT), environment.pop("PYTHONPATH", ""), os.environ.get("PYTHONPATH", "")]
    with tempfile.TemporaryDirectory(prefix="medseg-app-") as folder:
        settings = {
            "MEDSEG_ENSEMBLES": str(ensemble or ""),
            "GRADIO_SERVER_PORT": str(port),
            "GRADIO_SERVER_NAME": "127.0.0.1",
            "GRADIO_TEMP_DIR": str(uploads or Path(folder) / "uploads"),
            "PYTHONPATH": os.pathsep.join(filter(None, paths)),
        }
        log = Path(folder) / "log"
        with log.open("w") as stream:
            process = subprocess.Popen(
                [python, *start],
                cwd=root,
                env=os.environ | settings | environment,
                stdout=stream,
                stderr=stream,
            )
        try:
            _wait_until_it_answers(f"http://127.0.0.1:{port}", process, log)
            yield Server(f"http://127.0.0.1:{port}", process, log)
        finally:
            process.terminate()
            process.wait(PATIENCE_S)


@contextlib.contextmanager
def running_app(*how: Any, **settings: Any) -> Iterator[str]:
    """The URL of `running_server`."""
    with running_server(*how, **settings) as server:
        yield server.url


@contextlib.contextmanager
def running_chromium(flags: Sequence[str] = ()) -> Iterator[Browser]:
    """Debian's Chromium, headless, with further `flags`."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=str(CHROMIUM), args=[*FLAGS, *flags])
        try:
            yield browser
        finally:
            browser.close()


def open_page(context: BrowserContext, url: str) -> Page:
    """A new visitor's page, with the first example shown, its sliders drawn and its scores there."""
    context.set_default_timeout(PATIENCE_S * 1000)
    page = context.new_page()
    page.goto(url)
    page.wait_for_selector("#viewer [data-result]")
    page.wait_for_selector("#mixer .member")
    page.wait_for_function("() => document.querySelector('#scores').innerText.includes('Truth:')")
    return page


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _wait_until_it_answers(url: str, process: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while time.monotonic() < deadline:
        if process.poll() is not None:
            raise RuntimeError(f"the app ended: {log.read_text()}")
        try:
            urllib.request.urlopen(url, timeout=5).close()  # noqa: S310 - our own server
            return
        except OSError:
            time.sleep(0.2)
    raise TimeoutError(f"the app does not answer: {log.read_text()}")
