"""An archive, a viewer and a browser that nobody here wrote, and what they show of our results."""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pydicom

from tests.running_app import CHROMIUM, running_chromium
from tests.viewers.ohif import (
    FLAGS,
    choose,
    coloured,
    dice,
    goes_on_loading,
    nearest_label,
    on_screen,
    open_segmentation,
    open_study,
    running_ohif,
    seen,
    settled,
    why_no_ohif,
)
from tests.viewers.orthanc import running_orthanc, store, why_no_orthanc
from tests.viewers.readers import Result

if TYPE_CHECKING:
    from playwright.sync_api import BrowserContext, Page


@dataclass(frozen=True)
class Hospital:
    """Its archive and its viewer, by their URLs, and a browser that keeps the viewer's programs."""

    archive: str
    viewer: str
    context: BrowserContext


def why_no_hospital() -> str | None:
    """The reason to skip, None where all three are there."""
    return why_no_orthanc() or why_no_ohif() or (None if CHROMIUM.exists() else f"{CHROMIUM} is missing")


@contextlib.contextmanager
def running_hospital() -> Iterator[Hospital]:
    with (
        running_orthanc(Path(tempfile.mkdtemp())) as archive,
        running_ohif(archive) as viewer,
        running_chromium(FLAGS) as browser,
    ):
        yield Hospital(archive, viewer, browser.new_context(viewport={"width": 800, "height": 600}))


def opens_in_orthanc(hospital: Hospital, paths: list[Path], result: Result) -> None:
    """Stored with its source by STOW, and fetched back as it was."""
    from dicomweb_client import DICOMwebClient

    assert [store(hospital.archive, path) for path in (*paths, result.path)] == [200] * (len(paths) + 1)
    sent = pydicom.dcmread(result.path)
    uids = (sent.StudyInstanceUID, sent.SeriesInstanceUID, sent.SOPInstanceUID)
    client = DICOMwebClient(hospital.archive)
    assert client.retrieve_instance(*uids, media_types=(("application/dicom", "*"),)) == sent
    assert uids[1] in {row["0020000E"]["Value"][0] for row in client.search_for_series(uids[0])}


def opens_in_ohif(hospital: Hospital, study: str, result: Result) -> str:
    """What OHIF shows of a result that is stored beside its source: the Dice of its area and the mask, or words."""
    page = open_study(hospital.context, hospital.viewer, study)
    try:
        return _SHOWN[result.kind](page, result)
    finally:
        page.close()


def _segments(page: Page, result: Result) -> str:
    before, masks = seen(page), result.predictions[0].masks
    after = open_segmentation(page, found=bool(masks.any()))
    if not masks.any():
        return "no area"
    assert [nearest_label(after[on_screen(mask, before)]) for mask in masks] == [*range(len(masks))]
    overlap = dice(coloured(after), on_screen(masks.any(axis=0), before))
    assert overlap >= 0.9
    return f"{overlap:.3f}"


def _probabilities(page: Page, _: Result) -> str:
    if goes_on_loading(page):
        raise RuntimeError("“Loading SEG…” for ever")
    return "as written"


def _capture(page: Page, result: Result) -> str:
    before, found = seen(page), bool(result.predictions[0].masks.any())
    choose(page, "")
    settled(page, lambda pixels: not np.array_equal(pixels, before) and bool(coloured(pixels).any()) >= found)
    return "as drawn"


def _map(page: Page, result: Result) -> str:
    probable = bool((result.probabilities[result.number] > 0.5).any())
    choose(page, "-no-image")
    settled(page, lambda pixels: bool(coloured(pixels).any()) >= probable)
    return "colours over the image"


_SHOWN: dict[str, Callable[[Page, Result], str]] = {
    **{"seg": _segments, "label-map": _segments, "probabilities": _probabilities},
    **{"capture": _capture, "map": _map},
}
