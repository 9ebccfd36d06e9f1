"""What an image cannot have is said in the words in which the writer refuses it."""

from __future__ import annotations

from pathlib import Path

import PIL.Image
import pydicom
import pytest

from medseg.errors import MedsegError
from medseg.export.results import GONE, KINDS, why_not, write_results
from tests.dicom_sources import write_source
from tests.segmented import drawing_ensemble, segment_files


def without_study(path: Path) -> Path:
    image = pydicom.dcmread(path)
    del image.StudyInstanceUID
    image.save_as(path)
    return path


def png(path: Path) -> Path:
    PIL.Image.new("L", (128, 96)).save(path)
    return path


@pytest.mark.parametrize("source", ["png", "no study", "cr"])
def test_the_reason_is_the_writers_own_sentence(source: str, tmp_path: Path) -> None:
    path = png(tmp_path / "a.png") if source == "png" else write_source("cr", tmp_path)[0]
    path = without_study(path) if source == "no study" else path
    predictions, files = segment_files([path], drawing_ensemble(("polyp",)))
    for kind in KINDS:
        reason = why_not(kind, ("polyp",), path)
        assert (reason is None) == (source == "cr")
        if reason:
            with pytest.raises(MedsegError) as refused:
                write_results(predictions, files, tmp_path / "out", [kind])
            assert str(refused.value) == reason


def test_a_map_of_several_labels_and_a_file_that_is_gone_have_their_reasons(tmp_path: Path) -> None:
    (path,) = write_source("cr", tmp_path)
    assert "choose one of polyp, lung" in str(why_not("map", ("polyp", "lung"), path))
    assert why_not("seg", ("polyp", "lung"), path) is None
    path.unlink()
    assert why_not("seg", ("polyp",), path) == GONE
