"""Every file that a visitor can have, chosen and clicked in a real browser, beside what the library writes."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import TYPE_CHECKING

import nibabel
import numpy as np
import pydicom
import pytest

import medseg
from medseg.export import nifti as export_nifti
from medseg.export import tables as export_tables
from medseg.inference.record import INSISTED, masks_sha256
from tests.browser.test_page import downloaded, says, upload
from tests.export.test_export_seg import unpacked
from tests.reading.test_decode import shipped

if TYPE_CHECKING:
    from playwright.sync_api import Page

    from medseg.inference.prediction import Prediction


@pytest.fixture
def ours(tiny_ensemble: Path) -> Prediction:
    """What the library finds in the CT that pydicom ships."""
    image = medseg.read_image(shipped("CT_small.dcm"))
    insisted = dataclasses.replace(image, notes=(*image.notes, INSISTED))
    return medseg.Ensemble.from_pretrained(tiny_ensemble).predict(insisted)


def test_a_dicom_can_be_had_in_every_format_and_each_holds_the_librarys_answer(
    page: Page, ours: Prediction, tmp_path: Path
) -> None:
    upload(page, shipped("CT_small.dcm"))
    says(page, "#figures", "No mask")  # no ensemble of this page is made for a CT
    page.wait_for_selector("#download .main:disabled")
    page.click(".insist")
    page.wait_for_selector("#download .main:enabled")

    mask = downloaded(page, "Mask · PNG", tmp_path)
    assert np.array_equal(medseg.read_masks(mask, ["blob"]), ours.masks)

    export_nifti.write_mask_nifti(ours, tmp_path / "ours.nii.gz")
    mask = downloaded(page, "Mask · NIfTI", tmp_path)
    assert nibabel.load(mask).get_fdata().tolist() == nibabel.load(tmp_path / "ours.nii.gz").get_fdata().tolist()

    name = ours.image.sha256[:16]
    export_tables.write_rle(ours, name, tmp_path / "ours.csv")
    table = downloaded(page, "Mask · run lengths (csv)", tmp_path)
    assert table.read_text() == (tmp_path / "ours.csv").read_text()

    export_tables.write_instances(ours, name, tmp_path / "ours.json")
    instances = downloaded(page, "Mask · COCO (JSON)", tmp_path)
    assert json.loads(instances.read_text()) == json.loads((tmp_path / "ours.json").read_text())

    seg = pydicom.dcmread(downloaded(page, "Mask · DICOM SEG", tmp_path))
    assert np.array_equal(unpacked(seg), ours.masks)
    assert "not anonymous" in page.text_content("#formats-menu")

    with np.load(downloaded(page, "Probabilities · npz", tmp_path)) as stored:
        assert np.array_equal(stored["probabilities"], ours.probabilities.astype(np.float16))

    export_nifti.write_probabilities_nifti(ours, tmp_path / "ours.nii.gz")
    stored = nibabel.load(downloaded(page, "Probabilities · NIfTI", tmp_path))
    assert np.array_equal(stored.get_fdata(), nibabel.load(tmp_path / "ours.nii.gz").get_fdata())

    seg = pydicom.dcmread(downloaded(page, "Probabilities · DICOM SEG", tmp_path))
    assert seg.pixel_array / 255 == pytest.approx(ours.probabilities[0], abs=0.5 / 255 + 1e-6)

    report = json.loads(downloaded(page, "Report · JSON", tmp_path).read_text())
    assert report["masks_sha256"] == masks_sha256(ours.masks)
    assert report["image"]["file_sha256"] == ours.image.file_sha256
    assert masks_sha256(ours.masks) in downloaded(page, "Report · page (HTML)", tmp_path).read_text()


def test_what_an_image_cannot_have_is_grey_with_the_reason_and_the_list_obeys_keys(page: Page, tmp_path: Path) -> None:
    page.locator("#download .more").focus()
    page.keyboard.press("ArrowDown")
    seg = page.get_by_role("menuitem", name="Mask · DICOM SEG")
    assert seg.get_attribute("aria-disabled") == "true"
    assert "file is a PNG" in seg.inner_text()
    seg.focus()
    page.keyboard.press("Enter")  # does nothing
    assert seg.is_visible()
    page.keyboard.press("Escape")
    assert not seg.is_visible()
    page.keyboard.press("Enter")
    page.wait_for_function("() => document.activeElement.getAttribute('role') === 'menuitem'")
    page.keyboard.press("End")
    with page.expect_download() as download:
        page.keyboard.press("Enter")
    assert download.value.suggested_filename.endswith("-report.html")
    with page.expect_download() as download:
        page.click("#download .main")
    assert download.value.suggested_filename.endswith("-mask.png")
    page.click("#download .more")
    assert page.get_by_role("menuitem").first.inner_text().startswith("Report · page (HTML)")  # the last one is first


def test_on_a_phone_the_list_and_the_button_stay_within_the_page(page: Page) -> None:
    page.set_viewport_size({"width": 390, "height": 800})
    page.click("#sheets [data-sheet=result]")
    page.click("#download .more")
    for name in ("#download .main", "#formats-menu"):
        box = page.locator(name).bounding_box()
        assert box
        assert box["x"] >= 0
        assert box["x"] + box["width"] <= 390
        assert box["y"] + box["height"] <= 800
