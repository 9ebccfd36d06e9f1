"""DICOM results of every kind of source, read by programs that others wrote; what a SEG says of its source."""

from __future__ import annotations

from pathlib import Path

import pydicom
import pytest
from pydicom.dataset import Dataset

from medseg.errors import InputError, ReadError
from medseg.export.dicom_seg import SegKind, cielab, write_dicom_seg
from medseg.export.placement import locate
from medseg.export.segment_codes import property_codes
from medseg.inference.prediction import Prediction
from medseg.reading.readers import read_image
from tests.dicom_sources import KINDS, write_source
from tests.segmented import LABELS, drawing_ensemble, segment_files
from tests.viewers.readers import READERS, Result, reads, results_of, why_not

UNSCALED = ("cr", "us", "us-cine", "endoscopy", "secondary-capture")
CONTENTS = ((LABELS, False), (("polyp",), False), (LABELS, True))
OF_EVERY_CONTENT = ("cr", "us-cine", "ct-series", "mr-enhanced")
"""One kind of source for each shape of a result: with a place in the patient and without, of one file and of more."""


def seg_of(source: str, folder: Path, kind: SegKind = "BINARY") -> tuple[Path, list[Prediction]]:
    predictions, files = segment_files(write_source(source, folder), drawing_ensemble())
    write_dicom_seg(predictions, files, folder / f"{kind}.dcm", kind=kind)
    return folder / f"{kind}.dcm", predictions


