"""What a DICOM result must repeat of the image it was made from: whose it is, of which study, and where it lies.

Nothing else in medseg reads a patient's identity, and this does so only when a DICOM result is asked for.
"""

from __future__ import annotations

import io
import re
from collections.abc import Sequence
from typing import Any

import pydicom
from pydicom.dataset import Dataset
from pydicom.valuerep import DSfloat

from medseg.errors import ReadError
from medseg.reading.dicom_header import absent, check_deflated, frame_count, numbers, senseless
from medseg.reading.dicom_look import layer, spacing
from medseg.reading.stored import check_frame

_REFERENCES = ("SOPClassUID", "SOPInstanceUID", "StudyInstanceUID", "SeriesInstanceUID", "Rows", "Columns")
_IDENTITY = (  # of the patient and study modules no more than what files a result beside its source
    *("PatientID", "PatientName", "PatientBirthDate", "PatientSex", "IssuerOfPatientID"),
    *("AccessionNumber", "StudyID", "StudyDate", "StudyTime", "StudyDescription", "ReferringPhysicianName"),
)
_KINDS = ("Modality", "PatientOrientation", "Laterality", "BurnedInAnnotation")
_LOSSY = ("LossyImageCompression", "LossyImageCompressionRatio", "LossyImageCompressionMethod")
_PLACE = ("FrameOfReferenceUID", "PositionReferenceIndicator")
_GROUPS = {  # functional groups (PS3.3 C.7.6.16.2) and how many numbers each of their attributes holds
    "PlanePositionSequence": {"ImagePositionPatient": 3},
    "PlaneOrientationSequence": {"ImageOrientationPatient": 6},
    "PixelMeasuresSequence": {"SliceThickness": 1, "SpacingBetweenSlices": 1},
}
_SPACING = ("PixelSpacing", "ImagerPixelSpacing", "NominalScannedPixelSpacing")
_UID = re.compile(r"[0-9]+(\.[0-9]+)+")
_FRAMES = ("NumberOfFrames", "SharedFunctionalGroupsSequence", "PerFrameFunctionalGroupsSequence")
_GEOMETRY = [keyword for attributes in _GROUPS.values() for keyword in attributes]
_COPIED = (*_REFERENCES, *_IDENTITY, *_KINDS, *_LOSSY, *_PLACE)
_READ = [*_COPIED, *_FRAMES, *_GEOMETRY, *_SPACING, "SpecificCharacterSet"]


def read_source(data: bytes, frames: Sequence[int]) -> list[dict[str, Any]]:
    """Of each of the `frames` (counted from 0) of a DICOM what a result repeats, as DICOM JSON (PS3.18 F), flat.

    Position, direction and thickness are the functional groups' where the file has them, else those of the top level.
    Pixel Spacing is what `Image.spacing_mm` is, absent where the file has none; Imager Pixel Spacing is there too where
    it is the source of that. Referenced Frame Number, counted from 1, is there for an enhanced file and for one of
    several frames: films of one frame may count it too, and are referred to as a whole.
    Raises ReadError for a file that nothing can refer to, or whose geometry makes no sense.
    """
    check_deflated(data)
    header = pydicom.dcmread(io.BytesIO(data), force=True, specific_tags=list(_READ))
    for keyword in _REFERENCES:
        if not header.get(keyword):
            raise ReadError(absent(keyword, "so no DICOM result can refer to it"))
        if keyword.endswith("UID") and not _is_uid(header[keyword].value):
            raise ReadError(senseless(keyword, "UID"))  # it becomes part of results, and of an archive's addresses
    for frame in frames:
        check_frame(frame, frame_count(header) or frame + 1)
    return [_frame(header, frame).to_json_dict() for frame in frames]


def _is_uid(value: object) -> bool:
    """Whether it has the form of a UID (PS3.5 9.1); zeros that lead a component occur and are let pass."""
    return isinstance(value, str) and len(value) <= 64 and bool(_UID.fullmatch(value))


def _frame(header: Dataset, frame: int) -> Dataset:
    source = Dataset()
    for keyword in _COPIED:
        if keyword in header:
            source[keyword] = header[keyword]
    if not _is_uid(source.get("FrameOfReferenceUID")):
        source.pop("FrameOfReferenceUID", None)
    if (frame_count(header) or 1) > 1 or "PerFrameFunctionalGroupsSequence" in header:
        source.ReferencedFrameNumber = frame + 1
    for name, attributes in _GROUPS.items():
        if "NumberOfFrames" not in header or "PerFrameFunctionalGroupsSequence" in header:
            _add_geometry(layer(header, frame, name), attributes, source)
    measured = spacing(header, frame)
    if measured is not None:
        source.PixelSpacing = [DSfloat(value, auto_format=True) for value in measured]
        if not numbers(layer(header, frame, "PixelMeasuresSequence"), "PixelSpacing"):
            _add_geometry(header, {"ImagerPixelSpacing": 2}, source)
    return source


def _add_geometry(layer: Dataset, attributes: dict[str, int], into: Dataset) -> None:
    for keyword, count in attributes.items():
        values = numbers(layer, keyword)
        if values and len(values) != count:
            raise ReadError(senseless(keyword))
        if values:
            into[keyword] = layer[keyword]
