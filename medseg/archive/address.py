"""What of an archive is meant: UIDs of study, series and instance, and a frame, between slashes."""

from __future__ import annotations

import re
from dataclasses import dataclass

from medseg.errors import InputError

SCHEME = "dicomweb://"
_FRAME = re.compile(r"[1-9][0-9]{0,8}")
_UID = re.compile(r"[0-9]+(\.[0-9]+)*")


@dataclass(frozen=True)
class Address:
    """A study, one of its series, one instance of that, and one of its frames, counted from 1."""

    study: str
    series: str | None = None
    instance: str | None = None
    frame: int | None = None


def parse_address(text: str) -> Address:
    """`dicomweb://STUDY/SERIES/INSTANCE/FRAME`, of which all but STUDY may be left out. Raises InputError."""
    uids = text.strip().removeprefix(SCHEME).strip("/").split("/")
    frame = uids.pop() if len(uids) == 4 else None
    if len(uids) > 3 or (frame is not None and not _FRAME.fullmatch(frame)):
        raise InputError(f"{SCHEME}STUDY/SERIES/INSTANCE/FRAME is wanted, UIDs and a number from 1; the last may lack.")
    study, *rest = map(checked_uid, uids)
    series, instance = (*rest, None, None)[:2]
    return Address(study, series, instance, None if frame is None else int(frame))


def checked_uid(uid: str) -> str:
    """`uid`, where it is one (PS3.5 9.1): nothing else may become part of a URL."""
    if len(uid) > 64 or not _UID.fullmatch(uid):
        raise InputError("A UID has digits and dots, up to 64, such as 1.2.840.113619.2.1.")
    return uid
