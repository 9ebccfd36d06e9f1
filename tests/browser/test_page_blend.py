"""The browser's blends beside the library's, on drawn probabilities, in a real Chromium."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from scipy import ndimage

from medseg.inference.blend import blend, disagreement
from medseg.postprocess import to_masks

pytest.importorskip("gradio")

from medseg.app.render.planes import to_codes
from medseg.app.viewer.components import read
from tests.app.test_planes import chances

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

    from medseg.config import Blend

HEIGHT, WIDTH, MEMBERS, LABELS = 40, 56, 4, 3
BLENDS: tuple[Blend, ...] = ("weighted mean", "geometric", "median", "majority vote")

BLENDED = """([planes, width, height, how, weights, task, cutOff]) => {
    const given = planes.map(of => of.map(plane => Uint16Array.from(plane)));
    const labels = prepareAll(given, width, height, task);
    const inner = field => Array.from({length: height * width}, (_, at) =>
        field[(Math.floor(at / width) + 1) * (width + 2) + at % width + 1]);
    blendAll(labels, how, weights);
    if (labels.isJoint) exclude(labels, cutOff);
    const apart = new Float32Array(labels[0].field.length);
    spread(labels[0], weights[0], apart);
    return [...labels.map(label => inner(label.field)), inner(apart)];
}"""


@pytest.fixture(scope="module")
def scripts(browser: Browser) -> Iterator[Page]:
    """A page that knows the functions of blend.js."""
    page = browser.new_page()
    page.add_script_tag(content=read("blend.js"))
    yield page
    page.close()


def smooth(random: np.random.Generator, *shape: int, sigma: float, size: float) -> np.ndarray:
    spread = (0,) * (len(shape) - 2) + (sigma, sigma)
    return np.asarray(ndimage.gaussian_filter(random.normal(size=shape), spread) * size)


def drawn(seed: int) -> np.ndarray:
    """Members' probabilities (M, 1, h, w) of a few soft blobs, each member's a little elsewhere."""
    random = np.random.default_rng(seed)
    noise = smooth(random, MEMBERS, HEIGHT, WIDTH, sigma=3, size=12)
    common = smooth(random, HEIGHT, WIDTH, sigma=6, size=90)
    return np.asarray((1 / (1 + np.exp(-(common + noise) / 2)))[:, np.newaxis].astype(np.float16))


def exclusive(seed: int) -> np.ndarray:
    """Members' codes (M, K, h, w) for labels that exclude each other."""
    random = np.random.default_rng(seed)
    noise = smooth(random, MEMBERS, LABELS + 1, HEIGHT, WIDTH, sigma=3, size=12)
    logits = np.exp(smooth(random, LABELS + 1, HEIGHT, WIDTH, sigma=6, size=60) + noise)
    return to_codes((logits / logits.sum(axis=1, keepdims=True))[:, 1:])


def in_browser(
    scripts: Page, codes: np.ndarray, how: str, setting: tuple[np.ndarray, float], task: str = "binary"
) -> np.ndarray:
    """The fields (K, h, w) that blend.js makes, and the disagreement after them, at weights (M, K) and a cut-off."""
    weights, cut_off = setting
    planes = codes.swapaxes(0, 1).reshape(codes.shape[1], MEMBERS, -1).tolist()
    fields = scripts.evaluate(BLENDED, [planes, WIDTH, HEIGHT, how, weights.T.tolist(), task, cut_off])
    return np.reshape(fields, (-1, HEIGHT, WIDTH))


def settings(seed: int, labels: int) -> tuple[np.ndarray, float]:
    """Weights (M, labels), one member's 0, and a cut-off."""
    random = np.random.default_rng(100 + seed)
    weights = random.random((MEMBERS, labels)).round(2)
    weights[seed % MEMBERS] = 0.0
    return weights, float(random.uniform(0.2, 0.8))


