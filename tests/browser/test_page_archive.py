"""The whole round trip in a real browser: found in the archive, opened, segmented, sent, read back from the archive."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest

pytest.importorskip("dicomweb_client", reason="dicomweb-client is not installed (extra archive)")

import medseg
from medseg.reading.studies import list_series
from tests.archive.archive_server import Hospital
from tests.browser.test_page import shown_image, wait_for_another_image
from tests.dicom_sources import write_source

if TYPE_CHECKING:
    from playwright.sync_api import Page


def said(page: Page, name: str, words: str) -> str:
    page.wait_for_function(
        "([name, words]) => document.querySelector(name).innerText.includes(words)", arg=[f"#{name}", words]
    )
    return page.inner_text(f"#{name}")


def test_a_series_goes_from_the_archive_to_the_page_and_its_seg_back(
    page: Page, hospital: Hospital, tiny_ensemble: Path, tmp_path: Path
) -> None:
    archive = page.get_by_role("tab", name="Archive")
    archive.click()
    page.get_by_label("Patient's ID or name").fill("Doe^ct")
    page.click("#archive-find")
    page.locator("#archive-studies").get_by_role("gridcell", name="20260102", exact=True).first.click()
    said(page, "archive-series", "CT")
    page.wait_for_selector("#archive-previews img")
    assert "Doe" not in page.inner_text("body")
    assert page.inner_text("#archive-series").count("onerror")  # an archive's texts are shown as texts
    assert page.locator("img[src=x], a[href^=javascript]").count() == 0
    assert page.title() == "medseg"
    before = shown_image(page)
    page.locator("#archive-previews img").first.click()
    wait_for_another_image(page, before)

    archive.click()
    page.get_by_label("The whole series").check()
    page.click("#archive-prepare")
    announced = said(page, "archive-sent", "Stored at")
    assert "medseg-seg.dcm" in announced
    assert "results of 3 images of the series" in announced
    assert hospital.url.split("/")[2] in announced
    assert not any(request.startswith("POST") for request in hospital.requests)
    page.click("#archive-send")
    said(page, "archive-sent", "medseg-seg.dcm: stored.")

    (seg,) = (image for image in hospital.images() if image.Modality == "SEG")
    sources = [image for image in hospital.images() if image.Modality == "CT"]
    assert {seg.StudyInstanceUID} == {image.StudyInstanceUID for image in sources}
    assert {seg.PatientName} == {image.PatientName for image in sources}
    (series,) = list_series(write_source("ct-series", tmp_path)[0].parent)
    ensemble = medseg.Ensemble.from_pretrained(tiny_ensemble)
    ours = [ensemble.predict(series.read(frame)).masks[0] for frame in range(3)]
    assert np.array_equal(seg.pixel_array.astype(bool), ours)
    print("\n".join(hospital.requests))  # noqa: T201 - the requests of the round trip, for a report
