"""A real Chromium and a real server, or a reason why not."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.running_app import CHROMIUM, open_page, running_app, running_chromium

if TYPE_CHECKING:
    from playwright.sync_api import Browser, BrowserContext, Page


@pytest.fixture(scope="session")
def server(tiny_ensemble: Path) -> Iterator[str]:
    """The URL of the app with the tiny ensemble as its first: no test changes what another visitor sees."""
    with running_app(tiny_ensemble) as url:
        yield url


@pytest.fixture(scope="module")  # its event loop must not outlive these tests
def browser() -> Iterator[Browser]:
    pytest.importorskip("playwright.sync_api", reason="playwright is not installed (extra dev)")
    if not CHROMIUM.exists():
        pytest.skip(f"{CHROMIUM} is missing: apt-get install chromium")
    with running_chromium() as chromium:
        yield chromium


@pytest.fixture(scope="module")
def visitors(browser: Browser) -> Iterator[BrowserContext]:
    """What they share is the browser's cache, which spares it to read the page's scripts for each."""
    context = browser.new_context(viewport={"width": 1400, "height": 1000}, accept_downloads=True)
    yield context
    context.close()


@pytest.fixture
def page(visitors: BrowserContext, server: str) -> Iterator[Page]:
    """A new visitor's page, with the first example shown and the sliders drawn."""
    opened = open_page(visitors, server)
    yield opened
    opened.close()
