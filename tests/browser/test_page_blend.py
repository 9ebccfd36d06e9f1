"""The browser's blends beside the library's, on drawn probabilities, in a real Chromium."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from scipy import ndimage

from medseg.app.render.planes import to_bytes
from medseg.inference.blend import blend, disagreement
from medseg.postprocess import to_masks

pytest.importorskip("gradio")

from medseg.app.viewer.components import read

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

    from medseg.config import Blend

HEIGHT, WIDTH, MEMBERS = 40, 56, 4
BLENDS: tuple[Blend, ...] = ("weighted mean", "geometric", "median", "majority vote")

BLENDED = """([planes, width, height, how, weights]) => {
    const label = prepare(planes.map(plane => Uint8Array.from(plane)), width, height);
    blend(label, how, weights);
    const apart = new Float32Array(label.field.length);
    spread(label, weights, apart);
    const inner = field => Array.from({length: height * width}, (_, at) =>
        field[(Math.floor(at / width) + 1) * (width + 2) + at % width + 1]);
    return [inner(label.field), inner(apart)];
}"""


@pytest.fixture(scope="module")
def scripts(browser: Browser) -> Iterator[Page]:
    """A page that knows the functions of blend.js."""
    page = browser.new_page()
    page.add_script_tag(content=read("blend.js"))
    yield page
    page.close()


def drawn(seed: int) -> np.ndarray:
    """Members' probabilities (M, 1, h, w) of a few soft blobs, each member's a little elsewhere."""
    random = np.random.default_rng(seed)
    noise = ndimage.gaussian_filter(random.normal(size=(MEMBERS, HEIGHT, WIDTH)), (0, 3, 3)) * 12
    common = ndimage.gaussian_filter(random.normal(size=(HEIGHT, WIDTH)), 6) * 90
    return (1 / (1 + np.exp(-(common + noise) / 2)))[:, np.newaxis].astype(np.float16)


def in_browser(scripts: Page, members: np.ndarray, how: str, weights: list[float]) -> tuple[np.ndarray, np.ndarray]:
    planes = to_bytes(members[:, 0]).reshape(MEMBERS, -1).tolist()
    field, apart = scripts.evaluate(BLENDED, [planes, WIDTH, HEIGHT, how, weights])
    return np.reshape(field, (HEIGHT, WIDTH)), np.reshape(apart, (HEIGHT, WIDTH))


@pytest.mark.parametrize("seed", range(20))
def test_masks_are_the_librarys_but_within_a_step_of_the_cut_off(scripts: Page, seed: int) -> None:
    members, random = drawn(seed), np.random.default_rng(100 + seed)
    weights = random.random(MEMBERS).round(2).tolist()
    weights[seed % MEMBERS] = 0.0
    cut_off = float(random.uniform(0.2, 0.8))
    for how in BLENDS:
        field, _ = in_browser(scripts, members, how, weights)
        ours = blend(members, how, weights, "binary")
        differs = (field >= cut_off) != to_masks(ours, cut_off, "binary")[0]
        assert not (differs & ~_near(members, ours, how, weights, cut_off)).any(), how
        assert to_masks(ours, cut_off, "binary").any() or how == "majority vote" or seed != 0


def _near(members: np.ndarray, ours: np.ndarray, how: Blend, weights: list[float], cut_off: float) -> np.ndarray:
    """Pixels within 1/255 of the cut-off. In the geometric mean a byte's rounding of a member near 0 or 1 weighs more:
    there, pixels that members who are 1/510 lower or higher would put on either side."""
    if how != "geometric":
        return np.asarray(np.abs(ours[0] - cut_off) <= 1 / 255)
    low, high = (
        blend((members.astype(np.float32) + step).clip(0, 1), how, weights, "binary")[0] for step in (-1 / 510, 1 / 510)
    )
    return np.asarray((low <= cut_off) & (cut_off <= high))


def test_where_models_differ_is_the_librarys_disagreement(scripts: Page) -> None:
    members, weights = drawn(3), [0.2, 0.5, 0.0, 0.3]
    _, apart = in_browser(scripts, members, "weighted mean", weights)
    assert np.abs(apart - disagreement(members, weights)).max() < 2 / 255


def test_an_outline_runs_between_the_pixels_inside_and_outside(scripts: Page) -> None:
    rings: Any = scripts.evaluate(
        """() => {
            const plane = new Uint8Array(6 * 8);
            for (const at of [1 * 8 + 1, 1 * 8 + 2, 2 * 8 + 1, 2 * 8 + 2, 5 * 8 + 7]) plane[at] = 255;
            const label = prepare([plane], 8, 6);
            blend(label, 'weighted mean', [1]);
            return outlines(label.field, label.cells, 8, 6, 0.5);
        }"""
    )
    square, corner = (np.reshape(ring, (-1, 2)) for ring in rings)
    assert (square.min(axis=0).tolist(), square.max(axis=0).tolist()) == ([1, 1], [3, 3])  # 2 × 2 pixels
    assert (corner.min(axis=0).tolist(), corner.max(axis=0).tolist()) == ([7, 5], [8, 6])  # it ends at the image's edge


def test_a_clean_up_of_the_library_bends_what_all_members_agree_on(scripts: Page) -> None:
    count = scripts.evaluate(
        """() => {
            const plane = new Uint8Array(64);
            for (const at of [9, 10, 54]) plane[at] = 255;
            const label = prepare([plane, plane], 8, 8), mask = new Uint8Array(64);
            mask[9] = mask[10] = 1;
            blend(label, 'weighted mean', [1, 1]);
            return outlines(label.field, bend(label, mask, 0, 0.5), 8, 8, 0.5).length;
        }"""
    )
    assert count == 1
