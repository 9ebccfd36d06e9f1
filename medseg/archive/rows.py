"""What an archive lists (PS3.18 F, DICOM JSON), as rows without a patient's name."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
from typing import Any

import pydicom
from pydicom.dataset import Dataset


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


def study_of(row: Dataset) -> Study:
    return Study(
        uid=text_of(row, "StudyInstanceUID"),
        date=text_of(row, "StudyDate"),
        modalities=text_of(row, "ModalitiesInStudy"),
        description=text_of(row, "StudyDescription"),
        accession=text_of(row, "AccessionNumber"),
        instances=_number_of(row, "NumberOfStudyRelatedInstances"),
    )


def series_of(row: Dataset) -> Series:
    return Series(
        uid=text_of(row, "SeriesInstanceUID"),
        modality=text_of(row, "Modality"),
        number=text_of(row, "SeriesNumber"),
        description=text_of(row, "SeriesDescription"),
        instances=_number_of(row, "NumberOfSeriesRelatedInstances"),
    )


def dataset_of(row: Any) -> Dataset:
    """DICOM JSON (PS3.18 F), without attributes that hold what they must not: archives keep what scanners sent."""
    try:
        return Dataset.from_json(row)
    except (ValueError, TypeError, OverflowError):
        dataset = Dataset()
        for tag, element in dict(row).items():
            with contextlib.suppress(ValueError, TypeError, OverflowError):
                dataset.update(Dataset.from_json({tag: element}))
        return dataset


def text_of(row: Dataset, keyword: str) -> str:
    value = row.get(keyword)
    if value is None:
        return ""
    return ", ".join(map(str, value)) if isinstance(value, (list, pydicom.multival.MultiValue)) else str(value)


def count_of(row: Dataset, keyword: str) -> int:
    text = text_of(row, keyword)
    return int(text) if text.isdigit() else 0


def _number_of(row: Dataset, keyword: str) -> int | None:
    """None where the archive does not say."""
    return count_of(row, keyword) if row.get(keyword) is not None else None