@pytest.fixture(scope="module", params=KINDS)
def results(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> list[Result]:
    """Of one kind of source all results: of three labels, of some kinds also of one, and with nothing found."""
    folder = tmp_path_factory.mktemp(request.param)
    contents = CONTENTS if request.param in OF_EVERY_CONTENT else CONTENTS[:1]
    return [result for labels, empty in contents for result in results_of(request.param, folder, labels, empty)[1]]


@pytest.mark.parametrize("reader", READERS)
def test_every_result_opens_and_is_what_was_written(reader: str, results: list[Result]) -> None:
    if reason := why_not(reader):
        pytest.skip(reason)
    for result in results:
        if reads(reader, result):
            READERS[reader](result)


@pytest.mark.parametrize("source", KINDS)
def test_a_source_without_spacing_or_place_says_so_in_its_seg(source: str, tmp_path: Path) -> None:
    seg = pydicom.dcmread(seg_of(source, tmp_path)[0])
    about = seg.SegmentSequence[0].SegmentDescription
    assert ("no spacing: 1 mm stands for one pixel" in about) == (source in UNSCALED)
    assert seg.SeriesDescription.endswith("no scale") == (source in UNSCALED)
    assert ("spacing is that at the detector" in about) == (source in ("cr-imager-spacing", "dx", "mg"))
    placed = source.startswith(("ct", "mr"))
    assert ("lies nowhere in the patient" in about) != placed
    assert ("FrameOfReferenceUID" in seg) == placed


def test_slices_of_a_series_are_sorted_and_their_distance_is_given(tmp_path: Path) -> None:
    predictions, files = segment_files(write_source("mr-series", tmp_path), drawing_ensemble(("polyp",)))
    predictions[0].masks[:] = False
    order = [1, 2, 0]
    write_dicom_seg([predictions[i] for i in order], [files[i] for i in order], tmp_path / "seg.dcm")
    seg = pydicom.dcmread(tmp_path / "seg.dcm")
    assert seg.SharedFunctionalGroupsSequence[0].PixelMeasuresSequence[0].SpacingBetweenSlices == 3
    sources = {pydicom.dcmread(path).SOPInstanceUID: path for path in files}
    groups = seg.PerFrameFunctionalGroupsSequence
    named = [one.DerivationImageSequence[0].SourceImageSequence[0].ReferencedSOPInstanceUID for one in groups]
    assert [sources[uid] for uid in named] == files
    assert [int(frame.sum()) > 0 for frame in seg.pixel_array] == [False, True, True]
    for group, path in zip(groups, files, strict=True):
        place = pydicom.dcmread(path).ImagePositionPatient
        assert group.PlanePositionSequence[0].ImagePositionPatient == place


@pytest.mark.parametrize(
    ("depths", "distance"),
    [
        ([0, 5, 10, 20, 25], 5),
        ([0, 5, 5, 10], 5),
        ([0, 5.03, 9.98, 15], 5),
        ([0, 5, 10, 5000], 5),
        ([0, 5, 11.5, 20], None),
        ([4, 4], None),
    ],
)
def test_slices_on_a_grid_have_a_distance_also_with_gaps(depths: list[float], distance: float | None) -> None:
    """dcmqi takes the thickness for the distance of slices where none is given."""
    headers = [Dataset() for _ in depths]
    for header, depth in zip(headers, depths, strict=True):
        header.ImagePositionPatient, header.ImageOrientationPatient = [1, 2, depth], [1, 0, 0, 0, 1, 0]
        header.PixelSpacing, header.SliceThickness = [1, 1], 4
    measures = locate(headers).measures
    assert measures.get("SpacingBetweenSlices") == (distance and pytest.approx(distance, abs=0.02))
    assert measures.SliceThickness == 4


def test_a_film_that_counts_its_one_frame_is_referred_to_as_a_whole(tmp_path: Path) -> None:
    (path,) = write_source("cr", tmp_path)
    film = pydicom.dcmread(path)
    film.NumberOfFrames = 1
    film.save_as(path)
    predictions, files = segment_files([path], drawing_ensemble(("polyp",)))
    write_dicom_seg(predictions, files, tmp_path / "seg.dcm")
    (group,) = pydicom.dcmread(tmp_path / "seg.dcm").PerFrameFunctionalGroupsSequence
    assert "ReferencedFrameNumber" not in group.DerivationImageSequence[0].SourceImageSequence[0]


def test_a_folder_of_slices_is_a_source_too(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    files = write_source("ct-series", tmp_path / "in")
    ensemble = drawing_ensemble(("polyp",))
    predictions = [ensemble.predict(read_image(tmp_path / "in", frame=frame)) for frame in (2, 1)]
    write_dicom_seg(predictions, tmp_path / "in", tmp_path / "seg.dcm")
    groups = pydicom.dcmread(tmp_path / "seg.dcm").PerFrameFunctionalGroupsSequence
    named = [one.DerivationImageSequence[0].SourceImageSequence[0].ReferencedSOPInstanceUID for one in groups]
    assert named == [pydicom.dcmread(path).SOPInstanceUID for path in files[1:]]


def test_files_of_two_series_need_a_seg_each(tmp_path: Path) -> None:
    predictions, files = segment_files(
        [*write_source("ct", tmp_path), *write_source("mr", tmp_path)], drawing_ensemble(("polyp",))
    )
    with pytest.raises(ReadError, match="differ in series, size or frame of reference"):
        write_dicom_seg(predictions, files, tmp_path / "seg.dcm")


def test_labels_that_overlap_have_no_label_map(tmp_path: Path) -> None:
    predictions, files = segment_files(write_source("cr", tmp_path), drawing_ensemble())
    predictions[0].masks[:] = True
    with pytest.raises(InputError, match="choose BINARY"):
        write_dicom_seg(predictions, files, tmp_path / "seg.dcm", kind="LABELMAP")
    write_dicom_seg(predictions, files, tmp_path / "seg.dcm")
    assert pydicom.dcmread(tmp_path / "seg.dcm").SegmentsOverlap == "YES"


def test_two_results_have_a_series_each(tmp_path: Path) -> None:
    first = pydicom.dcmread(seg_of("cr", tmp_path)[0])
    second = pydicom.dcmread(seg_of("cr", tmp_path, "FRACTIONAL")[0])
    assert first.SeriesInstanceUID != second.SeriesInstanceUID
    assert first.SeriesDescription != second.SeriesDescription
    assert first.SeriesNumber != second.SeriesNumber
    assert min(first.SeriesNumber, second.SeriesNumber) > 10**6


@pytest.mark.parametrize(
    ("label", "value", "meaning"),
    [("polyp", "41329004", "Polyp"), ("Tumor", "108369006", "Neoplasm"), ("lungs", "39607008", "Lung")],
)
def test_a_known_label_has_its_snomed_code(label: str, value: str, meaning: str) -> None:
    _, kind = property_codes(label)
    assert (kind.CodeValue, kind.CodingSchemeDesignator, kind.CodeMeaning) == (value, "SCT", meaning)


def test_the_codes_mean_what_dicom_says() -> None:
    from pydicom.sr.codedict import codes

    for name in (
        "Lesion",
        "Nodule",
        "Necrosis",
        "Pneumothorax",
        "Lung",
        "Heart",
        "Brain",
        "Liver",
        "Spleen",
        "Neoplasm",
    ):
        _, kind = property_codes(name)
        assert kind.CodeValue == getattr(codes.SCT, name).value
    category, _ = property_codes("heart")
    assert category.CodeValue == codes.SCT.AnatomicalStructure.value


def test_a_free_label_claims_no_more_than_its_name() -> None:
    category, kind = property_codes("instrument")
    assert category.CodeMeaning == "Spatial and Relational Concept"
    assert (kind.CodingSchemeDesignator, kind.CodeMeaning) == ("99MEDSEG", "instrument")


@pytest.mark.parametrize(
    ("colour", "lab"),
    [((255, 255, 255), (100, 0, 0)), ((0, 0, 0), (0, 0, 0)), ((255, 0, 0), (54.29, 80.80, 69.89))],
)
def test_display_colours_are_cielab_under_d50(colour: tuple[int, int, int], lab: tuple[float, float, float]) -> None:
    """The values of red are those of Lindbloom's calculator (sRGB, D50, Bradford)."""
    lightness, a, b = cielab(colour)
    assert (lightness / 655.35, a / 257 - 128, b / 257 - 128) == pytest.approx(lab, abs=0.02)
