"""Many images with real clicks, and what the library says of the same."""

from __future__ import annotations

import csv
import json
import zipfile
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import PIL.Image
import pytest

import medseg
from medseg.calibration.trust import agreement
from medseg.fitting.observations import thin
from tests.conftest import write_disc_pair

if TYPE_CHECKING:
    from playwright.sync_api import Page

HOSTILE = "=1+1<img src=x onerror=document.title='mine'>${document.title='mine'}{{x}}.png"


@pytest.fixture
def images(tmp_path: Path) -> list[Path]:
    """Three images, one under a hostile name and one in a zip, and a text that is named as an image."""
    for seed, name in enumerate(("plain.png", HOSTILE, "zipped.png")):
        write_disc_pair(tmp_path, "disc", seed, size=(96, 128))
        (tmp_path / "images" / "disc.png").rename(tmp_path / name)
    with zipfile.ZipFile(tmp_path / "films.zip", "w") as archive:
        archive.write(tmp_path / "zipped.png", "zipped.png")
    (tmp_path / "notes.png").write_text("no image")
    return [tmp_path / name for name in ("plain.png", HOSTILE, "films.zip", "notes.png")]


def send(page: Page, files: list[Path]) -> None:
    page.get_by_role("tab", name="Batch").click()
    page.wait_for_function("() => document.querySelector('#batch-settings').innerText.includes('cut-off')")
    page.set_input_files("#batch-files input[type=file]", files)
    page.wait_for_function(
        "count => document.querySelectorAll('#batch-files .file-preview tr').length >= count", arg=len(files)
    )
    page.click("#batch-start")


def wait_for_table(page: Page) -> list[str]:
    """The text of every row, when all are there."""
    page.wait_for_selector("#get-results")
    return page.locator("#batch-table tbody tr").all_inner_texts()


def test_files_and_zips_become_a_table_with_the_most_doubtful_first_and_the_librarys_masks_as_a_zip(
    page: Page, images: list[Path], tiny_ensemble: Path, tmp_path: Path
) -> None:
    sent: list[bytes] = []
    page.on("request", lambda request: sent.append(request.post_data_buffer or b""))
    send(page, images)
    rows = wait_for_table(page)
    assert not [body for body in sent if b"plain" in body or b"onerror" in body or b"notes" in body]
    ensemble = medseg.Ensemble.from_pretrained(tiny_ensemble)
    named = {"plain.png": "plain.png", HOSTILE: HOSTILE, "zipped.png": "films/zipped.png"}
    found = {view_state: ensemble.predict(medseg.read_image(tmp_path / name)) for name, view_state in named.items()}
    worth = {name: agreement(thin(one.members), "binary") for name, one in found.items()}
    for row, name in zip(rows, sorted(worth, key=lambda name: worth[name]), strict=True):
        area = int(found[name].masks.sum())
        assert name in row
        assert f"{worth[name]:.2f}" in row
        assert (f"{area:,} px" if area else "nothing found") in row
    failed = page.inner_text("#batch-table .failed")
    assert failed.startswith("Without a result: 1")
    assert "notes.png: " in failed
    assert "is none of PNG, JPEG" in failed
    assert page.title() == "medseg"

    with page.expect_download() as download:
        page.click("#get-results")
    download.value.save_as(tmp_path / "results.zip")
    with zipfile.ZipFile(tmp_path / "results.zip") as archive:
        archive.extractall(tmp_path / "out")
    for name, prediction in found.items():
        with PIL.Image.open(tmp_path / "out" / f"{name}.png") as mask:
            assert np.array_equal(np.asarray(mask) > 0, prediction.masks[0])
        assert (tmp_path / "out" / f"{name}.json").is_file()
    with (tmp_path / "out" / "results.csv").open(newline="") as stream:
        lines = {line["file"]: line for line in csv.DictReader(stream)}
    assert float(lines["plain.png"]["area_px"]) == found["plain.png"].masks.sum()
    assert "'" + HOSTILE in lines
    assert "is none of PNG, JPEG" in lines["notes.png"]["error"]
    names = [image["file_name"] for image in json.loads((tmp_path / "out" / "coco.json").read_text())["images"]]
    assert sorted(names) == sorted(found)


def test_a_click_on_a_row_opens_its_image_in_the_first_tab(page: Page, images: list[Path]) -> None:
    send(page, images[:1])
    wait_for_table(page)
    before = page.locator("#viewer [data-result]").get_attribute("data-result")
    page.locator("#batch-table tbody tr").click(position={"x": 300, "y": 20})
    page.wait_for_function(
        "before => document.querySelector('#viewer [data-result]').dataset.result !== before"
        " && document.querySelector('#file-size').innerText.includes('128 × 96 px')",
        arg=before,
    )
    assert page.locator("#viewer").is_visible()
    assert page.inner_text("#file-name") == "plain.png"


def test_stopping_keeps_what_is_done(page: Page, tmp_path: Path) -> None:
    film = tmp_path / "film.png"
    PIL.Image.new("L", (900, 900), 80).save(film)  # large, so that all of them outlast a browser that is starved
    with zipfile.ZipFile(tmp_path / "films.zip", "w") as archive:
        for number in range(400):
            archive.write(film, f"film{number}.png")
    page.get_by_role("tab", name="Batch").click()
    assert page.is_disabled("#batch-stop")
    send(page, [tmp_path / "films.zip"])
    page.wait_for_selector("#batch-table tbody tr")  # while the others are on their way
    assert " of 400" in page.inner_text("#batch-status")
    page.click("#batch-stop")
    rows = wait_for_table(page)
    assert 0 < len(rows) < 400
    assert f"{len(rows)} segmented, 0 without a result. Stopped" in page.inner_text("#batch-status")
    page.wait_for_selector("#batch-stop:disabled")


def test_nothing_to_segment_is_said(page: Page) -> None:
    page.get_by_role("tab", name="Batch").click()
    page.click("#batch-start")
    page.wait_for_selector("text=drop images or a zip first")


def test_a_file_that_was_open_before_keeps_its_name_and_its_namesake_in_the_batch_gets_a_number(
    page: Page, images: list[Path], tmp_path: Path
) -> None:
    for _ in range(2):
        page.set_input_files("#upload input[type=file]", images[0])
        page.wait_for_function("() => document.querySelector('#file-name').innerText === 'plain.png'")
    (tmp_path / "other").mkdir()
    namesake = (tmp_path / "zipped.png").rename(tmp_path / "other" / "plain.png")
    send(page, [images[0]])
    wait_for_table(page)
    page.set_input_files("#batch-files input[type=file]", [namesake])
    page.wait_for_selector("#batch-files td.filename[aria-label='plain (2).png']")
    assert page.locator("#batch-files td.filename").first.get_attribute("aria-label") == "plain.png"
    assert page.locator("#batch-files [aria-label*='common.']").count() == 0
