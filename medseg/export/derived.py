"""A DICOM made from images: whose it is, what it refers to and where its frames lie (PS3.3 A.51, A.75).

It repeats the patient and study of its source, or no archive would file the two together: DICOM results are the only
exports of medseg that identify a patient.
"""

from __future__ import annotations

import contextlib
import os
import re
import threading
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TypeAlias

from pydicom.datadict import tag_for_keyword
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian, generate_uid

from medseg.errors import InputError, MedsegError, ReadError
from medseg.export.placement import depth, is_placed, locate
from medseg.inference.prediction import Prediction
from medseg.reading.readers import read_source
from medseg.reading.series import Series
from medseg.reading.studies import one_series
from medseg.version import __version__

Source: TypeAlias = str | os.PathLike[str] | Series
"""A DICOM file, or a folder, zip or `Series` of them."""
Sources: TypeAlias = Source | Sequence[Source]
"""The source of all predictions, or one for each."""

Frames: TypeAlias = list[tuple[Prediction, Dataset]]
"""Each prediction with what a result repeats of its frame, as `dicom_source.read_source` gives it."""

LO, SH, ST = 64, 16, 1024
"""Longest values in characters (PS3.5 6.2)."""

_REQUIRED: tuple[str, ...] = ("PatientName", "PatientID", "PatientBirthDate", "PatientSex", "StudyDate", "StudyTime")
_REQUIRED += ("ReferringPhysicianName", "StudyID", "AccessionNumber")  # they may be empty: type 2
_OPTIONAL = ("StudyDescription", "IssuerOfPatientID")
_LOSSY = ("LossyImageCompression", "LossyImageCompressionRatio", "LossyImageCompressionMethod")
_FORMS = {
    "StudyDate": r"\d{8}",
    "StudyTime": r"\d{2,6}(\.\d{1,6})?",
    "PatientSex": "[MFO]",
    "PatientBirthDate": r"\d{8}",
}
_RUSH = 1000
"""So many numbers a burst of results may be ahead of the clock; farther ahead, the clock was set or the year ended."""

_numbering = threading.Lock()
_last_number = [0]

_ALIKE = ("StudyInstanceUID", "SeriesInstanceUID", "Rows", "Columns", "FrameOfReferenceUID")
_ALONG = ("ImageOrientationPatient", "PixelSpacing")


def fitted(text: str, most: int) -> str:
    """`text` as a value of up to `most` bytes, as readers count them, without what would divide it or control a
    printer: a backslash and control characters become blanks."""
    plain = "".join(" " if sign == "\\" or not sign.isprintable() else sign for sign in text)
    return plain.encode()[:most].decode(errors="ignore").strip()


def code(value: str, scheme: str, meaning: str) -> Dataset:
    """A coded entry (PS3.3 8)."""
    item = Dataset()
    item.CodeValue, item.CodingSchemeDesignator, item.CodeMeaning = value, scheme, meaning
    return item


def read_frames(predictions: Sequence[Prediction], sources: Sources) -> Frames:
    """Each prediction with its frame's header; `sources` is the source of all of them, or one for each.

    Frames that lie in the patient are sorted along the normal of their planes, others stay in order. Raises InputError
    where a file is not its prediction's, or the predictions differ in settings or show one frame twice; ReadError where
    a file is no DICOM that a result can refer to, or the files are not of one series and grid.
    """
    paths = [sources] * len(predictions) if isinstance(sources, (str, os.PathLike, Series)) else list(sources)
    if not predictions or len(paths) != len(predictions):
        raise InputError(f"{len(predictions)} predictions want one source file, or one each; got {len(paths)}.")
    if len({(item.describe(), item.labels) for item in predictions}) > 1:
        raise InputError("One DICOM result holds frames under the same settings. Write one file for each.")
    asked: dict[str, list[tuple[Prediction, int]]] = {}
    for prediction, path in zip(predictions, paths, strict=True):
        file, frame = _place(path, prediction.image.frame)
        asked.setdefault(file, []).append((prediction, frame))
    frames = [pair for file, its in asked.items() for pair in _read(file, its)]
    headers = [header for _, header in frames]
    if len({(item.SOPInstanceUID, item.get("ReferencedFrameNumber")) for item in headers}) < len(headers):
        raise InputError("One DICOM result holds different frames under the same settings, and these repeat one.")
    for keyword in (*_ALIKE, *_ALONG):
        if any(item.get(keyword) != headers[0].get(keyword) for item in headers):
            what = "direction or spacing" if keyword in _ALONG else "series, size or frame of reference"
            raise ReadError(f"These frames differ in {what}: write one DICOM result for each.")
    return sorted(frames, key=lambda pair: depth(pair[1])) if is_placed(headers) else frames


