"""Frames, windows and views by real clicks and keys in a real browser, and what the library says of the same."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import PIL.Image
import pytest

import medseg
from tests.reading.test_readers import write_dicom
from tests.reading.test_series import write_series
from tests.running_app import open_page

if TYPE_CHECKING:
    from playwright.sync_api import BrowserContext, Page

    from medseg.image import Image


def write_scan(folder: Path) -> Path:
    """A CT of three frames of 64 × 64 pixels of 1 mm, each with a rising slope of its own."""
    rising = np.arange(64 * 64, dtype=np.int16).reshape(64, 64) // 2 - 1000
    stack = np.stack([rising, rising[:, ::-1], rising.T])
    return write_dicom(folder / "scan.dcm", stack, WindowCenter=40, WindowWidth=400, PixelSpacing=[1, 1])


def open_scan(page: Page, scan: Path) -> Page:
    """The page with the CT open, and the controls for it drawn."""
    page.set_input_files("#upload input[type=file]", scan)
    wait_for_note(page, "frame 1 of 3")
    page.wait_for_selector("#window input")
    page.click(".insist")  # no ensemble of this page is made for a slope
    page.wait_for_selector(".insist", state="detached")
    return page


@pytest.fixture
def scan(tmp_path: Path) -> Path:
    return write_scan(tmp_path)


@pytest.fixture
def opened(page: Page, scan: Path) -> Page:
    return open_scan(page, scan)


@pytest.fixture(scope="module")
def unchanged(visitors: BrowserContext, server: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Page]:
    """The same page for all tests that change nothing of it but its size."""
    page = open_page(visitors, server)
    yield open_scan(page, write_scan(tmp_path_factory.mktemp("scan")))
    page.close()


def wait_for_note(page: Page, words: str) -> None:
    page.wait_for_function("words => document.querySelector('#notes').innerText.includes(words)", arg=words)


def mask_of(page: Page, folder: Path) -> np.ndarray:
    """The mask that a visitor downloads now."""
    with page.expect_download() as download:
        page.click("#download .main")  # a PNG mask
    download.value.save_as(folder / "mask.png")
    with PIL.Image.open(folder / "mask.png") as stored:
        return np.asarray(stored) > 0


def library_mask(ensemble: Path, image: Image) -> np.ndarray:
    return medseg.Ensemble.from_pretrained(ensemble).predict(image).masks[0]


def test_the_frame_slider_and_the_window_change_what_is_segmented(
    opened: Page, scan: Path, tiny_ensemble: Path, tmp_path: Path
) -> None:
    opened.locator("#frame input[type=range]").focus()
    opened.keyboard.press("End")
    wait_for_note(opened, "frame 3 of 3")
    expected = library_mask(tiny_ensemble, medseg.read_image(scan, frame=2))
    assert np.array_equal(mask_of(opened, tmp_path), expected)

    opened.locator("#window input").first.click()
    opened.get_by_role("option", name="Lung").click()
    wait_for_note(opened, "window -600 / 1500")
    through = library_mask(tiny_ensemble, medseg.read_image(scan, frame=2, window=(-600, 1500)))
    assert np.array_equal(mask_of(opened, tmp_path), through)

    opened.locator("#window input[type=range]").last.focus()
    opened.keyboard.press("Home")
    wait_for_note(opened, "window -600 / 1,")
    assert opened.locator("#window input").first.input_value() == "My own"


def test_all_frames_become_a_table_whose_rows_open_them_and_a_zip(
    opened: Page, scan: Path, tiny_ensemble: Path, tmp_path: Path
) -> None:
    opened.locator("#all-frames button").first.click()
    opened.get_by_role("button", name="Segment all 3 frames").click()
    opened.wait_for_selector("#get-frames")
    expected = library_mask(tiny_ensemble, medseg.read_image(scan, frame=1))
    opened.locator("#frame-areas").get_by_role("gridcell", name="2", exact=True).first.click()
    wait_for_note(opened, "frame 2 of 3")
    assert opened.locator("#frame input[type=range]").input_value() == "2"

    with opened.expect_download() as download:
        opened.click("#get-frames")
    download.value.save_as(tmp_path / "frames.zip")
    with zipfile.ZipFile(tmp_path / "frames.zip") as archive:
        png = io.BytesIO(archive.read("frame-002.png"))
    with PIL.Image.open(png) as stored:
        assert np.array_equal(np.asarray(stored) > 0, expected)


def test_the_series_of_a_study_are_offered_by_description(page: Page, tmp_path: Path) -> None:
    for number, (name, heights) in enumerate({"Localizer": [0, 5], "Lung": [0, 5, 10]}.items()):
        uid = f"1.2.{number}"
        write_series(tmp_path / "s" / name, heights, uid=uid, side=32, SeriesDescription=name, SeriesNumber=number)
    with zipfile.ZipFile(tmp_path / "study.zip", "w") as archive:
        for path in (tmp_path / "s").rglob("*.2.*"):
            archive.write(path, path.relative_to(tmp_path / "s"))
    page.set_input_files("#upload input[type=file]", tmp_path / "study.zip")
    wait_for_note(page, "frame 2 of 3")
    assert page.locator("#contents").inner_text().startswith("Series or image, of 2 uploaded")
    page.locator("#contents input").click()
    page.get_by_role("option", name="Localizer").click()
    wait_for_note(page, "frame 2 of 2")
    page.wait_for_function("document.querySelector('#file-name').textContent === 'study-series-0'")
    page.set_input_files("#upload input[type=file]", sorted((tmp_path / "s" / "Lung").iterdir()))
    wait_for_note(page, "frame 2 of 3")
    page.wait_for_selector("#contents", state="hidden")


def test_a_photograph_has_neither_frames_nor_window(still: Page) -> None:
    still.wait_for_selector("#mixer input[type=range]")
    assert still.locator("#frame, #window").count() == 0


UNNAMED = """() => [...document.querySelectorAll('input, button, select, textarea, img')]
    .filter(e => e.checkVisibility())
    .filter(e => !(e.ariaLabel || e.hasAttribute('alt') || e.title || e.innerText || e.labels?.length))
    .filter(e => !e.querySelector('img')?.alt)
    .map(e => e.outerHTML.slice(0, 200))"""


def test_every_control_and_image_has_a_name_for_screen_readers(unchanged: Page) -> None:
    assert unchanged.evaluate(UNNAMED) == []
    unchanged.wait_for_selector("#viewer [data-result][aria-label*='blob: ']")


def test_the_keyboard_reaches_the_controls_in_the_order_of_the_page(unchanged: Page) -> None:
    sliders = "document.querySelectorAll('#mixer .member input, #frame input[type=range]')"
    names = f"() => [...{sliders}].map(e => e.ariaLabel ?? e.id)"
    wanted, met = unchanged.evaluate(names), []
    unchanged.locator("#ensemble input").focus()
    for _ in range(60):
        unchanged.keyboard.press("Tab")
        met.append(unchanged.evaluate("() => document.activeElement.ariaLabel ?? document.activeElement.id"))
    assert list(dict.fromkeys(name for name in met if name in wanted)) == wanted


def test_on_a_phone_the_image_stays_in_sight_of_its_sliders(unchanged: Page) -> None:
    unchanged.set_viewport_size({"width": 390, "height": 844})
    unchanged.locator("#mixer .cut input[type=range]").scroll_into_view_if_needed()
    unchanged.wait_for_function("() => document.querySelector('#viewer').getBoundingClientRect().bottom > 200")
    slider = unchanged.locator("#mixer .cut input[type=range]").bounding_box()
    view_state = unchanged.locator("#viewer").bounding_box()
    assert slider
    assert view_state
    assert view_state["y"] >= 0
    assert view_state["y"] + view_state["height"] <= slider["y"] <= 844
