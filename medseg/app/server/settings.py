"""What the owner of a server sets by environment variables, and what no visitor may do to it."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import NoReturn

from gradio import Error, processing_utils

from medseg.archive.settings import read_settings as archive_settings
from medseg.errors import InputError


@dataclass(frozen=True)
class Settings:
    """`logins` are (name, password) pairs, none: everybody may come in. `queue` events may wait, and `workers` run at
    once; more are refused. `mcp`: the endpoints are also tools for agents. `archive`: the owner names one."""

    logins: tuple[tuple[str, str], ...] = ()
    queue: int = 64
    workers: int = 8
    mcp: bool = False
    archive: bool = False


def read_settings(environment: Mapping[str, str] = os.environ) -> Settings:
    """MEDSEG_LOGIN, MEDSEG_QUEUE, MEDSEG_WORKERS and MEDSEG_MCP. Raises InputError for values that cannot be meant."""
    settings = Settings(
        logins=tuple(_login(entry) for entry in environment.get("MEDSEG_LOGIN", "").split()),
        queue=_count(environment, "MEDSEG_QUEUE", Settings.queue),
        workers=_count(environment, "MEDSEG_WORKERS", Settings.workers),
        mcp=environment.get("MEDSEG_MCP") == "1",
        archive=archive_settings(environment) is not None,
    )
    if settings.mcp and settings.logins:  # Gradio's login page does not stand before its MCP routes
        raise InputError("MEDSEG_MCP=1 knows no login: leave out MEDSEG_LOGIN, and let a proxy say who may come in.")
    return settings


def refuse_links() -> None:
    """Let no visitor make this machine open a connection.

    A file may be given as a link, which Gradio then fetches: public hosts only, but of any size, past every limit on
    uploads. No component can switch that off, so the function that does it is replaced.
    """
    processing_utils.async_ssrf_protected_download = _refuse
    processing_utils.ssrf_protected_download = processing_utils.save_url_to_cache = _refuse


def _refuse(*_: object, **__: object) -> NoReturn:
    raise Error("Links are not fetched here: send the file itself.", print_exception=False)


def _login(entry: str) -> tuple[str, str]:
    name, colon, password = entry.partition(":")
    if not (name and colon and password):
        raise InputError("MEDSEG_LOGIN wants name:password, several of them parted by spaces; one entry is neither.")
    return name, password


def _count(environment: Mapping[str, str], name: str, otherwise: int) -> int:
    text = environment.get(name, "")
    if text and not (text.isdecimal() and 0 < int(text) <= 10_000):
        raise InputError(f"{name} wants a whole number from 1 to 10000, not {text[:40]!r}.")
    return int(text) if text else otherwise
