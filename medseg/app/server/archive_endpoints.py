"""The archive for programs and agents, where the owner names one: studies, series, results, and what is sent back.

Answers are JSON without a patient's name and without a path. Nothing is sent but by /archive_send, with the very
sentence that says what goes where. Research use only, not for diagnosis.
"""

from __future__ import annotations

import dataclasses
from typing import Any

from gradio.events import api

from medseg.app.state import registry
from medseg.app.state.archive import ArchiveDesk
from medseg.app.state.results import Results
from medseg.app.state.session import Session
from medseg.app.tabs.events import refusal
from medseg.archive.address import parse_address
from medseg.errors import InputError
from medseg.inference.record import NOTICE

desks: Results[ArchiveDesk] = Results()


@refusal
def archive_studies(patient: str = "", accession: str = "", date: str = "", modality: str = "") -> list[dict[str, Any]]:
    """Find studies in the hospital's archive, the newest first, at most 100; an empty argument matches all.

    Args:
        patient: an ID, or a part of a name; names are searched for and not given back.
        accession: the accession number.
        date: a day or range of days such as 20260131 or 20260101-20260131.
        modality: such as CR, CT, MR, US or ES.

    Returns:
        One object a study: uid, date, modalities, description, accession, instances.
    """
    desk = ArchiveDesk()
    desk.find(patient=patient, accession=accession, date=date, modality=modality)
    return [dataclasses.asdict(study) for study in desk.studies]


@refusal
def archive_series(study: str) -> list[dict[str, Any]]:
    """The series of a study of the hospital's archive.

    Args:
        study: its UID, as /archive_studies gives it.

    Returns:
        One object a series: uid, modality, number, description, instances.
    """
    desk = ArchiveDesk()
    desk.study = parse_address(study).study
    desk.list_series()
    return [dataclasses.asdict(series) for series in desk.series]


@refusal
def archive_segment(place: str, ensemble: str = "", kinds: str = "seg") -> dict[str, Any]:
    """Segment a series, an instance or one frame of the hospital's archive, at the ensemble's fitted settings. Nothing
    is sent to the archive. Research use only, not for diagnosis.

    Args:
        place: UIDs between slashes, study/series for a whole series, study/series/instance, or .../frame from 1.
        ensemble: a name that /ensembles gives; where empty the first, or one whose training images it is more like.
        kinds: what /archive_send may send, with commas between: seg, label-map, probabilities, capture, map.

    Returns:
        The result's identifier and the confirmation for /archive_send; the areas of each image; the report of one.
    """
    wanted = parse_address(place)
    if wanted.series is None:
        raise InputError("A study has several series: name one, as study/series.")
    desk, session = ArchiveDesk(), Session()
    said = desk.fetch(wanted, lambda done, total: None)
    number = wanted.frame or (desk.frames + 1) // 2
    name = ensemble or registry.ensembles.suiting(desk.image(number), next(iter(registry.ensembles.names), None))
    desk.open(session, number, registry.ensembles.get(name))
    whole = wanted.frame is None and desk.frames > 1
    confirmation = desk.prepare(session, [kind.strip() for kind in kinds.split(",")], whole)
    desk.forget_images()
    return {
        "notice": NOTICE,
        "result": desks.keep(desk),
        "confirmation": confirmation,
        "images": said,
        "areas": desk.areas,
        "report": session.view_state.prediction.report(),
    }


@refusal
def archive_send(result: str, confirmation: str) -> dict[str, Any]:
    """Store the results of /archive_segment in the hospital's archive, each once. Ask your user before: they become
    part of a patient's record there.

    Args:
        result: the identifier that /archive_segment gave.
        confirmation: the sentence that /archive_segment gave as confirmation, word by word.

    Returns:
        What was stored, what was there already, and what was not stored; that can be sent again.
    """
    desk = desks.get(result)
    if confirmation.strip() != desk.outgoing.announced:
        raise InputError(f"Nothing is sent without its confirmation, which is: {desk.outgoing.announced}")
    said = desk.outgoing.send()
    return {"said": said.split("\n\n"), "not_stored": len(desk.outgoing.waiting)}


def add_archive_endpoints() -> None:
    """Offer the four functions to programs."""
    api(archive_studies, api_name="archive_studies")
    api(archive_series, api_name="archive_series")
    api(archive_segment, api_name="archive_segment", concurrency_limit=2)
    api(archive_send, api_name="archive_send")
