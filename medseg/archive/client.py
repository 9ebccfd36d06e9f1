"""Find, fetch and store over DICOMweb (PS3.18 10: QIDO-RS, WADO-RS, STOW-RS)."""

from __future__ import annotations

import contextlib
import logging
import math
import re
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, TypeAlias

import pydicom
from pydicom.dataset import Dataset

from medseg.archive.address import checked_uid
from medseg.archive.rows import Row, Series, Study, count_of, matches, series_of, study_of, text_of, unencoded
from medseg.archive.settings import URL, Settings, read_settings
from medseg.errors import ArchiveError, CancelledError, InputError, ReadError
from medseg.reading.readers import read_source
from medseg.reading.stored import MAX_BYTES

Progress: TypeAlias = Callable[[int, int], None]

MOST = 100
"""Studies that one search returns at most."""

PAGE, MOST_INSTANCES = 1000, 20_000
"""Rows asked for at once, as archives cut long answers, and instances of one fetch."""

MOST_SIGNS = 64
"""Longest text of a search: a component of a name has as many (PS3.5 6.2)."""

PREVIEW = "192,192"
"""Columns and rows of what an archive renders."""

UIDS = ("StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID")
_DICOM = 'multipart/related; type="application/dicom"; transfer-syntax=*'
_OURS = re.compile(r"medseg .*research only")  # as `export.derived` describes what must not be segmented again
_NO_IMAGES = {"SEG", "SR", "PR", "KO", "RTSTRUCT", "RTPLAN", "REG", "DOC", "RWV", "FID", "AU", "ECG"}


@dataclass(frozen=True)
class Fetched:
    """Files in the order of their Instance Numbers, and how many instances of the series or study hold no image, or of
    the study are results of medseg."""

    paths: list[Path]
    left_out: int


