"""Loading from the Hub with real clicks: a real page, the real client, a Hub on loopback."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

from tests.hub_server import Hub
from tests.running_app import open_page

if TYPE_CHECKING:
    from playwright.sync_api import BrowserContext, Page

REPO = "tester/net"


@pytest.fixture(scope="module")
def page(visitors: BrowserContext, server: str) -> Iterator[Page]:
    """One visitor of a server that knows that Hub alone."""
    opened = open_page(visitors, server)
    opened.click("#hub button >> nth=0")
    yield opened
    opened.close()


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
