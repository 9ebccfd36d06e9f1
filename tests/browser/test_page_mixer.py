"""The mixer's controls with real clicks and keys, and what the library says of the same."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import PIL.Image
import pytest

import medseg
from medseg.calibration.calibrate import judge, load_calibration
from medseg.config import Cleanup
from medseg.errors import MedsegWarning
from medseg.export.png import write_mask
from tests.browser.test_page import (
    downloaded,
    press,
    says,
    shown_image,
    slider_values,
    upload,
    wait_for_another_image,
    wait_for_weights,
)
from tests.conftest import ROOT, write_disc_pair

if TYPE_CHECKING:
    from playwright.sync_api import Page

POLYP = ROOT / "assets" / "ensembles" / "polyp"
POLYP_MEMBERS = ("U-Net", "FPN", "DeepLabV3+")


@pytest.fixture
def photo(tmp_path: Path) -> Path:
    write_disc_pair(tmp_path, "disc", 5, size=(96, 128))
    return tmp_path / "images" / "disc.png"


def choose_ensemble(page: Page, name: str, members: tuple[str, ...]) -> None:
    """Choose it and wait until the mixer shows its members: for a moment it may show some of the ensemble before."""
    before = shown_image(page)
    page.locator("#ensemble input").click()
    page.get_by_role("option", name=name, exact=True).click()
    wait_for_another_image(page, before)
    page.wait_for_function(
        """names => {
            const shown = [...document.querySelectorAll("#mixer .member span")].map(name => name.textContent);
            return JSON.stringify(shown) === JSON.stringify(names);
        }""",
        arg=members,
    )


def open_more(page: Page) -> None:
    page.click("#fine-settings summary")
    page.get_by_label("Average over flips").wait_for()


def same_mask(page: Page, prediction: medseg.Prediction, folder: Path) -> bool:
    """Whether the page's download is the library's file."""
    path = downloaded(page, "Mask · PNG", folder)
    write_mask(prediction.masks, prediction.image, folder / "ours.png")
    with PIL.Image.open(path) as theirs, PIL.Image.open(folder / "ours.png") as ours:
        return np.array_equal(np.asarray(theirs), np.asarray(ours))


def test_a_damaged_member_is_named_and_the_others_share_its_weight(
    page: Page, hurt: Path, photo: Path, tmp_path: Path
) -> None:
    choose_ensemble(page, "hurt", ("random-0", "random-2"))
    says(page, "#notes", "The member m1 is damaged")
    assert "the others share its weight" in page.inner_text("#notes")
    wait_for_weights(page, [0.71, 0.29])  # 0.5 and 0.2 of 0.7
    upload(page, photo)
    with pytest.warns(MedsegWarning, match="goes on without it"):
        rest = medseg.Ensemble.from_pretrained(hurt)
    assert same_mask(page, rest.predict(medseg.read_image(photo)), tmp_path)
    press(page, 0, "Home")  # and its sliders work
    assert same_mask(page, rest.predict(medseg.read_image(photo), weights=[0, 1]), tmp_path)


def test_a_label_is_weighed_by_itself_and_hidden_by_its_box(
    page: Page, labelled: Path, photo: Path, tmp_path: Path
) -> None:
    choose_ensemble(page, "labelled", ("random-0", "random-1"))
    upload(page, photo)
    page.select_option("#weights-of", label="heart")
    assert slider_values(page)[:2] == [0.75, 0.25]
    assert page.input_value("#cut-typed") == "0.52"
    page.fill("#cut-typed", "0.51")
    press(page, 0, "Home")
    says(page, "#scores", "Add the true mask")
    ensemble, image = medseg.Ensemble.from_pretrained(labelled), medseg.read_image(photo)
    ours = ensemble.predict(image, weights=[[0.75, 0], [0.25, 0.25]], threshold=(0.48, 0.51))
    assert same_mask(page, ours, tmp_path)
    open_more(page)
    before = shown_image(page)
    page.locator("#labels").get_by_label("lung").uncheck()
    wait_for_another_image(page, before)
    assert same_mask(page, ours, tmp_path)
    page.select_option("#weights-of", label="lung")
    page.wait_for_function("() => document.querySelector('#mixer input[type=range]').value === '0.75'")


def test_a_mask_that_is_saved_at_once_is_that_of_the_sliders(
    page: Page, labelled: Path, photo: Path, tmp_path: Path
) -> None:
    """Not that of the settings before, of which Python knows while a key may come again."""
    choose_ensemble(page, "labelled", ("random-0", "random-1"))
    upload(page, photo)
    ensemble, image = medseg.Ensemble.from_pretrained(labelled), medseg.read_image(photo)
    for key in ("Home", "End", "Home"):
        page.locator("#mixer input[type=range]").first.press(key)
        weights = slider_values(page)[:2]
        assert same_mask(page, ensemble.predict(image, weights=weights), tmp_path), weights


def test_flips_and_least_area_are_the_librarys(page: Page, labelled: Path, photo: Path, tmp_path: Path) -> None:
    choose_ensemble(page, "labelled", ("random-0", "random-1"))
    upload(page, photo)
    open_more(page)
    page.get_by_label("Average over flips").check()
    says(page, "#summary", "each model averaged over flips")
    ensemble, image = medseg.Ensemble.from_pretrained(labelled), medseg.read_image(photo)
    ours = ensemble.predict(image, tta=True)
    assert same_mask(page, ours, tmp_path)
    page.get_by_label("Least area, px").fill("200")
    page.keyboard.press("Tab")
    says(page, "#summary", "without pieces under 200 px")
    assert same_mask(page, dataclasses.replace(ours, cleanup=Cleanup(min_area_px=200)), tmp_path)


def test_the_predicted_dice_is_the_librarys_and_goes_when_a_slider_leaves_what_was_calibrated(page: Page) -> None:
    if not (POLYP / "calibration.json").exists():
        pytest.skip("the embedded polyp ensemble is not there")
    choose_ensemble(page, "polyp", POLYP_MEMBERS)
    says(page, "#trust", "Predicted Dice")
    ensemble = medseg.Ensemble.from_pretrained(POLYP)
    prediction = ensemble.predict(medseg.read_image(ROOT / "assets" / "examples" / "endoscopy-1.png"))
    trust = judge(load_calibration(POLYP, ensemble), prediction)
    says(page, "#trust", f"Predicted Dice {trust.dice:.2f}, 90 % interval {trust.low:.2f} to {trust.high:.2f}.")

    open_more(page)
    before = shown_image(page)
    page.select_option("#rate", label="5 %")
    wait_for_another_image(page, before)
    says(page, "#summary", "misses at most 5% of the truth")
    says(page, "#viewer .legend", "surely (inside)")
    says(page, "#viewer .legend", "possibly (outside)")

    press(page, 0, "Home")
    says(page, "#trust", "No predicted Dice: these settings are not calibrated")
    page.wait_for_selector("#rate", state="hidden")
    assert "misses at most" not in page.inner_text("#summary")
    page.get_by_role("button", name="Recommended").click()
    says(page, "#trust", f"Predicted Dice {trust.dice:.2f}")
    page.wait_for_selector("#rate", state="visible")


def test_an_image_unlike_the_training_images_is_to_be_looked_at(page: Page) -> None:
    if not POLYP.exists():
        pytest.skip("the embedded polyp ensemble is not there")
    before = shown_image(page)
    page.locator("#examples button", has_text="Synthetic chest").click()  # for which the page takes another ensemble
    wait_for_another_image(page, before)
    open_more(page)
    choose_ensemble(page, "chest", POLYP_MEMBERS)  # which are of the same architectures
    page.wait_for_selector("#flips:disabled")  # films lie one way
    choose_ensemble(page, "polyp", POLYP_MEMBERS)
    page.wait_for_selector("#flips:enabled")
    says(page, "#trust", "Look at this yourself")
    assert "unlike what the ensemble was trained on" in page.inner_text("#trust")
    assert "Predicted Dice" not in page.inner_text("#trust")
