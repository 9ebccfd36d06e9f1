"""What a visitor does, with real clicks and keys in a real browser, and what the library says of the same."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import PIL.Image
import pytest

import medseg
from medseg.export.png import write_mask
from tests.conftest import ROOT, write_disc_pair

if TYPE_CHECKING:
    from playwright.sync_api import Page


@pytest.fixture
def photo(tmp_path: Path) -> Path:
    """A JPEG of 480 × 360 pixels; its true mask lies in masks/disc.png."""
    write_disc_pair(tmp_path, "disc", 5, size=(360, 480))
    path = tmp_path / "disc.jpg"
    with PIL.Image.open(tmp_path / "images" / "disc.png") as stored:
        stored.save(path, quality=92)
    return path


@pytest.fixture
def film() -> Path:
    """The real 16-bit MONOCHROME1 chest film."""
    data = pytest.importorskip("pydicom.data")
    pytest.importorskip("data_store", reason="pydicom-data is not installed (extra dev)")
    return Path(data.get_testdata_file("RG1_J2KR.dcm", download=False))


def shown_image(page: Page) -> str:
    """The result of the library's that the viewer shows: each has a number of its own."""
    return page.locator("#viewer [data-result]").get_attribute("data-result") or ""


def wait_for_another_image(page: Page, before: str) -> None:
    page.wait_for_function(
        "before => document.querySelector('#viewer [data-result]').dataset.result !== before", arg=before
    )


def upload(page: Page, path: Path) -> None:
    before = shown_image(page)
    page.set_input_files("#upload input[type=file]", path)
    wait_for_another_image(page, before)


def says(page: Page, place: str, words: str) -> None:
    """Wait until the text of `place` has the words."""
    page.wait_for_function(
        "([place, words]) => document.querySelector(place).innerText.includes(words)", arg=[place, words]
    )


def press(page: Page, slider: int, key: str) -> None:
    """Move the slider (members first, then the cut-off) with a key, and wait for the library's result."""
    before = shown_image(page)
    handle = page.locator("#mixer input[type=range]").nth(slider)
    handle.focus()
    page.keyboard.press(key)
    wait_for_another_image(page, before)


def downloaded(page: Page, label: str, folder: Path) -> Path:
    """The file of the format that the list shows as `label`, as it is saved."""
    page.click("#download .more")
    with page.expect_download() as download:
        page.get_by_role("menuitem", name=re.compile(f"^{re.escape(label)}")).click()
    path = folder / download.value.suggested_filename
    download.value.save_as(path)
    return path


def slider_values(page: Page) -> list[float]:
    handles = page.locator("#mixer input[type=range]")
    return [float(handles.nth(index).input_value()) for index in range(handles.count())]


def wait_for_weights(page: Page, weights: list[float]) -> None:
    """The image and the sliders come one after the other."""
    page.wait_for_function(
        """weights => {
            const handles = document.querySelectorAll("#mixer input[type=range]");
            return weights.every((weight, index) => Number(handles[index]?.value) === weight);
        }""",
        arg=weights,
    )


def test_a_visitor_uploads_an_image_moves_a_slider_and_downloads_the_librarys_mask(
    page: Page, photo: Path, tiny_ensemble: Path, tmp_path: Path
) -> None:
    upload(page, photo)
    page.set_input_files("#truth input[type=file]", tmp_path / "masks" / "disc.png")
    page.wait_for_function("() => document.querySelector('#scores').innerText.includes('the uploaded mask')")
    scores = page.inner_text("#scores")

    press(page, 0, "Home")  # the first member's weight becomes 0
    page.wait_for_function("before => document.querySelector('#scores').innerText !== before", arg=scores)
    path = downloaded(page, "Mask · PNG", tmp_path)

    first, second, threshold, _ = slider_values(page)
    assert first == 0
    image = medseg.read_image(photo)
    ours = medseg.Ensemble.from_pretrained(tiny_ensemble).predict(image, weights=[first, second], threshold=threshold)
    write_mask(ours.masks, image, tmp_path / "ours.png")
    assert path.name == "disc-mask.png"
    with PIL.Image.open(path) as theirs, PIL.Image.open(tmp_path / "ours.png") as expected:
        assert np.array_equal(np.asarray(theirs), np.asarray(expected))
    dice = medseg_dice(ours.masks, tmp_path / "masks" / "disc.png")
    assert f"{dice:.3f}" in page.locator("#scores tr", has_text="Ensemble").first.inner_text()


