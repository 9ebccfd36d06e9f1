"""report.html as a browser shows it: by itself, on a phone, in the dark and on paper."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from medseg.evaluation.evaluate import evaluate
from medseg.report.evaluation_images import show
from medseg.report.evaluation_page import page
from tests.evaluation.test_evaluate import SAMPLES, TRAINING, two_members

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

BACKGROUND = "() => getComputedStyle(document.body).backgroundColor"


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The address of a page that a stranger's member tried to put a script and an image of elsewhere into."""
    ensemble = two_members()
    result = evaluate(ensemble, SAMPLES, TRAINING)
    text = page(result.report, show(ensemble, SAMPLES, result.scores), {"Data": "discs"})
    path: Path = tmp_path_factory.mktemp("report") / "report.html"
    smuggled = "<script>document.title = 'mine'</script><img src='http://127.0.0.1:9/x'>"
    path.write_text(text.replace("</body>", f"{smuggled}</body>"), encoding="utf-8")
    return path.as_uri()


@pytest.fixture
def opened(browser: Browser, report: str) -> Iterator[Page]:
    """On a phone."""
    context = browser.new_context(viewport={"width": 390, "height": 800})
    view_state = context.new_page()
    view_state.goto(report)
    yield view_state
    context.close()


def test_nothing_runs_and_nothing_is_fetched_even_where_something_got_in(browser: Browser, report: str) -> None:
    context = browser.new_context()
    view_state = context.new_page()
    asked: list[str] = []
    view_state.on("response", lambda response: asked.append(response.url))
    view_state.on("requestfailed", lambda request: asked.append(f"{request.failure} {request.url}"))
    view_state.goto(report)
    assert view_state.title() == "by-hand on the test split"
    foreign = [url for url in asked if "127.0.0.1" in url]
    assert foreign in ([], ["csp http://127.0.0.1:9/x"])
    context.close()


def test_images_are_shown_and_a_phone_needs_no_sideways_scrolling(opened: Page) -> None:
    widths = opened.evaluate("() => [...document.images].slice(0, -1).map(image => image.naturalWidth)")
    assert len(widths) == 3 * len(SAMPLES)
    assert all(width == 128 for width in widths)
    assert opened.evaluate("() => document.documentElement.scrollWidth") <= 390


def test_the_page_is_dark_where_the_reader_is_and_white_on_paper(opened: Page) -> None:
    opened.emulate_media(color_scheme="light")
    assert opened.evaluate(BACKGROUND) == "rgb(255, 255, 255)"
    opened.emulate_media(color_scheme="dark")
    assert opened.evaluate(BACKGROUND) == "rgb(20, 24, 28)"
    opened.emulate_media(color_scheme="dark", media="print")
    assert opened.evaluate(BACKGROUND) == "rgb(255, 255, 255)"
