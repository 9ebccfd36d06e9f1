"""Our DICOM results as a hospital's viewer shows them: stored in Orthanc, opened in OHIF, compared on the screen."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pydicom
import pytest

from medseg.export.dicom_seg import SegKind, write_dicom_seg
from medseg.overlay import label_colour
from tests.dicom_sources import KINDS, write_source
from tests.running_app import CHROMIUM, running_chromium
from tests.segmented import drawing_ensemble, segment_files
from tests.viewers.ohif import FLAGS, coloured, open_segmentation, open_study, running_ohif, seen, why_no_ohif
from tests.viewers.orthanc import running_orthanc, store, why_no_orthanc

if TYPE_CHECKING:
    from playwright.sync_api import BrowserContext

missing = why_no_orthanc() or why_no_ohif() or (None if CHROMIUM.exists() else f"{CHROMIUM} is missing")
pytestmark = pytest.mark.skipif(missing is not None, reason=str(missing))

BAR = (slice(8, 24), slice(8, 72))
"""Where the drawn sources are bright."""


@dataclass(frozen=True)
class Hospital:
    """Its archive and its viewer, by their URLs, and a browser that keeps the viewer's programs."""

    archive: str
    viewer: str
    context: BrowserContext


@pytest.fixture(scope="module")
def hospital(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Hospital]:
    pytest.importorskip("playwright.sync_api", reason="playwright is not installed (extra dev)")
    with (
        running_orthanc(tmp_path_factory.mktemp("orthanc")) as archive,
        running_ohif(archive) as viewer,
        running_chromium(FLAGS) as browser,
    ):
        yield Hospital(archive, viewer, browser.new_context(viewport={"width": 800, "height": 600}))


def on_screen(mask: np.ndarray, screen: np.ndarray) -> np.ndarray:
    """`mask` (H, W) as large and where the viewer draws the source, by the bar that both show."""
    bright = screen.min(axis=-1) > 127
    rows, columns = (np.flatnonzero(bright.any(axis=axis)) for axis in (1, 0))
    scaled = []
    for pixels, length, bar in ((rows, screen.shape[0], BAR[0]), (columns, screen.shape[1], BAR[1])):
        scale = (pixels[-1] + 1 - pixels[0]) / (bar.stop - bar.start)
        scaled.append(np.floor((np.arange(length) + 0.5 - pixels[0]) / scale + bar.start).astype(int))
    inside = [(places >= 0) & (places < size) for places, size in zip(scaled, mask.shape, strict=True)]
    values = mask[np.ix_(*(places.clip(0, size - 1) for places, size in zip(scaled, mask.shape, strict=True)))]
    return values & np.outer(*inside)


def dice(first: np.ndarray, second: np.ndarray) -> float:
    return float(2 * (first & second).sum() / (first.sum() + second.sum()))


def nearest_label(pixels: np.ndarray) -> int:
    """The label whose colour tints these `pixels` (n, 3), whatever grey lies below."""
    colours = np.array([*map(label_colour, range(3)), *pixels.tolist()], float)
    chroma = colours - colours.mean(axis=1, keepdims=True)
    tint = np.median(chroma[3:], axis=0)
    return int(np.argmax(chroma[:3] @ tint / np.linalg.norm(chroma[:3], axis=1)))


@pytest.mark.parametrize(
    ("source", "kind"),
    [(source, "BINARY") for source in KINDS]
    + [(source, "LABELMAP") for source in ("cr", "us-cine", "ct-series", "mr-enhanced")],
)
def test_ohif_draws_our_mask_where_it_is(source: str, kind: SegKind, tmp_path: Path, hospital: Hospital) -> None:
    study = pydicom.uid.generate_uid()  # one of its own, or the other test's SEG would be in it too
    paths = write_source(source, tmp_path, study=study)
    predictions, files = segment_files(paths, drawing_ensemble())
    write_dicom_seg(predictions, files, tmp_path / "seg.dcm", kind=kind)
    assert [store(hospital.archive, path) for path in (*paths, tmp_path / "seg.dcm")] == [200] * (len(paths) + 1)
    page = open_study(hospital.context, hospital.viewer, study)
    try:
        before = seen(page)
        after = open_segmentation(page)
        overlap = dice(coloured(after), on_screen(predictions[0].masks.any(axis=0), before))
        print(f"{source} {kind}: Dice {overlap:.3f}")  # noqa: T201 - the figure of the report
        assert overlap >= 0.9
        labels = [nearest_label(after[on_screen(mask, before)]) for mask in predictions[0].masks]
        assert labels == [0, 1, 2]
    finally:
        page.close()
