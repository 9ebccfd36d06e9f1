"""Weights from labelled images with real clicks, and what the library says of the same."""

from __future__ import annotations

import dataclasses
import zipfile
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

import medseg
from medseg import schema
from medseg.config import EnsembleConfig
from medseg.data.samples import load_data
from tests.conftest import fit_to, write_disc_pair

if TYPE_CHECKING:
    from playwright.sync_api import Page


@pytest.fixture
def pairs(tmp_path: Path) -> Path:
    """Eight images with masks, and a zip of them beside."""
    folder = tmp_path / "pairs"
    for number in range(8):
        write_disc_pair(folder, f"c{number}", number)
    with zipfile.ZipFile(tmp_path / "pairs.zip", "w") as archive:
        for path in folder.rglob("*.png"):
            archive.write(path, path.relative_to(folder))
    return folder


def start(page: Page, path: Path) -> None:
    page.get_by_role("tab", name="Fit to my data").click()
    page.wait_for_function("() => document.querySelector('#fit-ensemble').innerText.includes('tiny-binary')")
    page.set_input_files("#fit-images input[type=file]", path)
    page.wait_for_selector("#fit-images .file-preview tr")
    page.click("#fit-start")


def test_the_librarys_weights_are_found_applied_to_the_sliders_and_saved(
    page: Page, pairs: Path, tiny_ensemble: Path, tmp_path: Path
) -> None:
    start(page, pairs.with_suffix(".zip"))
    page.wait_for_selector("#fit-apply")
    steps = page.locator("#fit-steps li")
    assert [steps.nth(number).get_attribute("class") for number in range(4)] == ["done"] * 4
    assert "Your files name no division, so weights are chosen on all 8 images." in steps.nth(1).inner_text()
    assert "mean Dice" in steps.nth(3).inner_text()
    page.get_by_role("button", name="All numbers").click()
    page.wait_for_selector("#fit-result:has-text('Recommended')")
    samples = [dataclasses.replace(one, split="val") for one in load_data(pairs, divide=False).samples]
    found = fit_to(medseg.Ensemble.from_pretrained(tiny_ensemble).members, samples)
    choice = found.choice(found.recommended)
    view_state = page.inner_text("#fit-result")
    assert found.nested is not None
    for score in (found.nested.best_single, found.nested.equal, found.nested.fitted):
        assert score.low is None  # of fewer than ten cases
        assert f"{score.value:.3f}" in view_state

    with page.expect_download() as download:
        page.click("#get-ensemble")
    download.value.save_as(tmp_path / "fit.zip")
    with zipfile.ZipFile(tmp_path / "fit.zip") as archive:
        archive.extractall(tmp_path)
    saved = schema.load(EnsembleConfig, tmp_path / "ensemble.json")
    assert [member.weight for member in saved.members] == [round(weight, 4) for weight in choice.weights]
    assert saved.threshold == choice.threshold

    page.click("#fit-apply")
    expected = [round(value, 2) for value in (*choice.weights, choice.threshold)]
    page.wait_for_function(
        "expected => expected.every((value, index) =>"
        " Number(document.querySelectorAll('#mixer input[type=range]')[index]?.value) === value)",
        arg=expected,
    )
    assert page.locator("#viewer").is_visible()
    page.wait_for_function(
        "text => document.querySelector('#summary').innerText.includes(text)",
        arg=f"at cut-off {choice.threshold:.2f}",
    )


def test_images_without_masks_are_refused_in_a_sentence(page: Page, pairs: Path) -> None:
    start(page, pairs / "images" / "c0.png")
    page.wait_for_selector("text=Wanted images and their masks, of the same names")
    assert page.locator("#fit-apply").is_hidden()
