"""Where the archive is and how it knows us: the owner's environment variables."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

from medseg.errors import ConfigError

URL = "MEDSEG_DICOMWEB"
TOKEN, USER, CA = f"{URL}_TOKEN", f"{URL}_USER", f"{URL}_CA"


@dataclass(frozen=True)
class Settings:
    """`url` of the DICOMweb service; a bearer `token` or a (name, password); `ca`, a file of certificates to trust."""

    url: str
    token: str = field(default="", repr=False)
    user: tuple[str, str] | None = field(default=None, repr=False)
    ca: str = ""

    @property
    def host(self) -> str:
        """What sentences call the archive."""
        return urlsplit(self.url).netloc


def read_settings(environment: Mapping[str, str] = os.environ) -> Settings | None:
    """The settings in `environment`, None where no archive is named. Raises ConfigError for a bad one, without it."""
    url = environment.get(URL, "").strip().rstrip("/")
    if not url:
        return None
    try:
        parts = urlsplit(url)
        is_url = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0 and not parts.query
    except ValueError:  # half an IPv6 address, or a port that is none
        is_url = False
    if not is_url:
        raise ConfigError(f"{URL} must be the URL of a DICOMweb service, such as https://pacs.example/dicom-web.")
    if "@" in parts.netloc:
        raise ConfigError(f"{URL} must hold no password, which logs would repeat: put it into {USER} as name:password.")
    token, user, ca = (environment.get(name, "").strip() for name in (TOKEN, USER, CA))
    if token and user:
        raise ConfigError(f"Both {TOKEN} and {USER} are set: the archive takes one of them.")
    if user and ":" not in user:
        raise ConfigError(f"{USER} must be name:password.")
    if ca and not Path(ca).is_file():
        raise ConfigError(f"{CA} names no file: it must be a file of certificates (PEM).")
    name, _, password = user.partition(":")
    return Settings(url, token, (name, password) if user else None, ca)