@pytest.mark.parametrize("seed", range(8))
def test_masks_are_the_librarys_but_within_a_step_of_the_cut_off(scripts: Page, seed: int) -> None:
    members, (weights, cut_off) = drawn(seed), settings(seed, 1)
    for how in BLENDS:
        compare(in_browser(scripts, to_codes(members), how, (weights, cut_off))[0], members, how, weights, cut_off)


def compare(field: np.ndarray, members: np.ndarray, how: Blend, weights: np.ndarray, cut_off: float) -> None:
    ours = blend(members, how, weights[:, 0].tolist(), "binary")
    differs = (field >= cut_off) != to_masks(ours, cut_off, "binary")[0]
    assert not (differs & (np.abs(ours[0] - cut_off) > 1 / 255)).any(), how
    assert np.abs(field - ours[0]).max() <= 1 / 255, how


@pytest.mark.parametrize("seed", range(8))
def test_labels_that_exclude_each_other_get_the_librarys_pixels(scripts: Page, seed: int) -> None:
    codes, (weights, cut_off) = exclusive(seed), settings(seed, LABELS)
    for how in BLENDS:
        fields = in_browser(scripts, codes, how, (weights, cut_off), "multiclass")[:LABELS]
        compare_exclusive(fields, chances(codes), how, weights, cut_off)


def compare_exclusive(fields: np.ndarray, members: np.ndarray, how: Blend, weights: np.ndarray, cut_off: float) -> None:
    """Of the same codes the same masks, but where the sum is at the cut-off or two labels are equal."""
    ours = blend(members, how, weights.tolist(), "multiclass")
    sums, order = ours.sum(axis=0), np.sort(ours, axis=0)
    near = (np.abs(sums - cut_off) < 1e-4) | (order[-1] - order[-2] < 1e-4)
    masks = to_masks(ours, cut_off, "multiclass")
    assert masks.any()
    assert not (((fields >= cut_off) != masks) & ~near).any(), how


def test_where_models_differ_is_the_librarys_disagreement(scripts: Page) -> None:
    members, weights = drawn(3), [0.2, 0.5, 0.0, 0.3]
    apart = in_browser(scripts, to_codes(members), "weighted mean", (np.array(weights)[:, np.newaxis], 0.5))[-1]
    assert np.abs(apart - disagreement(members, weights)).max() < 2 / 255


def test_an_outline_runs_between_the_pixels_inside_and_outside(scripts: Page) -> None:
    rings: Any = scripts.evaluate(
        """() => {
            const plane = new Uint16Array(6 * 8);
            for (const at of [1 * 8 + 1, 1 * 8 + 2, 2 * 8 + 1, 2 * 8 + 2, 5 * 8 + 7]) plane[at] = CODES - 1;
            const label = prepare([plane], 8, 6);
            blend(label, 'weighted mean', [1]);
            return outlines(label.field, label.cells, 8, 6, 0.5);
        }"""
    )
    square, corner = (np.reshape(ring, (-1, 2)) for ring in rings)
    assert (square.min(axis=0).tolist(), square.max(axis=0).tolist()) == ([1, 1], [3, 3])  # 2 × 2 pixels
    assert (corner.min(axis=0).tolist(), corner.max(axis=0).tolist()) == ([7, 5], [8, 6])  # it ends at the image's edge


@pytest.mark.parametrize("cut_off", [0.5, 0.57])  # which is 0.569999993 in 32 bits
def test_a_clean_up_of_the_library_bends_what_all_members_agree_on(scripts: Page, cut_off: float) -> None:
    count = scripts.evaluate(
        """cutOff => {
            const plane = new Uint16Array(64);
            for (const at of [9, 10, 54]) plane[at] = CODES - 1;
            const label = prepare([plane, plane], 8, 8), mask = new Uint8Array(64);
            mask[9] = mask[10] = 1;
            blend(label, 'weighted mean', [1, 1]);
            return outlines(label.field, bend(label, mask, 0, cutOff), 8, 8, cutOff).length;
        }""",
        cut_off,
    )
    assert count == 1
