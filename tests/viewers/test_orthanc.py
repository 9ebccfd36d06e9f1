"""Our archive client and DICOM results against Orthanc: stored, found again, and fetched as they were."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pydicom
import pytest

pytest.importorskip("dicomweb_client", reason="dicomweb-client is not installed (extra archive)")

from medseg.archive.client import Archive
from medseg.archive.settings import Settings
from medseg.errors import ArchiveError
from medseg.export.results import KINDS, write_results
from medseg.reading.readers import read_image
from tests.dicom_sources import write_source
from tests.segmented import drawing_ensemble, segment_files
from tests.viewers.orthanc import running_orthanc, why_no_orthanc

pytestmark = pytest.mark.skipif(why_no_orthanc() is not None, reason=str(why_no_orthanc()))


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Archive]:
    with running_orthanc(tmp_path_factory.mktemp("orthanc")) as url:
        opened = Archive(Settings(url))
        with opened.session:
            yield opened


@pytest.mark.parametrize("source", ["cr", "us-cine", "endoscopy", "ct-series", "mr-enhanced"])
def test_every_result_is_stored_once_and_found_beside_its_source(source: str, tmp_path: Path, archive: Archive) -> None:
    paths = write_source(source, tmp_path)
    predictions, files = segment_files(paths, drawing_ensemble())
    results = write_results(predictions, files, tmp_path / "result", KINDS)
    assert [archive.store(path) for path in (*paths, *results)] == ["stored"] * (len(paths) + len(results))
    assert {archive.store(path) for path in results} == {"already there"}
    study = pydicom.dcmread(paths[0]).StudyInstanceUID
    assert study in {row.uid for row in archive.find_studies()}
    series = archive.find_series(study)
    of_source, of_results = ({pydicom.dcmread(path).SeriesInstanceUID for path in some} for some in (paths, results))
    assert of_source | of_results == {row.uid for row in series}
    assert of_results <= {row.uid for row in series if row.description}


def test_a_series_comes_back_as_it_was_sent(tmp_path: Path, archive: Archive) -> None:
    study = pydicom.uid.generate_uid()
    paths = write_source("mr-series", tmp_path, study=study)
    for path in paths:
        archive.store(path)
    (tmp_path / "back").mkdir()
    series = pydicom.dcmread(paths[0]).SeriesInstanceUID
    back = archive.fetch(tmp_path / "back", study, series)
    assert back.left_out == 0
    for sent, path in zip(paths, back.paths, strict=True):
        first, second = pydicom.dcmread(sent), pydicom.dcmread(path)
        assert first.SOPInstanceUID == second.SOPInstanceUID
        assert np.array_equal(first.pixel_array, second.pixel_array)


def test_a_preview_is_what_orthanc_renders(tmp_path: Path, archive: Archive) -> None:
    study = pydicom.uid.generate_uid()
    paths = write_source("ct-series", tmp_path, study=study)
    for path in paths:
        archive.store(path)
    preview = archive.fetch_preview(tmp_path, study, pydicom.dcmread(paths[0]).SeriesInstanceUID)
    assert preview.read_bytes().startswith(b"\xff\xd8")  # a JPEG
    assert read_image(preview).size[1] == 192


@pytest.mark.parametrize(
    "search", [{"patient": "Bäcker^Anna"}, {"patient": "anna lena"}, {"patient": "7/8 b"}, {"accession": "B 1"}]
)
def test_signs_that_a_url_encodes_are_found(search: dict[str, str], tmp_path: Path, archive: Archive) -> None:
    (path,) = write_source("cr", tmp_path, study="1.2.3.77")
    image = pydicom.dcmread(path)
    image.SpecificCharacterSet, image.PatientName = "ISO_IR 100", "Bäcker^Anna Lena"
    image.PatientID, image.AccessionNumber = "7/8 b", "B 1"
    image.save_as(path)
    archive.store(path)
    assert [study.uid for study in archive.find_studies(**search)] == ["1.2.3.77"]


def test_what_is_not_there_is_said(archive: Archive, tmp_path: Path) -> None:
    with pytest.raises(ArchiveError, match=r"holds no image here|does not hold this"):
        archive.fetch(tmp_path, "1.2.3.4")
