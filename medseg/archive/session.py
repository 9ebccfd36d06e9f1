"""HTTP to the archive with limits on time and size, and its faults as sentences."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator
from email.message import Message
from typing import Any

import requests
import urllib3

from medseg.archive.settings import CA, TOKEN, USER, Settings
from medseg.errors import ArchiveError
from medseg.reading.stored import MAX_BYTES

CONNECT_S, SILENCE_S, WHOLE_S = 5.0, 30.0, 300.0
"""Longest that connecting, waiting for the next bytes, and one whole answer may take."""

_REFUSALS = {
    401: f"does not know us (401): check {TOKEN} or {USER}",
    403: f"does not allow this (403): check {TOKEN} or {USER}, or ask its administrator",
    404: "does not hold this (404): check the UIDs",
    409: "refuses this (409): it conflicts with what it holds",
    413: "finds this too large (413): ask its administrator for its limit",
}


class LimitedSession(requests.Session):
    """A session that reads every answer within WHOLE_S and MAX_BYTES, and stops where `cancelled` says so."""

    def __init__(self, settings: Settings) -> None:
        super().__init__()
        self.trust_env = False  # a .netrc would replace the token, and a proxy has no business with patients
        self.cancelled: Callable[[], bool] = lambda: False
        self.limits = (CONNECT_S, SILENCE_S, WHOLE_S)
        if settings.token:
            self.headers["Authorization"] = f"Bearer {settings.token}"
        if settings.user:
            self.auth = settings.user
        if settings.ca:
            self.verify = settings.ca

    def request(self, *arguments: Any, **options: Any) -> requests.Response:
        until = time.monotonic() + self.limits[2]
        response = super().request(*arguments, **{**options, "stream": True, "timeout": self.limits[:2]})
        if not response.ok:
            response.close()  # its status says all
        response.iter_content = lambda *_, **__: self._read(response, until)  # type: ignore[method-assign]
        return response

    def _read(self, response: requests.Response, until: float) -> Iterator[bytes]:
        """The body as it comes: read1 returns what is there, so a slow drip cannot outlast `until`."""
        size, tail = 0, b""
        with response:
            while chunk := response.raw.read1(2**16, decode_content=True):
                size += len(chunk)
                tail = (tail + chunk)[-256:]
                if self.cancelled():
                    raise CancelledError("Cancelled.")
                if time.monotonic() > until:
                    raise requests.Timeout
                if size > MAX_BYTES:
                    limit = MAX_BYTES // 2**20
                    raise ArchiveError(f"The archive sends more than {limit} MiB at once, the most that medseg reads.")
                yield chunk
        if not _is_whole(response, size, tail):
            raise urllib3.exceptions.ProtocolError("half an answer")


class CancelledError(ArchiveError):
    """The user stopped it."""


def _is_whole(response: requests.Response, size: int, tail: bytes) -> bool:
    """Whether the answer has its announced length and, in parts, its last boundary (RFC 2046 5.1.1)."""
    length = response.headers.get("Content-Length", "")
    if length.isdigit() and "Content-Encoding" not in response.headers and size != int(length):
        return False
    kind = Message()
    kind["Content-Type"] = response.headers.get("Content-Type", "")
    boundary = kind.get_boundary()
    return boundary is None or size == 0 or tail.rstrip().endswith(f"--{boundary}--".encode())


@contextlib.contextmanager
def said_plainly(settings: Settings) -> Iterator[None]:
    """Turn what goes wrong with the archive into one sentence, which never holds a token, a URL's path or a name."""
    archive = f"The archive at {settings.host}"
    try:
        yield
    except ArchiveError:
        raise
    except requests.HTTPError as error:
        status = 0 if error.response is None else error.response.status_code
        reason = _REFUSALS.get(status, f"answers with the status {status}: ask its administrator")
        raise ArchiveError(f"{archive} {reason}.") from error
    except requests.exceptions.SSLError as error:
        raise ArchiveError(
            f"{archive} shows a certificate that is not trusted: name its authority's file in {CA}."
        ) from error
    except (requests.Timeout, urllib3.exceptions.TimeoutError) as error:
        raise ArchiveError(f"{archive} does not answer in time. Try again later.") from error
    except requests.exceptions.ConnectionError as error:
        raise ArchiveError(f"{archive} cannot be reached. Check that it runs, and its address.") from error
    except (urllib3.exceptions.ProtocolError, requests.exceptions.ChunkedEncodingError) as error:
        raise ArchiveError(f"{archive} broke off in the middle of its answer. Try again.") from error
    except Exception as error:  # dicomweb-client and pydicom raise whatever a stranger's answer leads them to
        raise ArchiveError(f"{archive} answers with something that is not DICOMweb. Check its address.") from error
