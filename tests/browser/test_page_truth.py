"""The scores as images, with real clicks, beside the library's numbers."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING

import medseg
from medseg import metrics
from tests.conftest import ROOT

if TYPE_CHECKING:
    from playwright.sync_api import Page

    from medseg.inference.prediction import Prediction

EXAMPLE = ROOT / "assets" / "examples" / "endoscopy-1.png"


def library(ensemble: Path, weights: tuple[float, float], threshold: float = 0.5) -> Prediction:
    image = medseg.read_image(EXAMPLE)
    return medseg.Ensemble.from_pretrained(ensemble).predict(image, weights=weights, threshold=threshold)


def dice(prediction: Prediction) -> str:
    truth = medseg.read_masks(EXAMPLE.with_name("endoscopy-1_mask.png"), ["blob"])
    return f"{metrics.confusion(prediction.masks[0], truth[0]).dice:.3f}"


def open_tab(page: Page, name: str, place: str) -> str:
    """The text of a tab of the scores, once it is there."""
    page.get_by_role("tab", name=name, exact=True).click()
    page.wait_for_function("place => document.querySelector(place)?.innerText.trim()", arg=place)
    return page.inner_text(place)


def test_bars_name_every_mask_with_the_librarys_dice_and_follow_a_slider(page: Page, tiny_ensemble: Path) -> None:
    text = open_tab(page, "Bars", "#bars dl")
    wanted = [dice(library(tiny_ensemble, weights)) for weights in ((0.75, 0.25), (1, 0), (0, 1))]
    assert text.split() == [
        word for pair in zip(("Ensemble", "random-0", "random-1"), wanted, strict=True) for word in pair
    ]
    assert "foreground only" in page.inner_text("#bars")

    page.locator("#mixer input[type=range]").nth(0).focus()
    page.keyboard.press("Home")  # the first member's weight becomes 0
    page.wait_for_function(
        "() => (words => words[1] === words[5])(document.querySelector('#bars dl').innerText.split(/\\s+/))"
    )


def test_the_error_map_counts_what_the_library_counts(page: Page, tiny_ensemble: Path) -> None:
    text = open_tab(page, "Error map", "#error-map ul")
    truth = medseg.read_masks(EXAMPLE.with_name("endoscopy-1_mask.png"), ["blob"])
    found = metrics.confusion(library(tiny_ensemble, (0.75, 0.25)).masks[0], truth[0])
    assert re.findall(r"([a-z ]+): ([\d,]+) px", text) == [
        ("hit", f"{found.tp:,}"),
        ("false alarm", f"{found.fp:,}"),
        ("miss", f"{found.fn:,}"),
    ]
    assert page.evaluate("() => document.querySelector('#error-map img').naturalWidth") == 512


def test_the_curve_marks_the_present_threshold_and_moves_with_it(page: Page, tiny_ensemble: Path) -> None:
    assert "now 0.50" in open_tab(page, "Cut-off", "#cut-off figure")
    page.locator("#mixer input[type=range]").nth(2).focus()
    page.keyboard.press("ArrowRight")
    page.wait_for_function("() => document.querySelector('#cut-off figure')?.innerHTML.includes('now 0.51')")
    assert f"Ensemble: {dice(library(tiny_ensemble, (0.75, 0.25), 0.51))} now" in page.inner_text("#cut-off ul")
