"""The settings that a server's owner makes by environment variables."""

from __future__ import annotations

import difflib
import math
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass

from medseg.archive.settings import read_settings as archive_settings
from medseg.errors import InputError

LOOPBACK = ("localhost", "127.0.0.1", "[::1]")
SWITCHES = ("MEDSEG_MCP", "MEDSEG_METRICS", "MEDSEG_ALLOW_HUB", "MEDSEG_ONLY", "MEDSEG_DICOMWEB_OPEN")
NAMES = (
    *SWITCHES, "MEDSEG_LOGIN", "MEDSEG_HOSTS", "MEDSEG_QUEUE", "MEDSEG_WORKERS", "MEDSEG_UPLOAD_MB",
    "MEDSEG_UPLOAD_MINUTES", "MEDSEG_OPEN_MB", "MEDSEG_ENSEMBLES", "MEDSEG_DICOMWEB", "MEDSEG_DICOMWEB_TOKEN",
    "MEDSEG_DICOMWEB_USER", "MEDSEG_DICOMWEB_CA",
)  # fmt: skip
"""All that an owner may set."""
_HOST = re.compile(r"\*|(\*\.)?[a-z0-9_-]+(\.[a-z0-9_-]+)*|\[[0-9a-f:.]+\]")


@dataclass(frozen=True)
class Settings:
    """`logins` are (name, password) pairs; without any, everybody may come in. `queue` events may wait, and `workers`
    run at once; more are refused. `mcp`: the endpoints are also tools for agents. `hosts` are the names by which the
    server may be called, `*.example.org` for all below; none: any name. `metrics`: /metrics is served.
    `archive`: the owner names one."""

    logins: tuple[tuple[str, str], ...] = ()
    queue: int = 64
    workers: int = 8
    mcp: bool = False
    archive: bool = False
    hosts: tuple[str, ...] = ()
    metrics: bool = False


def read_settings(environment: Mapping[str, str] = os.environ) -> Settings:
    """The settings of `environment`. Raises InputError, with a sentence, for a value that cannot be meant."""
    _refuse_slips(environment)
    switches = {name: _switch(environment, name) for name in SWITCHES}
    settings = Settings(
        logins=_logins(environment),
        queue=_count(environment, "MEDSEG_QUEUE", Settings.queue),
        workers=_count(environment, "MEDSEG_WORKERS", Settings.workers),
        mcp=switches["MEDSEG_MCP"],
        archive=archive_settings(environment) is not None,
        hosts=_hosts(environment),
        metrics=switches["MEDSEG_METRICS"],
    )
    for read in (max_bytes, keep_seconds, open_bytes):
        read(environment)
    port = environment.get("GRADIO_SERVER_PORT", "7860")
    if not (port.isdecimal() and 0 < int(port) < 65_536):
        raise InputError(f"GRADIO_SERVER_PORT wants a port from 1 to 65535, not {port[:40]!r}.")
    if settings.mcp and settings.logins:  # Gradio's login page does not stand before its MCP routes
        raise InputError("MEDSEG_MCP=1 knows no login: leave out MEDSEG_LOGIN, and let a proxy say who may come in.")
    watched = settings.logins or switches["MEDSEG_DICOMWEB_OPEN"] or not _is_public(environment)
    if settings.archive and not watched:
        raise InputError(
            "MEDSEG_DICOMWEB lets everybody who opens the page search the archive and store in it, and others than you "
            "can open it. Set MEDSEG_LOGIN, or MEDSEG_DICOMWEB_OPEN=1 where a proxy says who may come in."
        )
    return settings


def max_bytes(environment: Mapping[str, str] = os.environ) -> int:
    """Most bytes of one upload, all its files together: MEDSEG_UPLOAD_MB, 200 by default."""
    return int(_positive(environment, "MEDSEG_UPLOAD_MB", 200) * 2**20)


def keep_seconds(environment: Mapping[str, str] = os.environ) -> float:
    """How long a visitor's file stays, in seconds: MEDSEG_UPLOAD_MINUTES, an hour by default."""
    return _positive(environment, "MEDSEG_UPLOAD_MINUTES", 60) * 60


def open_bytes(environment: Mapping[str, str] = os.environ) -> int:
    """Most bytes of all images that visitors and programs have open: MEDSEG_OPEN_MB, 512 by default."""
    return int(_positive(environment, "MEDSEG_OPEN_MB", 512) * 2**20)


def _positive(environment: Mapping[str, str], name: str, default: float) -> float:
    text = environment.get(name) or str(default)
    try:
        number = float(text)
    except ValueError:
        number = math.nan
    if not 0 < number <= 1_000_000:
        raise InputError(f"{name} wants a number above 0, at most 1000000, not {text[:40]!r}.")
    return number


def _hosts(environment: Mapping[str, str]) -> tuple[str, ...]:
    """MEDSEG_HOSTS and this machine's own names. Where it is not set: those names alone on a loopback address, else
    any, as only the owner knows by which name a proxy calls."""
    named = tuple(environment.get("MEDSEG_HOSTS", "").lower().split())
    for name in named:
        if not _HOST.fullmatch(name):
            raise InputError(
                f"MEDSEG_HOSTS wants names without http:// and port, as seg.example.org, not {name[:80]!r}."
            )
    if "*" in named or (not named and _is_public(environment)):
        return ()
    return (*named, *LOOPBACK)


def _is_public(environment: Mapping[str, str]) -> bool:
    """Whether others than this machine reach the page: by its address, Gradio's share link, or as a Space."""
    shared = environment.get("GRADIO_SHARE", "").lower() == "true" or "SPACE_ID" in environment
    return shared or environment.get("GRADIO_SERVER_NAME", "127.0.0.1") not in ("127.0.0.1", "localhost", "::1")


def _refuse_slips(environment: Mapping[str, str]) -> None:
    """Raise InputError for a name that is nearly a setting's: MEDSEG_LOGINS would leave the page open to everybody."""
    for name in sorted(environment):
        meant = difflib.get_close_matches(name, NAMES, 1, 0.9) if name.startswith("MEDSEG_") else []
        if meant and name not in NAMES:
            raise InputError(f"{name} is no setting. Is {meant[0]} meant?")


def _switch(environment: Mapping[str, str], name: str) -> bool:
    text = environment.get(name, "")
    if text not in ("", "0", "1"):
        raise InputError(f"{name} wants 1 for on, or 0 for off, not {text[:40]!r}.")
    return text == "1"


def _logins(environment: Mapping[str, str]) -> tuple[tuple[str, str], ...]:
    logins = tuple(_login(entry) for entry in environment.get("MEDSEG_LOGIN", "").split())
    if not logins and "MEDSEG_LOGIN" in environment:  # a variable of the owner's that is not set
        raise InputError("MEDSEG_LOGIN is empty, and would let everybody in: name who may come in, or leave it out.")
    if len(dict(logins)) < len(logins):
        raise InputError("MEDSEG_LOGIN wants each name once: of two passwords only one would do.")
    return logins


def _login(entry: str) -> tuple[str, str]:
    name, colon, password = entry.partition(":")
    if not (name and colon and password):
        raise InputError("MEDSEG_LOGIN wants name:password, several of them parted by spaces; one entry is neither.")
    return name, password


def _count(environment: Mapping[str, str], name: str, default: int) -> int:
    text = environment.get(name, "")
    if text and not (text.isdecimal() and 0 < int(text) <= 10_000):
        raise InputError(f"{name} wants a whole number from 1 to 10000, not {text[:40]!r}.")
    return int(text) if text else default
