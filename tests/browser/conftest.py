"""One real Chromium and one real server for all tests here, or a reason why not."""

from __future__ import annotations

import dataclasses
import importlib.util
import os
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from medseg import schema
from medseg.config import EnsembleConfig
from tests.archive.archive_server import Hospital, running_hospital
from tests.conftest import make_ensemble
from tests.dicom_sources import write_source
from tests.hub_server import Hub
from tests.running_app import CHROMIUM, open_page, running_chromium, running_server

if TYPE_CHECKING:
    from playwright.sync_api import Browser, BrowserContext, Page

HOSTILE = "<img src=x onerror=\"document.title='hacked'\">[a](javascript:b)"


def renamed(folder: Path, name: str, **changes: object) -> Path:
    """The ensemble folder, with another name and other settings."""
    settings = schema.load(EnsembleConfig, folder / "ensemble.json")
    schema.dump(dataclasses.replace(settings, name=name, **changes), folder / "ensemble.json")  # type: ignore[arg-type]
    return folder


@pytest.fixture(scope="session")
def labelled(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two members of two labels, with a threshold for each."""
    folder = tmp_path_factory.mktemp("labelled")
    make_ensemble(folder, (0.75, 0.25), labels=("lung", "heart"), task="multilabel", plain=True)
    return renamed(folder, "labelled", threshold=(0.48, 0.52))


@pytest.fixture(scope="session")
def hurt(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three members with the weights 0.5, 0.3 and 0.2; of the second's network half is gone."""
    folder = make_ensemble(tmp_path_factory.mktemp("hurt"), (0.5, 0.3, 0.2), plain=True)
    weights = folder / "m1" / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[: weights.stat().st_size // 2])
    return renamed(folder, "hurt")


@pytest.fixture(scope="session")
def remote(plain_ensemble: Path) -> Iterator[Hub]:
    """A Hub with one ensemble, tester/net."""
    with Hub() as server:
        files = [path for path in plain_ensemble.rglob("*") if path.is_file()]
        server.commit("tester/net", {str(path.relative_to(plain_ensemble)): path.read_bytes() for path in files})
        yield server


@pytest.fixture(scope="session")
def hospital(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Hospital]:
    """An archive of a CT and a film, whose descriptions are hostile."""
    with running_hospital() as service:
        for kind in ("ct-series", "cr"):
            service.add(*write_source(kind, tmp_path_factory.mktemp(kind)))
        service.lies = {tag: {"vr": "LO", "Value": [HOSTILE]} for tag in ("00081030", "0008103E")}
        yield service


@pytest.fixture(scope="session")
def environment(remote: Hub, hospital: Hospital, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """The server's: that Hub alone, and that archive."""
    archive = {"MEDSEG_DICOMWEB": hospital.url} if importlib.util.find_spec("dicomweb_client") else {}
    return remote.environment(tmp_path_factory.mktemp("hf-home")) | archive


@pytest.fixture(scope="session")
def server(tiny_ensemble: Path, labelled: Path, hurt: Path, environment: dict[str, str]) -> Iterator[str]:
    """The URL of the app with the tiny ensemble as its first: no test changes what another visitor sees."""
    ensembles = os.pathsep.join(map(str, (tiny_ensemble, labelled, hurt)))
    with running_server(ensembles, **environment) as running:
        yield running.url


@pytest.fixture(scope="package")  # its event loop must not outlive these tests
def browser() -> Iterator[Browser]:
    pytest.importorskip("playwright.sync_api", reason="playwright is not installed (extra dev)")
    if not CHROMIUM.exists():
        pytest.skip(f"{CHROMIUM} is missing: apt-get install chromium")
    with running_chromium() as chromium:
        yield chromium


@pytest.fixture(scope="package")
def visitors(browser: Browser) -> Iterator[BrowserContext]:
    """What they share is the browser's cache, which spares it to read the page's scripts for each."""
    context = browser.new_context(viewport={"width": 1400, "height": 1000}, accept_downloads=True)
    yield context
    context.close()


@pytest.fixture(scope="package")
def lasting(visitors: BrowserContext, server: str) -> Iterator[Page]:
    opened = open_page(visitors, server)
    yield opened
    opened.close()


@pytest.fixture
def still(lasting: Page) -> Page:
    """A page for all tests that leave it as it was: to open one takes a second."""
    lasting.bring_to_front()
    return lasting


@pytest.fixture
def page(visitors: BrowserContext, server: str) -> Iterator[Page]:
    """A new visitor's page, with the first example shown and the sliders drawn."""
    opened = open_page(visitors, server)
    yield opened
    opened.close()