def _place(source: Source, frame: int) -> tuple[str, int]:
    """The file of `frame`, and its frame there: a folder or zip holds a file for each slice of its series."""
    series = one_series(source)
    return (os.fspath(source), frame) if series is None else series.place(frame)  # type: ignore[arg-type]


def _read(file: str, asked: list[tuple[Prediction, int]]) -> Frames:
    headers, file_sha256 = read_source(file, [frame for _, frame in asked])
    if any(prediction.image.file_sha256 != file_sha256 for prediction, _ in asked):
        raise InputError("This is not the file that the image was read from, so a DICOM result must not refer to it.")
    return [(prediction, Dataset.from_json(header)) for (prediction, _), header in zip(asked, headers, strict=True)]


def begin(header: Dataset, sop_class: str, modality: str, description: str) -> Dataset:
    """A result of the class `sop_class` in a series of its own, of the patient and study of `header`.

    Series Number is the time, month first: higher than a scanner's own, different for each result, and in order.
    """
    result = Dataset()
    result.file_meta = FileMetaDataset()
    result.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    result.SpecificCharacterSet = "ISO_IR 192"  # DICOM JSON is Unicode already
    result.SOPClassUID, result.SOPInstanceUID = sop_class, generate_uid(prefix=None)
    for keyword in _REQUIRED:
        value = header.get(keyword)
        fits = keyword not in _FORMS or re.fullmatch(_FORMS[keyword], str(value))
        setattr(result, keyword, value if fits else "")  # an odd value, ACR-NEMA's too, would make the result invalid
    for keyword in _OPTIONAL:
        if header.get(keyword):
            setattr(result, keyword, header[keyword].value)
    result.StudyInstanceUID, result.SeriesInstanceUID = header.StudyInstanceUID, generate_uid(prefix=None)
    now = time.localtime()
    result.SeriesNumber, result.InstanceNumber = _series_number(now), 1
    result.Modality, result.SeriesDescription = modality, fitted(description, LO)
    result.ContentDate = result.SeriesDate = result.InstanceCreationDate = time.strftime("%Y%m%d", now)
    result.ContentTime = result.SeriesTime = result.InstanceCreationTime = time.strftime("%H%M%S", now)
    result.Manufacturer = result.ManufacturerModelName = "medseg"
    result.DeviceSerialNumber, result.SoftwareVersions = "0", __version__
    result.LossyImageCompression = header.get("LossyImageCompression") or "00"
    for keyword in _LOSSY[1:]:
        if result.LossyImageCompression == "01" and header.get(keyword):
            setattr(result, keyword, header[keyword].value)
    return result


def _series_number(now: time.struct_time) -> int:
    """The time, or one more than the last where several results are begun in a second."""
    at = int(time.strftime("%m%d%H%M%S", now))
    with _numbering:
        following = _last_number[0] + 1
        _last_number[0] = following if 0 <= following - at < _RUSH else at
        return _last_number[0]


def series_description(frames: Frames, kind: str) -> str:
    """Which ensemble, what and when: `medseg polyp mask 2026-11-26 20:15 research only`, of up to 64 characters, with
    `no scale` where the image has no spacing."""
    prediction, header = frames[0]
    scale = "" if "PixelSpacing" in header else ", no scale"
    rest = f"{kind} {time.strftime('%Y-%m-%d %H:%M')} research only{scale}"
    return f"medseg {fitted(prediction.ensemble.name, LO - len(rest) - 8)} {rest}"