class Archive:
    """The archive of `settings`. Every method raises ArchiveError with one sentence where it fails."""

    def __init__(self, settings: Settings) -> None:
        try:
            from dicomweb_client import DICOMwebClient

            from medseg.archive.session import LimitedSession, first_part, said_plainly  # needs requests, as it does
        except ImportError as error:
            raise ArchiveError("The archive needs dicomweb-client: pip install 'medseg[archive]'.") from error
        self.settings = settings
        self.session = LimitedSession(settings)
        self._said_plainly: Callable[[], AbstractContextManager[None]] = partial(said_plainly, settings)
        self._first_part: Callable[[Any], bytes] = first_part
        self._client = DICOMwebClient(settings.url, session=self.session)
        self._client.set_http_retry_params(retry=False)  # nothing is sent twice unasked
        for name in ("retrying", "dicomweb_client"):  # tracebacks, searches with their names, and what archives say
            logging.getLogger(name).setLevel(logging.CRITICAL)

    def find_studies(
        self, *, patient: str = "", accession: str = "", date: str = "", modality: str = ""
    ) -> list[Study]:
        """Up to MOST studies, the newest first. `patient` is an ID or a part of a name, `date` a day or range as DICOM
        writes it (20260131, 20260101-20260131)."""
        if date and not re.fullmatch(r"[0-9]{8}(-([0-9]{8})?)?|-[0-9]{8}", date):
            raise InputError("A date is 20260131, a range 20260101-20260131.")
        if any(len(text) > MOST_SIGNS or not text.isprintable() for text in (patient, accession, modality)):
            raise InputError(f"A field of a search holds up to {MOST_SIGNS} signs, in one line.")
        filters = {"AccessionNumber": accession, "StudyDate": date, "ModalitiesInStudy": modality.upper()}
        asked = {keyword: value for keyword, value in filters.items() if value}
        ways: list[dict[str, str]] = [{}]
        if patient:
            ways = [{"PatientID": patient}, {"PatientName": f"*{patient}*"}]
        studies = {}
        for way in ways:
            for row in self._search({**asked, **way}):
                studies[text_of(row, "StudyInstanceUID")] = row
        rows = [study_of(study) for study in studies.values() if text_of(study, "StudyInstanceUID")]
        return sorted(rows, key=lambda row: row.date, reverse=True)[:MOST]

    def find_series(self, study: str) -> list[Series]:
        """The series of a study, by their numbers."""
        listed = self._ask_all("search_for_series", "SeriesInstanceUID", study_instance_uid=checked_uid(study))
        rows = [series_of(series) for series in listed]
        return sorted(rows, key=lambda row: (len(row.number), row.number))

    def fetch(
        self,
        folder: Path,
        study: str,
        series: str | None = None,
        instance: str | None = None,
        *,
        most_bytes: float = math.inf,
        progress: Progress = lambda done, total: None,
        cancelled: Callable[[], bool] = lambda: False,
    ) -> Fetched:
        """The images of a study, of one of its series or one instance, as files 0001.dcm and so on in `folder`.

        They are whole and are what was asked for, or ArchiveError is raised and `folder` holds none of them; so too
        where `cancelled` says so (CancelledError), or where they have more than `most_bytes` together.
        """
        listed, images = self._images(study, series, instance)
        paths: list[Path] = []
        size = 0
        with self._cancellable(cancelled):
            try:
                for number, image in enumerate(images, start=1):
                    progress(number - 1, len(images))
                    paths.append(folder / f"{number:04}.dcm")
                    self._fetch_instance(study, image, series, paths[-1])
                    size += paths[-1].stat().st_size
                    if size > most_bytes:
                        limit = f"{most_bytes / 2**20:.0f} MiB"
                        raise ArchiveError(f"These images have more than {limit}, the most at once: choose fewer.")
            except BaseException:
                for path in paths:
                    path.unlink(missing_ok=True)
                raise
        progress(len(images), len(images))
        return Fetched(paths, len(listed) - len(images))

    def fetch_preview(
        self, folder: Path, study: str, series: str, cancelled: Callable[[], bool] = lambda: False
    ) -> Path:
        """A file in `folder` that shows the middle image of a series: what the archive renders (PS3.18 10.4.1.1.3), or
        the image itself where it renders none."""
        _, images = self._images(study, series)
        middle = images[len(images) // 2]
        path = folder / f"{series}.preview"
        with self._cancellable(cancelled):
            try:
                with self._said_plainly():
                    path.write_bytes(self._render(study, series, checked_uid(text_of(middle, "SOPInstanceUID"))))
            except CancelledError:
                raise
            except ArchiveError:  # not every archive renders
                self._fetch_instance(study, middle, series, path)
        return path

    def _search(self, filters: dict[str, str]) -> list[Row]:
        """Studies. Orthanc 1.10 decodes no sign of a query (%5E), and dicomweb-client encodes wildcards too: what would
        be encoded is asked for as a wildcard, and what that brings beyond the text itself is left out here."""
        sent = {keyword: unencoded(value) for keyword, value in filters.items()}
        query = "&".join(f"{keyword}={value}" for keyword, value in {**sent, "limit": str(MOST)}.items())
        with self._said_plainly():
            response = self._get(f"studies?{query}", "application/dicom+json")
            rows = [dict(row) for row in response.json()] if response.content else []
        widened = {keyword: value for keyword, value in filters.items() if value != sent[keyword]}
        return [row for row in rows if all(matches(row, keyword, value) for keyword, value in widened.items())]

    def _render(self, study: str, series: str, uid: str) -> bytes:
        """A JPEG. The client would write the comma as %2C, which Orthanc 1.10 refuses."""
        place = f"studies/{study}/series/{series}/instances/{uid}/rendered?viewport={PREVIEW}"
        return bytes(self._get(place, "image/jpeg", most=MAX_BYTES).content)

    def _get(self, place: str, accept: str, **limit: int) -> Any:
        response = self.session.request("GET", f"{self.settings.url}/{place}", headers={"Accept": accept}, **limit)
        response.raise_for_status()
        return response

    def _images(self, study: str, series: str | None, instance: str | None = None) -> tuple[list[Row], list[Row]]:
        """All instances of a series or study (or the one), and those that hold an image in order of their numbers."""
        chosen = {"study_instance_uid": checked_uid(study)}
        if series is not None:
            chosen["series_instance_uid"] = checked_uid(series)
        listed = self._ask_all("search_for_instances", "SOPInstanceUID", **chosen)
        if instance is not None:
            listed = [entry for entry in listed if text_of(entry, "SOPInstanceUID") == checked_uid(instance)]
        ours = set() if series else {row.uid for row in self.find_series(study) if _OURS.match(row.description)}
        images = [
            entry
            for entry in listed
            if text_of(entry, "Modality") not in _NO_IMAGES and text_of(entry, "SeriesInstanceUID") not in ours
        ]
        if not images:
            raise ArchiveError(f"The archive at {self.settings.host} holds no image here. Check the UIDs.")
        images.sort(key=lambda entry: (text_of(entry, "SeriesInstanceUID"), count_of(entry, "InstanceNumber") or 0))
        return listed, images

    @contextlib.contextmanager
    def _cancellable(self, cancelled: Callable[[], bool]) -> Iterator[None]:
        self.session.cancelled = cancelled
        try:
            yield
        finally:
            self.session.cancelled = lambda: False

    def _fetch_instance(self, study: str, listed: Row, series: str | None, path: Path) -> None:
        """The file as the archive sends it. A worker opens it: pydicom would unpack it without limits."""
        series = checked_uid(series or text_of(listed, "SeriesInstanceUID"))
        uid = checked_uid(text_of(listed, "SOPInstanceUID"))
        with self._said_plainly():
            place = f"studies/{study}/series/{series}/instances/{uid}"
            content = self._first_part(self._get(place, _DICOM, most=MAX_BYTES))
            if content[128:132] != b"DICM":
                raise ArchiveError(f"The archive at {self.settings.host} sends something that is no DICOM file.")
            path.write_bytes(content)
        with contextlib.suppress(ReadError):  # no image that anything can refer to
            (header,), _ = read_source(path, [0])
            sent = [text_of(header, keyword) for keyword in UIDS]
            if sent != [study, series, uid]:
                raise ArchiveError(f"The archive at {self.settings.host} sends another image than was asked for.")

    def holds(self, study: str, series: str, instance: str) -> bool:
        """Whether the archive has this instance."""
        uids = {"SeriesInstanceUID": checked_uid(series), "SOPInstanceUID": checked_uid(instance)}
        listed = self._ask("search_for_instances", study_instance_uid=checked_uid(study), search_filters=uids)
        return any(text_of(row, "SOPInstanceUID") == instance for row in listed)

    def store(self, path: Path) -> str:
        """Store one DICOM file; returns `stored`, or `already there`, where nothing is sent.

        An answer that breaks off leaves open whether the file arrived, so the archive is asked before ArchiveError is
        raised, and asked again before a file is sent another time. The file stays where it is.
        """
        try:
            result = pydicom.dcmread(path)
        except Exception as error:
            raise InputError(f"{path.name} is no DICOM file.") from error
        uids = [str(result.get(keyword, "")) for keyword in UIDS]
        if self.holds(*uids):
            return "already there"
        try:
            with self._said_plainly():
                answer = self._client.store_instances([result], study_instance_uid=uids[0])
                _check_stored(answer, uids[-1], self.settings.host)
        except ArchiveError as error:
            try:
                arrived = self.holds(*uids)
            except ArchiveError:
                raise error from None
            if not arrived:
                raise
        return "stored"

    def _ask_all(self, method: str, key: str, **arguments: Any) -> list[Row]:
        """Every row, each once by its `key`: page by page until one brings nothing new, as archives cut long answers
        and some know no pages."""
        rows: dict[str, Row] = {}
        while True:
            page = self._ask(method, limit=PAGE, offset=len(rows), **arguments)
            new = {text_of(row, key): row for row in page if text_of(row, key) and text_of(row, key) not in rows}
            rows |= new
            if not new:
                return list(rows.values())
            if len(rows) > MOST_INSTANCES:
                raise ArchiveError(f"The archive lists more than {MOST_INSTANCES:,} here: choose one series.")

    def _ask(self, method: str, **arguments: Any) -> list[Row]:
        with self._said_plainly():
            return [dict(row) for row in getattr(self._client, method)(**arguments)]


def open_archive() -> Archive:
    """The archive that the owner's environment names. Raises ConfigError where it names none."""
    settings = read_settings()
    if settings is None:
        raise ArchiveError(f"No archive is named: set {URL} to the URL of its DICOMweb service.")
    return Archive(settings)


def _check_stored(answer: Dataset, uid: str, host: str) -> None:
    """Raises ArchiveError for what STOW calls failed, or does not call stored, within a positive answer (PS3.18
    10.5.3.1): a proxy's page and an empty body are positive too."""
    failed = answer.get("FailedSOPSequence") or []
    if failed:
        reason = int(failed[0].get("FailureReason") or 0)
        raise ArchiveError(f"The archive at {host} does not take it (reason {reason:04X}): ask its administrator.")
    if uid not in {item.get("ReferencedSOPInstanceUID") for item in answer.get("ReferencedSOPSequence") or []}:
        raise ArchiveError(f"The archive at {host} does not say that it stored it: look there before another try.")
