"""DICOM SEG of every kind of source, read by programs that others wrote: dcmqi (DCMTK), highdicom, dciodvfy."""

from __future__ import annotations

import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import get_args

import highdicom
import nibabel
import numpy as np
import pydicom
import pytest

from medseg.errors import InputError, ReadError
from medseg.export.dicom_seg import SegKind, cielab, write_dicom_seg
from medseg.export.segment_codes import property_codes
from medseg.inference.prediction import Prediction
from medseg.reading.readers import read_image
from tests.dicom_sources import KINDS, write_source
from tests.segmented import LABELS, drawing_ensemble, segment_files

DCMQI = Path(sys.executable).with_name("segimage2itkimage")
UNSCALED = ("cr", "us", "us-cine", "endoscopy", "secondary-capture")


def errors(path: Path) -> list[str]:
    """What dciodvfy calls an error, but that it does not know label maps, which are younger than Debian's."""
    told = subprocess.run(["dciodvfy", path], capture_output=True, text=True, errors="replace", timeout=60, check=False)
    lines = (told.stdout + told.stderr).splitlines()
    return [line for line in lines if line.startswith("Error") and "Information Object Not found" not in line]


def dcmqi_counts(path: Path, folder: Path) -> list[int]:
    """The marked voxels of each volume that dcmqi makes of a SEG, and of each value of a label map."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    command = [DCMQI, "--inputDICOM", path, "--outputDirectory", folder, "--outputType", "nifti"]
    subprocess.run(command, check=True, capture_output=True, timeout=120)
    volumes = [np.asarray(nibabel.load(file).dataobj) for file in sorted(folder.glob("*.nii.gz"))]
    return [int((volume == value).sum()) for volume in volumes for value in np.unique(volume[volume > 0])]


def seg_of(source: str, folder: Path, kind: SegKind = "BINARY") -> tuple[Path, list[Prediction]]:
    predictions, files = segment_files(write_source(source, folder), drawing_ensemble())
    write_dicom_seg(predictions, files, folder / f"{kind}.dcm", kind=kind)
    return folder / f"{kind}.dcm", predictions


@dataclass(frozen=True)
class Seg:
    """A SEG, what it was written from, and how many pixels each label has."""

    path: Path
    kind: SegKind
    predictions: list[Prediction]
    source: Path

    @property
    def labels(self) -> tuple[str, ...]:
        return self.predictions[0].labels

    @property
    def areas(self) -> list[int]:
        return [sum(int(each.masks[index].sum()) for each in self.predictions) for index in range(len(self.labels))]

    def check(self, pixels: np.ndarray) -> None:
        """That a reader's `pixels`, a plane for each frame, are what was written."""
        planes = pixels.reshape(-1, *self.predictions[0].image.size)
        if self.kind == "LABELMAP":
            assert [int((planes == number).sum()) for number in range(1, len(self.labels) + 1)] == self.areas
        elif self.kind == "BINARY":
            assert [int(part.sum()) for part in np.split(planes, len(self.labels))] == self.areas
        else:
            probabilities = np.concatenate([each.probabilities for each in self.predictions[:1]])
            assert planes[:: len(self.predictions)] / 255 == pytest.approx(probabilities, abs=0.5 / 255 + 1e-6)


CONTENTS = {"one label": (("polyp",), False), "three labels": (LABELS, False), "nothing found": (LABELS, True)}


@pytest.fixture(scope="module", params=KINDS)
def segs(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> list[Seg]:
    """Of one kind of source a SEG of each content and kind."""
    folder = tmp_path_factory.mktemp(request.param)
    paths, written = write_source(request.param, folder), []
    for number, (labels, empty) in enumerate(CONTENTS.values()):
        predictions, files = segment_files(paths, drawing_ensemble(labels, empty=empty))
        for kind in get_args(SegKind):
            written.append(Seg(folder / f"seg-{number}-{kind}.dcm", kind, predictions, paths[0]))
            write_dicom_seg(predictions, files, written[-1].path, kind=kind)
    return written


def test_pydicom_reads_every_seg(segs: list[Seg]) -> None:
    for seg in segs:
        seg.check(pydicom.dcmread(seg.path).pixel_array)


def test_highdicom_reads_every_seg(segs: list[Seg]) -> None:
    for seg in segs:
        read = highdicom.seg.segread(seg.path)
        assert tuple(read.get_segment_description(n + 1).segment_label for n in range(len(seg.labels))) == seg.labels
        seg.check(read.pixel_array)


@pytest.mark.skipif(not DCMQI.exists(), reason="dcmqi is not installed (extra dev)")
def test_dcmqi_reads_every_seg(segs: list[Seg], tmp_path: Path) -> None:
    for seg in segs:
        counts = dcmqi_counts(seg.path, tmp_path / "out")
        assert bool(counts) == any(seg.areas)
        if seg.kind != "FRACTIONAL":
            assert counts == [area for area in seg.areas if area]


@pytest.mark.skipif(shutil.which("dciodvfy") is None, reason="dciodvfy is missing: apt-get install dicom3tools")
def test_dciodvfy_has_no_error_that_the_source_does_not_have(segs: list[Seg]) -> None:
    own = errors(segs[0].source)
    for seg in segs:
        assert [error for error in errors(seg.path) if error not in own] == []


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
