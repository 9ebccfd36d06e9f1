"""HTTP to the archive with limits on time and size, and its faults as sentences."""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from collections.abc import Callable, Iterator
from email.message import Message
from typing import Any
from weakref import WeakSet

import requests
import urllib3
from requests.adapters import HTTPAdapter

from medseg.archive.settings import CA, TOKEN, USER, Settings
from medseg.errors import ArchiveError, CancelledError
from medseg.reading.stored import MAX_BYTES

CONNECT_S, SILENCE_S, WHOLE_S = 5.0, 30.0, 300.0
"""Longest that connecting, waiting for the next bytes, and one request with its whole answer may take."""

_WATCH_S = 0.1

_REFUSALS = {
    401: f"does not know us (401): check {TOKEN} or {USER}",
    403: f"does not allow this (403): check {TOKEN} or {USER}, or ask its administrator",
    404: "does not hold this (404): check the UIDs",
    409: "refuses this (409): it conflicts with what it holds",
    413: "finds this too large (413): ask its administrator for its limit",
}


class LimitedSession(requests.Session):
    """A session whose requests, from the first byte sent to the last that comes, take WHOLE_S and bring MAX_BYTES at
    most, stop where `cancelled` says so, and follow no redirection: that would hand patients to another host."""

    def __init__(self, settings: Settings) -> None:
        super().__init__()
        self.trust_env = False  # a .netrc would replace the token, and a proxy has no business with patients
        self.cancelled: Callable[[], bool] = lambda: False
        self.limits = (CONNECT_S, SILENCE_S, WHOLE_S)
        self._connections = _Connections(self)
        for scheme in ("http://", "https://"):
            self.mount(scheme, self._connections)
        if settings.token:
            self.headers["Authorization"] = f"Bearer {settings.token}"
        if settings.user:
            self.auth = settings.user
        if settings.ca:
            self.verify = settings.ca

    def request(self, *arguments: Any, **options: Any) -> requests.Response:
        until = time.monotonic() + self.limits[2]
        fixed = {"stream": True, "timeout": self.limits[:2], "allow_redirects": False}
        with self._watched(until):
            response = super().request(*arguments, **{**options, **fixed})
        if not response.ok:
            response.close()  # its status says all
        if 300 <= response.status_code < 400:
            response.close()
            raise ArchiveError(
                f"The archive answers with a redirection ({response.status_code}), and none is followed: set the URL "
                "that it has now."
            )
        response.iter_content = lambda *_, **__: self._read(response, until)  # type: ignore[method-assign]
        return response

    def _read(self, response: requests.Response, until: float) -> Iterator[bytes]:
        """The body as it comes."""
        size, tail = 0, b""
        with response, self._watched(until):
            while chunk := response.raw.read1(2**16, decode_content=True):
                size += len(chunk)
                tail = (tail + chunk)[-256:]
                if size > MAX_BYTES:
                    limit = MAX_BYTES // 2**20
                    raise ArchiveError(f"The archive sends more than {limit} MiB at once, the most that medseg reads.")
                yield chunk
                self._check(until)
            self._check(until)  # connections that were closed for that look like an answer's end
        if not _is_whole(response, size, tail):
            raise urllib3.exceptions.ProtocolError("half an answer")

    @contextlib.contextmanager
    def _watched(self, until: float) -> Iterator[None]:
        """Within, the connections are closed where it is cancelled or takes too long: a time-out of sockets starts
        anew with each byte, so a slow drip would never end."""
        done = threading.Event()

        def watch() -> None:
            while not done.wait(_WATCH_S):
                if self.cancelled() or time.monotonic() > until:
                    self._connections.shut()

        threading.Thread(target=watch, daemon=True).start()
        try:
            yield
        except Exception:
            self._check(until)
            raise
        finally:
            done.set()

    def _check(self, until: float) -> None:
        if self.cancelled():
            raise CancelledError("Cancelled.")
        if time.monotonic() > until:
            raise requests.Timeout


class _Connections(HTTPAdapter):
    """Connections that can be shut from another thread."""

    def __init__(self, session: LimitedSession) -> None:
        self._session, self._open = session, WeakSet[Any]()
        super().__init__()

    def init_poolmanager(self, *arguments: Any, **options: Any) -> None:
        super().init_poolmanager(*arguments, **options)
        kinds = (urllib3.HTTPConnectionPool, urllib3.HTTPSConnectionPool)
        self.poolmanager.pool_classes_by_scheme = {
            pool.scheme: type(pool.__name__, (pool,), {"ConnectionCls": self._remembering(pool.ConnectionCls)})
            for pool in kinds
        }

    def _remembering(self, kind: type[Any]) -> type[Any]:
        def connect(connection: Any) -> None:
            kind.connect(connection)
            connection.sock.settimeout(self._session.limits[1])  # or sending had CONNECT_S alone
            self._open.add(connection)

        return type(kind.__name__, (kind,), {"connect": connect})

    def shut(self) -> None:
        for connection in list(self._open):
            with contextlib.suppress(OSError, AttributeError):  # closed meanwhile
                connection.sock.shutdown(socket.SHUT_RDWR)


def _is_whole(response: requests.Response, size: int, tail: bytes) -> bool:
    """Whether the answer has its announced length and, in parts, its last boundary (RFC 2046 5.1.1)."""
    length = response.headers.get("Content-Length", "")
    if length.isdigit() and "Content-Encoding" not in response.headers and size != int(length):
        return False
    kind = Message()
    kind["Content-Type"] = response.headers.get("Content-Type", "")
    boundary = kind.get_boundary()
    return boundary is None or size == 0 or tail.rstrip().endswith(f"--{boundary}--".encode())


def _broken(error: BaseException) -> str:
    """What became of a connection: requests has one error for one that was refused, cut or too slow in taking."""
    aborted = bool(error.args) and isinstance(error.args[0], urllib3.exceptions.ProtocolError)
    if not aborted:
        return "cannot be reached. Check that it runs, and its address."
    if any(isinstance(cause, TimeoutError) for cause in error.args[0].args):
        return "does not answer in time. Try again later."
    return "broke off in the middle. Try again."


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
        raise ArchiveError(f"{archive} {_broken(error)}") from error
    except (urllib3.exceptions.ProtocolError, requests.exceptions.ChunkedEncodingError) as error:
        raise ArchiveError(f"{archive} broke off in the middle of its answer. Try again.") from error
    except Exception as error:  # dicomweb-client and pydicom raise whatever a stranger's answer leads them to
        raise ArchiveError(f"{archive} answers with something that is not DICOMweb. Check its address.") from error
