"""What an archive lists (PS3.18 F, DICOM JSON), as rows without a patient's name."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

from pydicom.datadict import tag_for_keyword

Row: TypeAlias = Mapping[str, Any]


@dataclass(frozen=True)
class Study:
    """A row of a search; it holds nothing that names the patient."""

    uid: str
    date: str
    modalities: str
    description: str
    accession: str
    instances: int | None


@dataclass(frozen=True)
class Series:
    uid: str
    modality: str
    number: str
    description: str
    instances: int | None


def study_of(row: Row) -> Study:
    return Study(
        uid=text_of(row, "StudyInstanceUID"),
        date=_line_of(row, "StudyDate"),
        modalities=_line_of(row, "ModalitiesInStudy"),
        description=_line_of(row, "StudyDescription"),
        accession=_line_of(row, "AccessionNumber"),
        instances=count_of(row, "NumberOfStudyRelatedInstances"),
    )


def series_of(row: Row) -> Series:
    return Series(
        uid=text_of(row, "SeriesInstanceUID"),
        modality=_line_of(row, "Modality"),
        number=_line_of(row, "SeriesNumber"),
        description=_line_of(row, "SeriesDescription"),
        instances=count_of(row, "NumberOfSeriesRelatedInstances"),
    )


def text_of(row: Row, keyword: str) -> str:
    """The attribute's values with commas between; empty where it is absent, or holds what it must not: archives keep
    what scanners sent, and pydicom would write such values into the log."""
    element = row.get(f"{tag_for_keyword(keyword):08X}")
    values = element.get("Value") if isinstance(element, dict) else None
    return ", ".join(str(each) for each in values if isinstance(each, (str, int))) if isinstance(values, list) else ""


def _line_of(row: Row, keyword: str) -> str:
    """As `text_of`, in one line, and no more than the standard allows (PS3.5 6.2, LO)."""
    return "".join(sign if sign.isprintable() else " " for sign in text_of(row, keyword)[:64]).strip()


def count_of(row: Row, keyword: str) -> int | None:
    """None where the archive does not say."""
    text = text_of(row, keyword)
    return int(text) if re.fullmatch("[0-9]{1,9}", text) else None
