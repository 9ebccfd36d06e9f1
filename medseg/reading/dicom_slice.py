"""Where one DICOM file lies in its series: what sorts and names slices, and nothing of the patient.

The UIDs are hashed, since they lead to a patient in any archive; the series' description is the one text that leaves
the file, because nobody could choose a series without it. Of the Patient ID a hash alone leaves it, to tell which
files are of one patient.
"""

from __future__ import annotations

import hashlib
import io
import os
import re
from collections.abc import Callable
from typing import Any

import pydicom
from pydicom.dataset import Dataset
from pydicom.uid import MediaStorageDirectoryStorage

from medseg.errors import ReadError
from medseg.reading.dicom_header import check_deflated, frame_count, numbers
from medseg.reading.dicom_look import modality, window_of
from medseg.reading.signatures import is_bare_dicom, is_part10

_READ = [
    *("SOPClassUID", "SOPInstanceUID", "SeriesInstanceUID", "SeriesDescription", "SeriesNumber", "Modality"),
    *("InstanceNumber", "ImagePositionPatient", "ImageOrientationPatient", "PixelSpacing", "NumberOfFrames"),
    *("Rows", "Columns", "SamplesPerPixel", "WindowCenter", "WindowWidth", "VOILUTFunction", "VOILUTSequence"),
]
_NOBODY = re.compile(
    r"(anon[a-z]*|de|(de-?)?identified|unknown|unbekannt|none|null|n/?a|no|not|provided|id|name|patient|patient(id|name)"
    r"|subject|removed|redacted|deleted|hidden|test|dummy|default|0*|[x*#?.]*)",
    re.I,
)
"""The words that programs which remove names write in the place of a Patient ID."""

_LONGEST_DESCRIPTION = 64  # of the standard's LO (PS3.5 6.2)


def read_slice(path: str, read_bytes: Callable[[str], bytes]) -> dict[str, Any] | None:
    """What is known of the DICOM image at `path`, as JSON can carry it; None for a file that is no DICOM image.

    "rows", "columns", "samples", "frames"; "series" and "instance", the hashed UIDs; "description", "modality",
    "series_number", "number"; "position" and "orientation" in mm, "window" and "lut". What the file does not say is
    None.
    """
    header = _header(path, read_bytes, _READ)
    if header is None or "Rows" not in header or "Columns" not in header:
        return None
    if header.get("SOPClassUID") == MediaStorageDirectoryStorage:
        return None
    return {
        **{key: _integer(header, keyword) for key, keyword in _NUMBERS.items()},
        "frames": frame_count(header) or 1,
        "series": _hashed(header, "SeriesInstanceUID"),
        "instance": _hashed(header, "SOPInstanceUID"),
        "description": _description(header),
        "modality": modality(header),
        "position": _vector(header, "ImagePositionPatient", 3),
        "orientation": _vector(header, "ImageOrientationPatient", 6),
        "spacing": _vector(header, "PixelSpacing", 2),
        "window": window_of(header),
        "lut": bool(header.get("VOILUTSequence")),
    }


def read_patient(path: str, read_bytes: Callable[[str], bytes]) -> str | None:
    """The hash of the Patient ID (0010,0020) of the DICOM file at `path`; None where it has none, or one that stands
    for nobody, and for a file that is no DICOM."""
    header = _header(path, read_bytes, ["PatientID"])
    said = " ".join(str(header.get("PatientID") or "").split()) if header is not None else ""
    nobody = all(_NOBODY.fullmatch(word) for word in re.split(r"[ ^_-]+", said))
    return None if nobody else hashlib.sha256(said.encode()).hexdigest()[:16]


def _header(path: str, read_bytes: Callable[[str], bytes], keywords: list[str]) -> Dataset | None:
    """Those attributes of the DICOM file at `path`; None for a file that begins as none."""
    with open(path, "rb", opener=lambda name, flags: os.open(name, flags | getattr(os, "O_NONBLOCK", 0))) as file:
        start = file.read(132)
    if not (is_part10(start) or is_bare_dicom(start)):
        return None
    data = read_bytes(path)
    check_deflated(data)
    return pydicom.dcmread(io.BytesIO(data), force=True, specific_tags=[*keywords], stop_before_pixels=True)


_NUMBERS = {
    "rows": "Rows",
    "columns": "Columns",
    "samples": "SamplesPerPixel",
    "number": "InstanceNumber",
    "series_number": "SeriesNumber",
}


def _integer(header: Dataset, keyword: str) -> int | None:
    values = _vector(header, keyword, 1)
    return None if values is None else int(values[0])


def _vector(header: Dataset, keyword: str, count: int) -> list[float] | None:
    """The numbers of an attribute; None where it is absent or holds others than it should."""
    try:
        values = numbers(header, keyword)
    except ReadError:
        return None
    return values if len(values) == count else None


def _hashed(header: Dataset, keyword: str) -> str | None:
    value = header.get(keyword)
    return hashlib.sha256(str(value).encode()).hexdigest()[:16] if value else None


def _description(header: Dataset) -> str:
    text = "".join(letter for letter in str(header.get("SeriesDescription") or "") if letter.isprintable())
    return text.strip()[:_LONGEST_DESCRIPTION]
