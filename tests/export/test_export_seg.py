"""DICOM SEG: read back by pydicom with an unpacking of our own, and by DCMTK through dcmqi."""

from __future__ import annotations

import functools
import re
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import nibabel
import numpy as np
import PIL.Image
import pydicom
import pytest
from pydicom.dataset import Dataset

from medseg.config import EnsembleConfig, MemberReference, Task
from medseg.errors import InputError, MedsegError, ReadError
from medseg.export.dicom_seg import write_dicom_seg
from medseg.image import Image
from medseg.inference.ensemble import Ensemble
from medseg.inference.prediction import Prediction
from medseg.inference.record import NOTICE
from medseg.reading.readers import read_image, read_source
from tests.conftest import fake_member
from tests.reading.test_decode import CORPUS, shipped

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning:pydicom")  # about odd values in the files that it ships

DCMQI = Path(sys.executable).with_name("segimage2itkimage")
Changed = Callable[..., Path]


def corner(image: Image) -> np.ndarray:
    """A ramp from 0 to 1 along the columns in the upper 10 rows: no turn or mirroring leaves it as it is."""
    values = np.zeros(image.size)
    values[:10] = np.linspace(0, 1, image.size[1])
    return values


@functools.cache
def pair(labels: tuple[str, ...]) -> Ensemble:
    """Two members that answer `corner`, and for a second label all of the left half."""
    task: Task = "binary" if len(labels) == 1 else "multilabel"

    def answer(image: Image) -> np.ndarray:
        left = np.zeros(image.size)
        left[:, : image.size[1] // 2] = 1
        return np.stack([corner(image), left][: len(labels)])

    members = [fake_member(name, answer, labels=labels, task=task) for name in ("first", "second")]
    references = tuple(MemberReference(one.config.name, one.sha256, 1.0) for one in members)
    return Ensemble(EnsembleConfig("pair", task, labels, references), members)


def predict(image: Image, labels: tuple[str, ...] = ("blob",)) -> Prediction:
    return pair(labels).predict(image, weights=[3, 1])


def written(
    folder: Path, source: Path, frames: Sequence[int] = (0,), kind: str = "BINARY", **labels: object
) -> Dataset:
    predictions = [predict(read_image(source, frame=frame), **labels) for frame in frames]
    write_dicom_seg(predictions, source, folder / "seg.dcm", kind=kind)
    return pydicom.dcmread(folder / "seg.dcm")


def unpacked(seg: Dataset) -> np.ndarray:
    """(frames, H, W) of one bit each, lowest bit first, without a gap between frames (PS3.5 8.1.1)."""
    shape = (int(seg.NumberOfFrames), seg.Rows, seg.Columns)
    bits = np.unpackbits(np.frombuffer(seg.PixelData, np.uint8), bitorder="little")
    return bits[: np.prod(shape)].reshape(shape) > 0


def references(seg: Dataset) -> list[Dataset]:
    groups = seg.PerFrameFunctionalGroupsSequence
    return [item.DerivationImageSequence[0].SourceImageSequence[0] for item in groups]


@pytest.fixture
def changed(tmp_path: Path) -> Changed:
    """The CT that pydicom ships with other attributes, or without those that are given as None."""

    def change(**attributes: object) -> Path:
        dataset = pydicom.dcmread(shipped("CT_small.dcm"))
        for keyword, value in attributes.items():
            if value is None:
                delattr(dataset, keyword)
            else:
                setattr(dataset, keyword, value)
        dataset.save_as(tmp_path / "changed.dcm")
        return tmp_path / "changed.dcm"

    return change


def test_a_binary_seg_holds_the_masks_bit_for_bit(tmp_path: Path) -> None:
    source = shipped("CT_small.dcm")
    seg = written(tmp_path, source, labels=("blob", "half"))
    assert (seg.Modality, seg.SegmentationType, seg.BitsAllocated) == ("SEG", "BINARY", 1)
    assert np.array_equal(unpacked(seg), predict(read_image(source), ("blob", "half")).masks)


def test_a_fractional_seg_holds_the_probabilities_within_half_a_step_of_255(tmp_path: Path) -> None:
    source = shipped("CT_small.dcm")
    seg = written(tmp_path, source, kind="FRACTIONAL")
    assert (seg.SegmentationFractionalType, seg.MaximumFractionalValue) == ("PROBABILITY", 255)
    stored = np.frombuffer(seg.PixelData, np.uint8).reshape(1, seg.Rows, seg.Columns) / 255
    assert stored == pytest.approx(predict(read_image(source)).probabilities, abs=0.5 / 255 + 1e-6)


@pytest.mark.skipif(not DCMQI.exists(), reason="dcmqi is not installed (extra dev)")
@pytest.mark.parametrize("name", ["CT_small.dcm", "MR_small.dcm"])
def test_dcmqi_finds_the_same_masks_at_the_same_place(tmp_path: Path, name: str) -> None:
    source = shipped(name)
    written(tmp_path, source, labels=("blob", "half"))
    command = [DCMQI, "--inputDICOM", tmp_path / "seg.dcm", "--outputDirectory", tmp_path, "--outputType", "nifti"]
    subprocess.run(command, check=True, capture_output=True, timeout=120)
    header = pydicom.dcmread(source)
    for number, mask in enumerate(predict(read_image(source), ("blob", "half")).masks, start=1):
        volume = nibabel.load(tmp_path / f"{number}.nii.gz")
        assert np.array_equal(np.asarray(volume.dataobj)[..., 0].T > 0, mask)
        left_to_right = (volume.affine @ [1, 0, 0, 1])[:3] - volume.affine[:3, 3]
        across, place = header.ImageOrientationPatient[:3], header.ImagePositionPatient
        lps = [-1, -1, 1]  # NIfTI counts to the right and front, DICOM to the left and back
        assert volume.affine[:3, 3] * lps == pytest.approx(place, abs=1e-3)
        assert left_to_right * lps == pytest.approx(np.multiply(across, header.PixelSpacing[1]), abs=1e-3)


def test_the_seg_refers_to_its_source_and_lies_where_that_lies(tmp_path: Path) -> None:
    source = pydicom.dcmread(shipped("CT_small.dcm"))
    seg = written(tmp_path, shipped("CT_small.dcm"))
    (series,) = seg.ReferencedSeriesSequence
    assert series.SeriesInstanceUID == source.SeriesInstanceUID != seg.SeriesInstanceUID
    assert series.ReferencedInstanceSequence[0].ReferencedSOPInstanceUID == source.SOPInstanceUID
    (reference,) = references(seg)
    assert reference.ReferencedSOPInstanceUID == source.SOPInstanceUID
    assert reference.ReferencedSOPClassUID == source.SOPClassUID
    assert "ReferencedFrameNumber" not in reference
    assert seg.FrameOfReferenceUID == source.FrameOfReferenceUID
    position = seg.PerFrameFunctionalGroupsSequence[0].PlanePositionSequence[0]
    shared = seg.SharedFunctionalGroupsSequence[0]
    assert position.ImagePositionPatient == source.ImagePositionPatient
    assert shared.PlaneOrientationSequence[0].ImageOrientationPatient == source.ImageOrientationPatient
    assert shared.PixelMeasuresSequence[0].PixelSpacing == source.PixelSpacing


def test_a_chest_film_without_a_frame_of_reference_has_its_seg_too(tmp_path: Path) -> None:
    pytest.importorskip("data_store", reason="pydicom-data is not installed (extra dev)")
    source = shipped("RG1_J2KR.dcm")
    seg = written(tmp_path, source)
    assert "FrameOfReferenceUID" not in seg
    assert np.array_equal(unpacked(seg), predict(read_image(source)).masks)
    assert references(seg)[0].ReferencedSOPInstanceUID == pydicom.dcmread(source).SOPInstanceUID


def test_the_seg_of_one_frame_refers_to_that_frame(tmp_path: Path) -> None:
    seg = written(tmp_path, shipped("examples_ybr_color.dcm"), [4], labels=("blob", "half"))
    assert [reference.ReferencedFrameNumber for reference in references(seg)] == [5, 5]


def test_one_seg_holds_several_frames_of_an_enhanced_file_each_at_its_place(tmp_path: Path) -> None:
    source = shipped("eCT_Supplemental.dcm")
    later, earlier = (predict(read_image(source, frame=frame)) for frame in (1, 0))
    later.masks[0, 100:200] = True
    write_dicom_seg([later, earlier], source, tmp_path / "seg.dcm")
    seg = pydicom.dcmread(tmp_path / "seg.dcm")
    numbers = [int(reference.ReferencedFrameNumber) for reference in references(seg)]
    assert sorted(numbers) == [1, 2]
    frames = pydicom.dcmread(source).PerFrameFunctionalGroupsSequence
    for number, bits, group in zip(numbers, unpacked(seg), seg.PerFrameFunctionalGroupsSequence, strict=True):
        assert np.array_equal(bits, (earlier, later)[number - 1].masks[0])
        place = frames[number - 1].PlanePositionSequence[0].ImagePositionPatient
        assert group.PlanePositionSequence[0].ImagePositionPatient == place


def test_one_seg_holds_the_frames_of_a_cine_that_lie_nowhere(tmp_path: Path) -> None:
    source = shipped("examples_ybr_color.dcm")
    later, earlier = (predict(read_image(source, frame=frame)) for frame in (2, 1))
    later.masks[0, 100:200] = True
    write_dicom_seg([later, earlier], source, tmp_path / "seg.dcm")
    seg = pydicom.dcmread(tmp_path / "seg.dcm")
    assert [reference.ReferencedFrameNumber for reference in references(seg)] == [3, 2]
    for bits, prediction in zip(unpacked(seg), (later, earlier), strict=True):
        assert np.array_equal(bits, prediction.masks[0])
    assert "FrameOfReferenceUID" not in seg


def test_nothing_found_is_an_empty_frame_and_not_a_missing_one(tmp_path: Path) -> None:
    source = shipped("CT_small.dcm")
    empty = predict(read_image(source), ("blob", "half"))
    empty.masks[:] = False
    write_dicom_seg([empty], source, tmp_path / "seg.dcm")
    bits = unpacked(pydicom.dcmread(tmp_path / "seg.dcm"))
    assert len(bits) == 2
    assert not bits.any()


def test_the_seg_says_which_models_made_it_and_that_it_is_for_research(tmp_path: Path) -> None:
    seg = written(tmp_path, shipped("CT_small.dcm"))
    (segment,) = seg.SegmentSequence
    assert (segment.SegmentLabel, segment.SegmentAlgorithmType) == ("blob", "AUTOMATIC")
    assert "weighted mean of first × 0.75 (" in segment.SegmentDescription
    assert "second × 0.25 (" in segment.SegmentDescription
    assert "threshold 0.5" in segment.SegmentDescription
    (algorithm,) = segment.SegmentationAlgorithmIdentificationSequence
    assert (algorithm.AlgorithmName, algorithm.AlgorithmSource) == ("pair", "medseg")
    assert seg.ContentLabel == "MEDSEG"
    for text in (seg.ContentDescription, segment.SegmentDescription):
        assert NOTICE in text
    assert re.fullmatch(r"medseg pair mask \d{4}-\d\d-\d\d \d\d:\d\d research only", seg.SeriesDescription)


def test_of_the_patient_the_seg_repeats_what_files_it_and_no_more(tmp_path: Path, changed: Changed) -> None:
    source = changed(
        PatientName="Müller^Ägid", PatientAddress="canary street", SpecificCharacterSet="ISO_IR 100", StudyID="S1"
    )
    seg = written(tmp_path, source)
    assert (str(seg.PatientName), seg.PatientID, seg.StudyID) == ("Müller^Ägid", "1CT1", "S1")
    assert b"canary" not in (tmp_path / "seg.dcm").read_bytes()


def test_another_file_than_the_images_is_refused(tmp_path: Path, changed: Changed) -> None:
    prediction = predict(read_image(shipped("CT_small.dcm")))
    with pytest.raises(InputError, match="not the file that the image was read from"):
        write_dicom_seg([prediction], changed(StudyID="other"), tmp_path / "seg.dcm")


def test_predictions_of_other_settings_are_refused(tmp_path: Path) -> None:
    prediction = predict(read_image(shipped("CT_small.dcm")))
    with pytest.raises(InputError, match="frames under the same settings"):
        write_dicom_seg([prediction, prediction], shipped("CT_small.dcm"), tmp_path / "seg.dcm")


def test_an_image_that_is_no_dicom_is_refused_with_its_kind(tmp_path: Path) -> None:
    PIL.Image.new("L", (32, 32)).save(tmp_path / "a.png")
    with pytest.raises(ReadError, match="refers to the DICOM that it was made from, and this image's file is a PNG"):
        written(tmp_path, tmp_path / "a.png")


@pytest.mark.parametrize("keyword", ["StudyInstanceUID", "SOPInstanceUID", "SeriesInstanceUID"])
def test_a_source_that_nothing_can_refer_to_is_refused_by_name(tmp_path: Path, changed: Changed, keyword: str) -> None:
    with pytest.raises(ReadError, match=r"does not say its .+, so no DICOM result can refer to it"):
        written(tmp_path, changed(**{keyword: None}))


@pytest.mark.parametrize(
    ("attributes", "sentence"),
    [
        ({"ImageOrientationPatient": [1, 0]}, "holds no usable number"),
        ({"SliceThickness": [1, 2]}, "holds no usable number"),
    ],
)
def test_a_header_that_makes_no_sense_is_refused_and_leaves_no_file(
    tmp_path: Path, changed: Changed, attributes: dict[str, object], sentence: str
) -> None:
    with pytest.raises(ReadError, match=sentence):
        written(tmp_path, changed(**attributes))
    assert not (tmp_path / "seg.dcm").exists()


def test_a_slice_without_a_frame_of_reference_gets_none(tmp_path: Path, changed: Changed) -> None:
    seg = written(tmp_path, changed(FrameOfReferenceUID=None))
    assert "FrameOfReferenceUID" not in seg


@pytest.mark.parametrize("attributes", [{"PatientSex": "x"}, {"StudyTime": "14:04:38"}, {"PatientID": None}])
def test_what_is_odd_but_not_needed_is_left_empty(
    tmp_path: Path, changed: Changed, attributes: dict[str, object]
) -> None:
    with pydicom.config.disable_value_validation():
        source = changed(**attributes)
    assert not written(tmp_path, source).get(next(iter(attributes)))


@pytest.mark.skipif(not CORPUS.is_dir(), reason="the hostile files are not beside this checkout (../shared/corpus)")
def test_every_hostile_file_ends_in_a_seg_or_in_a_sentence(tmp_path: Path) -> None:
    outcomes = []
    for path in sorted(CORPUS.iterdir()):
        try:
            header, file_sha256 = read_source(path, [0])
            rows, columns = (int(header[0][tag]["Value"][0]) for tag in ("00280010", "00280011"))
            pixels = np.zeros((min(rows, 512), min(columns, 512), 1), np.float32)
            write_dicom_seg([predict(Image(pixels, file_sha256=file_sha256))], path, tmp_path / "seg.dcm")
            outcomes.append("seg")
        except MedsegError as refusal:
            outcomes.append(str(refusal))
    assert len(outcomes) == len(list(CORPUS.iterdir())) > 50
    assert all(outcome == "seg" or outcome.endswith(".") for outcome in outcomes)
