"""Our DICOM results as a hospital's viewer shows them: stored in Orthanc, opened in OHIF, compared on the screen.

All results of all sources: `python -m benchmarks.viewers`.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pydicom
import pytest

from tests.viewers.hospital import Hospital, opens_in_ohif, running_hospital, why_no_hospital
from tests.viewers.orthanc import store
from tests.viewers.readers import results_of

missing = why_no_hospital()
pytestmark = pytest.mark.skipif(missing is not None, reason=str(missing))

OPENED = (
    ("cr", "seg", False),
    ("us-cine", "label-map", False),
    ("endoscopy", "seg", False),
    ("mr-series", "seg", False),
    ("mr-enhanced", "label-map", False),
    ("ct-series", "seg", True),
)
"""Source, kind of result, and whether nothing is found: one of each form that a source may have (film, frames, colour,
series, enhanced). OHIF is the slowest reader: `python -m benchmarks.viewers` opens all sources in it."""


@pytest.fixture(scope="module")
def hospital() -> Iterator[Hospital]:
    pytest.importorskip("playwright.sync_api", reason="playwright is not installed (extra dev)")
    with running_hospital() as running:
        yield running


@pytest.mark.parametrize(("source", "kind", "empty"), OPENED)
def test_ohif_draws_our_mask_where_it_is(
    source: str, kind: str, empty: bool, tmp_path: Path, hospital: Hospital
) -> None:
    study = str(pydicom.uid.generate_uid())  # one of its own, or the other test's SEG would be in it too
    paths, (result,) = results_of(source, tmp_path, empty=empty, kinds=[kind], study=study)
    assert [store(hospital.archive, path) for path in (*paths, result.path)] == [200] * (len(paths) + 1)
    shown = opens_in_ohif(hospital, study, result)
    print(f"{source} {kind}: {shown}")  # noqa: T201 - the figure of the report
    assert (shown == "no area") == empty