def refer(result: Dataset, headers: Sequence[Dataset]) -> None:
    """The Common Instance Reference module (PS3.3 C.12.2): the source's series and its instances."""
    series = Dataset()
    series.SeriesInstanceUID = headers[0].SeriesInstanceUID
    series.ReferencedInstanceSequence = [
        _instance(uid, header) for uid, header in {reference.SOPInstanceUID: reference for reference in headers}.items()
    ]
    result.ReferencedSeriesSequence = [series]


def _instance(uid: str, header: Dataset) -> Dataset:
    item = Dataset()
    item.ReferencedSOPClassUID, item.ReferencedSOPInstanceUID = header.SOPClassUID, uid
    return item


def source_image(header: Dataset) -> Dataset:
    """An item of a Source Image Sequence: the frame that was segmented (PS3.3 C.7.6.16.2.6)."""
    item = _instance(header.SOPInstanceUID, header)
    if "ReferencedFrameNumber" in header:
        item.ReferencedFrameNumber = header.ReferencedFrameNumber
    item.SpatialLocationsPreserved = "YES"
    item.PurposeOfReferenceCodeSequence = [code("121322", "DCM", "Source image for image processing operation")]
    return item


def add_groups(result: Dataset, frames: Frames, segments: Sequence[int], derivation: Dataset) -> None:
    """The functional groups and dimensions of a frame for each of the `segments` (none: 0) and of the `frames`."""
    headers = [header for _, header in frames]
    place = locate(headers)
    shared = Dataset()
    shared.PlaneOrientationSequence, shared.PixelMeasuresSequence = [place.orientation], [place.measures]
    result.SharedFunctionalGroupsSequence = [shared]
    groups = []
    for segment in segments or (0,):
        for number, (header, position) in enumerate(zip(headers, place.positions, strict=True), start=1):
            group = _group(header, number, derivation, position)
            if segment:
                identification = Dataset()
                identification.ReferencedSegmentNumber = segment
                group.SegmentIdentificationSequence = [identification]
                group.FrameContentSequence[0].DimensionIndexValues = [segment, number]
            groups.append(group)
    result.PerFrameFunctionalGroupsSequence, result.NumberOfFrames = groups, len(groups)
    if place.frame_of_reference:
        result.FrameOfReferenceUID = place.frame_of_reference
        result.PositionReferenceIndicator = headers[0].get("PositionReferenceIndicator")
    _add_dimensions(result, bool(segments))


def _group(header: Dataset, number: int, derivation: Dataset, position: Dataset) -> Dataset:
    group, content, source = Dataset(), Dataset(), Dataset()
    content.DimensionIndexValues = [number]
    source.DerivationCodeSequence, source.SourceImageSequence = [derivation], [source_image(header)]
    group.FrameContentSequence, group.DerivationImageSequence = [content], [source]
    group.PlanePositionSequence = [position]
    return group


def _add_dimensions(result: Dataset, segmented: bool) -> None:
    """What the Dimension Index Values count (PS3.3 C.7.6.17)."""
    organization = Dataset()
    organization.DimensionOrganizationUID = generate_uid(prefix=None)
    result.DimensionOrganizationSequence = [organization]
    segment = ("ReferencedSegmentNumber", "SegmentIdentificationSequence")
    dimensions = [*([segment] if segmented else []), ("ImagePositionPatient", "PlanePositionSequence")]
    result.DimensionIndexSequence = []
    for keyword, group in dimensions:
        item = Dataset()
        item.DimensionOrganizationUID = organization.DimensionOrganizationUID
        item.DimensionIndexPointer, item.FunctionalGroupPointer = tag_for_keyword(keyword), tag_for_keyword(group)
        item.DimensionDescriptionLabel = keyword
        result.DimensionIndexSequence.append(item)


@contextlib.contextmanager
def refusing(path: Path, what: str) -> Iterator[None]:
    """Turn what pydicom raises at a stranger's header into one sentence, and leave no file."""
    try:
        yield
    except MedsegError:
        raise
    except Exception as error:
        path.unlink(missing_ok=True)
        raise ReadError(
            f"No {what} can refer to this DICOM: its header lacks or contradicts what one must repeat. "
            "Choose another format."
        ) from error


def save(result: Dataset, path: Path) -> None:
    result.save_as(path, enforce_file_format=True)
