"""Strokes with a real mouse on the real editor, and the files and numbers that come of them."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest

import medseg
from medseg import metrics
from medseg.data.samples import load_data
from tests.conftest import ROOT

if TYPE_CHECKING:
    from playwright.sync_api import Page

EXAMPLE = ROOT / "assets" / "examples" / "endoscopy-1.png"
SIDE = 512
LOADING_MS = 4000
"""Nothing on the page tells when the editor, drawn without a GPU here, has its image or its stroke."""


@pytest.fixture
def editor(page: Page) -> Page:
    """The page with the editor open on an empty mask."""
    page.click("#correct button >> nth=0")
    page.wait_for_selector("#change td")
    page.get_by_role("button", name="Begin with an empty mask").click()
    page.wait_for_function("() => document.querySelector('#change').innerText.includes('an empty mask')")
    page.wait_for_timeout(LOADING_MS)
    return page


def stroke(page: Page, *places: tuple[float, float]) -> None:
    """Draw from place to place, (x, y) in pixels of the image as it lies in the middle of the canvas."""
    page.locator("#editor").scroll_into_view_if_needed()
    box = page.locator("#editor canvas").first.bounding_box()
    assert box
    zoom = float(page.locator("#editor").get_by_text("%").inner_text().strip("% ")) / 100
    left, top = box["x"] + box["width"] / 2 - SIDE / 2 * zoom, box["y"] + box["height"] / 2 - SIDE / 2 * zoom
    for number, (x, y) in enumerate(places):
        page.mouse.move(left + x * zoom, top + y * zoom, steps=1 if number == 0 else 8)
        if number == 0:
            page.mouse.down()
    page.mouse.up()
    page.wait_for_timeout(LOADING_MS)


def changes(page: Page) -> list[int]:
    """Pixels added, removed, before and after, once asked for."""
    page.evaluate("() => document.querySelector('#change table').setAttribute('data-old', '')")
    page.click("#see-change")
    page.wait_for_selector("#change table:not([data-old])")
    cells = page.locator("#change td").all_inner_texts()
    return [int(cell.removesuffix(" px").replace(",", "")) for cell in cells[-4:]]


def downloaded_pair(page: Page, folder: Path) -> tuple[np.ndarray, np.ndarray]:
    with page.expect_download() as download:
        page.click("#get-pair")
    path = folder / download.value.suggested_filename
    download.value.save_as(path)
    image, masks = load_data(path, labels=["blob"]).samples[0].read(["blob"])
    return image.pixels, masks[0]


def test_a_stroke_becomes_the_truth_and_a_pair_to_train_on(
    editor: Page, tmp_path: Path, tiny_ensemble: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MEDSEG_CACHE", str(tmp_path / "cache"))
    stroke(editor, (150, 200), (350, 200))
    added, removed, before, after = changes(editor)
    assert (removed, before, added) == (0, 0, after)
    pixels, mask = downloaded_pair(editor, tmp_path)
    assert np.array_equal(pixels, medseg.read_image(EXAMPLE).pixels)
    assert int(mask.sum()) == after
    rows, columns = np.nonzero(mask)
    assert abs(rows.mean() - 200) < 3
    assert abs(columns.mean() - 250) < 3
    assert mask[200, 160:340].all()

    editor.click("#use-as-truth")
    editor.wait_for_function("() => document.querySelector('#scores').innerText.includes('begun with an empty mask')")
    ours = medseg.Ensemble.from_pretrained(tiny_ensemble).predict(medseg.read_image(EXAMPLE)).masks[0]
    dice = metrics.confusion(ours, mask).dice
    assert f"{dice:.3f}" in editor.locator("#scores tr", has_text="Ensemble").inner_text()


def test_red_takes_out_of_the_ensembles_mask_and_nothing_else_changes(
    editor: Page, tmp_path: Path, tiny_ensemble: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MEDSEG_CACHE", str(tmp_path / "cache"))
    ours = medseg.Ensemble.from_pretrained(tiny_ensemble).predict(medseg.read_image(EXAMPLE)).masks[0]
    editor.get_by_role("button", name="Begin with the ensemble's mask").click()
    editor.wait_for_function("() => document.querySelector('#change').innerText.includes('the ensemble')")
    editor.wait_for_timeout(LOADING_MS)
    editor.locator("#editor [aria-label=Color]").click()
    editor.locator("#editor menu button").nth(1).click()
    stroke(editor, (100, 256), (400, 256))
    added, removed, before, after = changes(editor)
    assert (added, before) == (0, int(ours.sum()))
    assert after == before - removed < before
    _, mask = downloaded_pair(editor, tmp_path)
    changed = mask != ours
    assert int(changed.sum()) == removed
    assert not changed[:226].any()  # the brush is 10 to 60 pixels wide
    assert not changed[286:].any()


def test_another_image_empties_the_editor_and_begins_with_its_own_mask(editor: Page) -> None:
    stroke(editor, (150, 200), (350, 200))
    editor.locator("#examples button").nth(1).click()
    editor.wait_for_function("() => document.querySelector('#change').innerText.includes('the ensemble')")
    editor.wait_for_timeout(LOADING_MS)
    editor.click("#use-as-truth")
    editor.wait_for_function("() => document.querySelector('#scores').innerText.includes('begun with the ensemble')")
    assert "1.000" in editor.locator("#scores tr", has_text="Ensemble").locator("td").nth(2).inner_text()
