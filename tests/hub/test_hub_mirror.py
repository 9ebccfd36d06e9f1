"""Pulls through a second implementation of the Hub, which nobody here wrote: the mirror olah, before our own server."""

from __future__ import annotations

import os
import shutil
import subprocess
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest
from huggingface_hub import constants

from medseg.errors import HubError
from medseg.hub.fetch import fetch
from tests.conftest import ROOT
from tests.hub_server import REPO, Hub, ours
from tests.running_app import _free_port

OLAH = shutil.which("olah-cli") or str(ROOT / "build" / "olah" / "bin" / "olah-cli")
pytestmark = pytest.mark.skipif(not os.access(OLAH, os.X_OK), reason="olah is not installed; .ci/run does it")


@pytest.fixture
def mirror(hub: Hub, plain_ensemble: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """olah on a free port, with our server as its upstream, which holds a member as REPO; its commit."""
    commit, port, upstream = (
        hub.commit(REPO, ours(plain_ensemble / "m0")),
        _free_port(),
        hub.url.removeprefix("http://"),
    )
    itself = f"127.0.0.1:{port}"
    settings = {"hf": upstream, "mirror": itself}
    flags = [f"--{whose}-{what}={net}" for whose, net in settings.items() for what in ("netloc", "lfs-netloc")]
    flags += [
        "--hf-scheme=http",
        "--mirror-scheme=http",
        "--host=127.0.0.1",
        f"--port={port}",
        "--metadata-cache-ttl=600",
    ]
    folders = [f"--repos-path={tmp_path / 'repos'}", f"--log-path={tmp_path / 'logs'}"]
    with (tmp_path / "log").open("w") as log:
        process = subprocess.Popen([OLAH, *flags, *folders], cwd=tmp_path, stdout=log, stderr=log)
        try:
            deadline = time.monotonic() + 60
            while time.monotonic() < deadline and not _answers(f"http://{itself}/api/models/{REPO}"):
                time.sleep(0.1)
            monkeypatch.setattr(constants, "ENDPOINT", f"http://{itself}")
            yield commit
        finally:
            process.terminate()
            process.wait(60)


def _answers(url: str) -> bool:
    try:
        urllib.request.urlopen(url, timeout=5).close()  # noqa: S310 - our own mirror
    except OSError:
        return False
    return True


def test_what_a_mirror_serves_is_what_was_pushed_and_what_it_lacks_is_refused(
    hub: Hub, mirror: str, plain_ensemble: Path
) -> None:
    asked = len(hub.log)
    assert ours(fetch(f"{REPO}@{mirror}")) == ours(plain_ensemble / "m0")
    assert len(hub.log) > asked
    with pytest.raises(HubError, match=r"tester/nothing: the Hub .*\(40[14]\)"):
        fetch("tester/nothing")
