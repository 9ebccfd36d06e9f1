"""What axe-core finds wrong for people who use keys, screen readers or large contrasts: nothing; and nothing jumps."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

from tests.running_app import PATIENCE_S, ROOT, running_app
from tests.viewers.orthanc import CACHE

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

AXE = CACHE / "axe" / "package" / "axe.min.js"
SIZES = {"wide": (1440, 900), "phone": (390, 844)}
PARTS = ("Image", "Batch", "Fit to my data", "About the models")
SHEETS = ("models", "result", "truth", "image")

SHIFTS = """() => {
    window.shift = 0;
    new PerformanceObserver(list => list.getEntries().forEach(entry => {
        if (!entry.hadRecentInput) window.shift += entry.value;
    })).observe({ type: 'layout-shift', buffered: true });
}"""
AT_ONCE = "*, *::before, *::after { transition-duration: 0s !important; animation-duration: 0s !important }"
"""A style with which a colour is at once what it becomes."""
COLOURS = {"runOnly": ["color-contrast", "link-in-text-block"]}
"""What a scheme of colours can change."""
RUN = """async options => (await axe.run(document, { resultTypes: ['violations'], ...options })).violations.map(
    found => found.id + ': ' + found.nodes.map(node => node.target + ' ' + node.html.slice(0, 99)).join('; '))"""


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    """The page as it ships: with all embedded ensembles."""
    with running_app() as url:
        yield url


def opened(browser: Browser, server: str, size: str) -> Page:
    width, height = SIZES[size]
    context = browser.new_context(
        viewport={"width": width, "height": height}, color_scheme="light", has_touch=size == "phone", bypass_csp=True
    )
    context.set_default_timeout(PATIENCE_S * 1000)
    page = context.new_page()
    page.add_init_script(f"({SHIFTS})()")
    page.goto(server)
    page.wait_for_selector("#viewer [data-result]")
    page.wait_for_selector("#pull table", state="attached")
    return page


def look(page: Page, *where: str | None) -> None:
    """Run axe in the light, then in the dark, which decides of colours alone."""
    assert page.evaluate(RUN, {}) == [], where
    page.emulate_media(color_scheme="dark")
    page.wait_for_selector("body.dark")
    assert page.evaluate(RUN, COLOURS) == [], (*where, "dark")
    page.emulate_media(color_scheme="light")
    page.wait_for_selector("body:not(.dark)")


@pytest.mark.parametrize("size", SIZES)
def test_axe_finds_nothing_in_any_tab(browser: Browser, server: str, size: str) -> None:
    if not AXE.exists():
        pytest.skip("axe-core is not there: run tests/viewers/install (npm)")
    page = opened(browser, server, size)
    page.add_script_tag(path=AXE)
    page.add_style_tag(content=AT_ONCE)
    page.click("[data-do=pens]")
    look(page, "before drawing")
    page.click("[data-begin=nothing]")
    page.wait_for_selector(".drawing [data-tool=brush]")
    look(page, "while drawing")
    page.click("[data-do=pens]")
    for part in PARTS:
        page.get_by_role("tab", name=part).click()
        page.wait_for_timeout(300)
        if part == "Batch":
            page.set_input_files("#batch-files input[type=file]", ROOT / "assets" / "examples" / "brain-1.png")
            page.wait_for_selector("#batch-files td.filename:has-text('brain-1')")
        if part == "About the models":
            page.wait_for_selector("#about table")
        for sheet in SHEETS if size == "phone" and part == "Image" else (None,):
            if sheet:
                page.click(f"#sheets [data-sheet={sheet}]")
            look(page, part, sheet)
    page.context.close()


@pytest.mark.parametrize("size", SIZES)
def test_nothing_jumps_while_the_page_fills(browser: Browser, server: str, size: str) -> None:
    """In one of three openings: a busy machine draws in more parts, each of which Gradio moves by a little."""
    assert any(shift(opened(browser, server, size)) < 0.05 for _ in range(3))


def shift(page: Page) -> float:
    page.wait_for_timeout(1000)
    moved = float(page.evaluate("() => window.shift"))
    page.context.close()
    return moved