def medseg_dice(masks: np.ndarray, truth: Path) -> float:
    true = medseg.read_masks(truth, ["blob"])
    return 2 * float((masks & true).sum()) / float(masks.sum() + true.sum())


def test_a_slider_follows_the_mouse(page: Page) -> None:
    before = shown_image(page)
    box = page.locator("#mixer input[type=range]").nth(0).bounding_box()
    assert box
    page.mouse.move(box["x"] + box["width"] * 0.75, box["y"] + box["height"] / 2)
    page.mouse.down()
    page.mouse.move(box["x"] + 1, box["y"] + box["height"] / 2, steps=8)
    page.mouse.up()
    wait_for_another_image(page, before)
    assert slider_values(page)[0] < 0.1


def test_solo_equal_and_fitted_set_the_sliders(page: Page) -> None:
    for button, weights in (("Only this model", [1, 0]), ("All equal", [0.5, 0.5]), ("Recommended", [0.75, 0.25])):
        before = shown_image(page)
        page.locator("#mixer").get_by_role("button", name=button).first.click()
        wait_for_another_image(page, before)
        wait_for_weights(page, weights)


def test_the_blend_is_chosen_from_a_list_and_what_is_said_of_it_follows(page: Page) -> None:
    before = shown_image(page)
    page.select_option("#blend", "median")
    wait_for_another_image(page, before)
    says(page, "#mixer .about-blend", "The middle probability")
    page.wait_for_function("() => document.querySelector('#summary').innerText.includes('by median at')")
    press(page, 0, "Home")  # and it stays while a weight is moved
    assert page.locator("#blend").input_value() == "median"


def test_another_ensemble_brings_its_own_sliders(page: Page) -> None:
    if not (ROOT / "assets" / "ensembles" / "polyp" / "ensemble.json").exists():
        pytest.skip("the embedded polyp ensemble is not there")
    before = shown_image(page)
    page.locator("#ensemble input").click()
    page.get_by_role("option", name="polyp").click()
    wait_for_another_image(page, before)
    page.wait_for_function("() => document.querySelectorAll('#mixer .member').length === 3")
    press(page, 0, "Home")


def test_a_real_16_bit_film_is_shown_by_the_ensemble_for_films(page: Page, film: Path) -> None:
    upload(page, film)
    says(page, "#notes", "CR")
    page.wait_for_function("() => document.querySelector('#ensemble input').value === 'chest'")
    page.wait_for_selector("#file-size >> text=/^(1841 × 1955|1955 × 1841) px, grey$/")


def test_a_text_named_png_gives_the_sentence_and_the_old_image_stays(page: Page, tmp_path: Path) -> None:
    before, notes = shown_image(page), page.inner_text("#notes")
    (tmp_path / "notes.png").write_text("this is no image")
    page.set_input_files("#upload input[type=file]", tmp_path / "notes.png")
    toast = page.wait_for_selector(".toast-body")
    assert toast
    assert toast.inner_text().startswith("Not done\n")
    assert "notes.png: This file's content is none of PNG, JPEG" in toast.inner_text()
    assert "Traceback" not in page.inner_text("body")
    assert shown_image(page) == before
    assert page.locator("#viewer canvas").last.is_visible()
    assert page.inner_text("#notes") == notes
    press(page, 0, "Home")  # and the page goes on


def test_every_view_and_download_can_be_had(still: Page, tmp_path: Path) -> None:
    for button in ("Each model", "Probability", "Where models differ", "Uncertainty", "Image only", "Mask"):
        still.get_by_role("button", name=button, exact=True).click()
        assert still.get_by_role("button", name=button, exact=True).get_attribute("aria-pressed") == "true"
    still.get_by_role("button", name="Each model").click()
    still.wait_for_selector("#viewer .legend :text('random-0 75 %')")
    probabilities = downloaded(still, "Probabilities · npz", tmp_path)
    assert probabilities.name.endswith("-probabilities.npz")
    report = downloaded(still, "Report · JSON", tmp_path)
    assert "Research use only" in report.read_text()
    with np.load(probabilities) as stored:
        assert stored["probabilities"].shape == (1, 512, 512)
    still.get_by_role("button", name="Mask", exact=True).click()


def test_the_page_asks_no_other_host_and_says_what_it_is_for(page: Page, server: str) -> None:
    foreign: list[str] = []
    page.on("request", lambda r: foreign.append(r.url) if not r.url.startswith((server, "data:", "blob:")) else None)
    page.reload()
    page.wait_for_selector("#viewer [data-result]")
    assert foreign == []
    assert page.get_by_text("Research use only, not for diagnosis").first.is_visible()
