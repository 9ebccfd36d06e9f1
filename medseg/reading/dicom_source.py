"""What a DICOM SEG must repeat of the picture it was made from: whose it is, of which study, and where it lies.

Nothing else in medseg reads a patient's identity, and this does so only when a DICOM SEG is asked for.
"""

from __future__ import annotations

import io
from collections.abc import Sequence
from typing import Any

import pydicom
from pydicom.dataset import Dataset

from medseg.errors import ReadError
from medseg.reading.dicom_header import absent, check_deflated, frame_count, numbers, senseless
from medseg.reading.dicom_look import layer
from medseg.reading.stored import check_frame

_REFERENCES = ("SOPClassUID", "SOPInstanceUID", "StudyInstanceUID", "SeriesInstanceUID", "Rows", "Columns")
_IDENTITY = (  # of the patient and study modules no more than what files a result beside its source
    *("PatientID", "PatientName", "PatientBirthDate", "PatientSex", "IssuerOfPatientID"),
    *("AccessionNumber", "StudyID", "StudyDate", "StudyTime", "StudyDescription", "ReferringPhysicianName"),
)
_LOSSY = ("LossyImageCompression", "LossyImageCompressionRatio", "LossyImageCompressionMethod")
_PLACE = ("FrameOfReferenceUID", "PositionReferenceIndicator")
_GROUPS = {  # functional groups (PS3.3 C.7.6.16.2) and how many numbers each of their attributes holds
    "PlanePositionSequence": {"ImagePositionPatient": 3},
    "PlaneOrientationSequence": {"ImageOrientationPatient": 6},
    "PixelMeasuresSequence": {"PixelSpacing": 2, "SliceThickness": 1, "SpacingBetweenSlices": 1},
}
_FRAMES = ("NumberOfFrames", "SharedFunctionalGroupsSequence", "PerFrameFunctionalGroupsSequence")
_GEOMETRY = {keyword: count for attributes in _GROUPS.values() for keyword, count in attributes.items()}
_READ = [*_REFERENCES, *_IDENTITY, *_LOSSY, *_PLACE, *_FRAMES, *_GEOMETRY, "Modality", "SpecificCharacterSet"]


def read_source(data: bytes, frames: Sequence[int]) -> dict[str, Any]:
    """The header of a DICOM that holds `frames` (counted from 0) and no others, as DICOM JSON (PS3.18 F).

    Geometry is the functional groups' where the file has them, else that of the top level. Raises ReadError for a file
    that nothing can refer to, or whose geometry makes no sense.
    """
    check_deflated(data)
    header = pydicom.dcmread(io.BytesIO(data), force=True, specific_tags=list(_READ))
    for keyword in _REFERENCES:
        if not header.get(keyword):
            raise ReadError(absent(keyword, "so a DICOM SEG cannot refer to it"))
    for frame in frames:
        check_frame(frame, frame_count(header))
    source = Dataset()
    for keyword in (*_REFERENCES, *_IDENTITY, *_LOSSY, *_PLACE, "Modality"):
        _copy(header, keyword, source)
    if "NumberOfFrames" in header:
        source.NumberOfFrames = len(frames)
        _add_groups(header, frames, source)
    else:
        _add_geometry(header, _GEOMETRY, source)
    if len(frames) > 1 and "PerFrameFunctionalGroupsSequence" not in source:
        raise ReadError("This DICOM does not say where its frames lie: write one DICOM SEG for each frame.")
    return source.to_json_dict()


def _add_groups(header: Dataset, frames: Sequence[int], source: Dataset) -> None:
    """Position frame by frame, direction and spacing once: highdicom wants them shared by all."""
    groups = {name: [_group(header, frame, name) for frame in frames] for name in _GROUPS}
    positions, orientations, measures = groups.values()
    if any(one != orientations[0] for one in orientations) or any(one != measures[0] for one in measures):
        raise ReadError("These frames differ in direction or spacing: write one DICOM SEG for each frame.")
    shared = Dataset()
    shared.PixelMeasuresSequence = [measures[0]]
    source.SharedFunctionalGroupsSequence = [shared]
    if len(orientations[0]) and all(map(len, positions)):
        shared.PlaneOrientationSequence = [orientations[0]]
        source.PerFrameFunctionalGroupsSequence = [Dataset() for _ in frames]
        for item, position in zip(source.PerFrameFunctionalGroupsSequence, positions, strict=True):
            item.PlanePositionSequence = [position]


def _group(header: Dataset, frame: int, name: str) -> Dataset:
    """The attributes that medseg knows of one functional group of `frame`, empty where there are none."""
    found = Dataset()
    if "PerFrameFunctionalGroupsSequence" in header or name == "PixelMeasuresSequence":
        _add_geometry(layer(header, frame, name), _GROUPS[name], found)
    return found


def _add_geometry(header: Dataset, attributes: dict[str, int], into: Dataset) -> None:
    for keyword, count in attributes.items():
        found = numbers(header, keyword)
        if found and len(found) != count:
            raise ReadError(senseless(keyword))
        if found:
            _copy(header, keyword, into)


def _copy(header: Dataset, keyword: str, into: Dataset) -> None:
    if keyword in header:
        into[keyword] = header[keyword]
