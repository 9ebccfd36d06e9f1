"""WebGL2 in a real Chromium, drawn in software: its blends beside the library's, its views beside the 2-D canvas."""

from __future__ import annotations

import io
from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np
import PIL.Image
import pytest

from tests.browser.test_page_blend import (
    BLENDS,
    HEIGHT,
    LABELS,
    MEMBERS,
    WIDTH,
    compare,
    compare_exclusive,
    drawn,
    exclusive,
    settings,
)
from tests.running_app import CHROMIUM, FLAGS, SOFTWARE_GL, open_page

pytest.importorskip("gradio")

from medseg.app.render.planes import to_codes
from medseg.app.viewer.components import read
from tests.app.test_planes import chances

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

MIXED = """([planes, width, height, hows, weights, isJoint, cutOff]) => {
    const glass = window.glass ??= newGlass(document.createElement('canvas'), true);
    glass.load(planes.map(of => of.map(plane => Uint16Array.from(plane))), width, height, isJoint);
    return hows.map(how => {
        glass.mix(planes.map((_, label) => ({ label, weights })), how, cutOff);
        return planes.map((_, k) => [...glass.read(k)]);
    });
}"""
HALF_A_STEP = 8e-6
"""By which `show` lowers the cut-off: a probability has 16 bits there."""


@pytest.fixture(scope="module")
def software(browser: Browser) -> Iterator[Browser]:
    """A Chromium with WebGL2, though in software."""
    chromium = browser.browser_type.launch(executable_path=str(CHROMIUM), args=[*FLAGS, *SOFTWARE_GL])
    yield chromium
    chromium.close()


@pytest.fixture(scope="module")
def scripts(software: Browser) -> Iterator[Page]:
    page = software.new_page()
    page.add_script_tag(content=read("blend.js") + read("glass.js"))
    yield page
    page.close()


def mixed(scripts: Page, codes: np.ndarray, setting: tuple[np.ndarray, float], is_joint: bool) -> np.ndarray:
    """The layers (blends, K, h, w) at weights (M, K) and a cut-off."""
    planes = codes.swapaxes(0, 1).reshape(codes.shape[1], MEMBERS, -1).tolist()
    weights, cut_off = setting
    layers = scripts.evaluate(MIXED, [planes, WIDTH, HEIGHT, BLENDS, weights.T.tolist(), is_joint, cut_off])
    return np.reshape(layers, (len(BLENDS), -1, HEIGHT, WIDTH)) + HALF_A_STEP


@pytest.mark.parametrize("seed", range(8))
def test_masks_by_webgl_are_the_librarys_but_within_a_step_of_the_cut_off(scripts: Page, seed: int) -> None:
    members, (weights, cut_off) = drawn(seed), settings(seed, 1)
    for how, layers in zip(BLENDS, mixed(scripts, to_codes(members), (weights, cut_off), False), strict=True):
        compare(layers[0], members, how, weights, cut_off)
    codes, (weights, cut_off) = exclusive(seed), settings(seed, LABELS)
    for how, layers in zip(BLENDS, mixed(scripts, codes, (weights, cut_off), True), strict=True):
        compare_exclusive(layers, chances(codes), how, weights, cut_off)


def stages(page: Page) -> list[np.ndarray]:
    """What is seen of the image in each view, the image alone last, without the buttons over it."""
    box = page.locator("#viewer .stage").bounding_box()
    assert box
    area = {"x": box["x"], "y": box["y"], "width": box["width"] - 60, "height": box["height"]}
    shots = []
    for view in range(1, 7):
        page.keyboard.press(str(view))
        page.evaluate("() => new Promise(done => requestAnimationFrame(() => requestAnimationFrame(done)))")
        shots.append(page.screenshot(clip=area))
    return [np.asarray(PIL.Image.open(io.BytesIO(shot)).convert("RGB")).astype(int) for shot in shots]


def test_every_view_looks_as_on_the_2d_canvas_also_after_the_context_is_lost(software: Browser, server: str) -> None:
    context = software.new_context(viewport={"width": 1000, "height": 700})
    page = open_page(context, server + "/?draw=webgl")
    assert page.evaluate("() => medseg.look().way") == "webgl"
    resting = stages(page)
    page.locator("#mixer .member input").first.evaluate("slider => slider.dispatchEvent(new Event('input'))")
    moving = stages(page)  # blended by WebGL2, as no library has answered
    page.evaluate(
        "document.querySelector('.glass').getContext('webgl2').getExtension('WEBGL_lose_context').loseContext()"
    )
    page.wait_for_function("() => medseg.look().way === '2d'")
    *plain, alone = stages(page)
    for view, expected in enumerate(plain, 1):
        assert np.abs(expected - alone).mean() > 1, view
        for shown in (resting[view - 1], moving[view - 1]):  # lines differ in their edges
            assert np.abs(shown - expected).mean() < 5, view
            assert (np.abs(shown - expected).max(axis=2) > 60).mean() < 0.03, view
    context.close()


def test_software_is_left_to_the_2d_canvas(software: Browser) -> None:
    page = software.new_page()
    page.add_script_tag(content=read("blend.js") + read("glass.js"))
    assert page.evaluate("() => newGlass(document.createElement('canvas')) === null")
    page.close()
