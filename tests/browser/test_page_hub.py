"""Loading from the Hub with real clicks: a real page, the real client, a Hub on loopback."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING
from unittest import mock

import pytest

from tests.hub_server import Hub
from tests.running_app import open_page, running_app

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

REPO = "tester/net"


@pytest.fixture(scope="module")
def remote(plain_ensemble: Path) -> Iterator[Hub]:
    """A Hub with one ensemble."""
    with Hub() as server:
        files = [path for path in plain_ensemble.rglob("*") if path.is_file()]
        server.commit(REPO, {str(path.relative_to(plain_ensemble)): path.read_bytes() for path in files})
        yield server


@pytest.fixture(scope="module")
def page(
    browser: Browser, remote: Hub, tiny_ensemble: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Page]:
    """A visitor of a page whose server knows only that Hub."""
    home = tmp_path_factory.mktemp("hf-home")
    with mock.patch.dict(os.environ, remote.environment(home)), running_app(tiny_ensemble) as url:
        context = browser.new_context(viewport={"width": 1400, "height": 1000})
        opened = open_page(context, url)
        opened.click("#hub button >> nth=0")
        yield opened
        context.close()


def load(page: Page, repository: str) -> None:
    page.fill("#hub input, #hub textarea", repository)
    page.click("#hub button:has-text('Load')")


def test_a_repository_that_is_not_there_is_refused_in_a_sentence(page: Page) -> None:
    load(page, "tester/nothing")
    page.wait_for_selector("text=no such repository")
    assert page.input_value("#ensemble input") == "tiny-binary"


def test_a_stalled_download_is_cancelled_by_its_button(page: Page, remote: Hub) -> None:
    remote.break_("/resolve/", "drip")
    load(page, REPO)
    page.wait_for_selector("text=Asking the Hub")
    page.click("#hub button:has-text('Cancel')")
    page.wait_for_selector("text=cancelled")
    remote.mend()
    assert page.input_value("#ensemble input") == "tiny-binary"


def test_a_repository_is_loaded_and_gets_its_sliders(page: Page) -> None:
    load(page, REPO)
    page.wait_for_function("name => document.querySelector('#ensemble input').value === name", arg=REPO)
    page.wait_for_selector("#mixer >> text=random-1")
