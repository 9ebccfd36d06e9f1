"""What an archive lists (PS3.18 F, DICOM JSON), as rows without a patient's name."""

from __future__ import annotations

import fnmatch
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


def unencoded(text: str) -> str:
    """`text` in the signs that stand in a URL as they are (RFC 3986 2.3), a wildcard of DICOM for each other (PS3.4
    C.2.2.2.4), whose number of bytes is the archive's affair where it is not ASCII."""
    ascii_only = re.sub(r"[^\x00-\x7f]+", "*", text)
    return re.sub(r"[^A-Za-z0-9._~*?-]", "?", ascii_only)


def matches(row: Row, keyword: str, wanted: str) -> bool:
    """Whether the attribute is `wanted`, which may hold wildcards; True where the archive does not tell it."""
    text = text_of(row, keyword)
    return not text or fnmatch.fnmatchcase(text.casefold(), wanted.replace("[", "[[]").casefold())


def text_of(row: Row, keyword: str) -> str:
    """The attribute's values with commas between; empty where it is absent, or holds what it must not: archives keep
    what scanners sent, and pydicom would write such values into the log."""
    element = row.get(f"{tag_for_keyword(keyword):08X}")
    values = element.get("Value") if isinstance(element, dict) else None
    values = values if isinstance(values, list) else []
    plain = [each.get("Alphabetic") if isinstance(each, dict) else each for each in values]
    return ", ".join(str(each) for each in plain if isinstance(each, (str, int)))


def _line_of(row: Row, keyword: str) -> str:
    """As `text_of`, in one line, and no more than the standard allows (PS3.5 6.2, LO)."""
    return "".join(sign if sign.isprintable() else " " for sign in text_of(row, keyword)[:64]).strip()


def count_of(row: Row, keyword: str) -> int | None:
    """None where the archive does not say."""
    text = text_of(row, keyword)
    return int(text) if re.fullmatch("[0-9]{1,9}", text) else None
