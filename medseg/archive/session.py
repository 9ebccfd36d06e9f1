"""HTTP to the archive with limits on time and size, and its faults as sentences."""

from __future__ import annotations

import contextlib
import math
import socket
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from email.message import Message
from typing import Any
from weakref import WeakSet

import requests
import urllib3
from requests.adapters import HTTPAdapter

from medseg.archive.settings import CA, TOKEN, USER, Settings
from medseg.errors import ArchiveError, CancelledError

CONNECT_S, SILENCE_S, WHOLE_S = 5.0, 9.0, 300.0
"""Longest that connecting, an archive that moves no bytes, and one request with its whole answer may take."""

SLOWEST = 1024
"""Bytes a second; an answer that comes slower counts as none. Time-outs of sockets start anew with each byte."""

MOST_LISTED = 64 * 2**20
"""Bytes of an answer that is no image; as text they take ten times that in memory."""

_WATCH_S = 0.1

_REFUSALS = {
    401: f"does not know us (401): check {TOKEN} or {USER}",
    403: f"does not allow this (403): check {TOKEN} or {USER}, or ask its administrator",
    404: "does not hold this (404): check the UIDs",
    409: "refuses this (409): it conflicts with what it holds",
    413: "finds this too large (413): ask its administrator for its limit",
}


class LimitedSession(requests.Session):
    """A session whose requests end with a sentence after SILENCE_S without progress and after WHOLE_S, bring `most`
    bytes, stop where `cancelled` says so, and follow no redirection: that would hand patients to another host."""

    def __init__(self, settings: Settings) -> None:
        super().__init__()
        self.trust_env = False  # a .netrc would replace the token, and a proxy has no business with patients
        self.headers["Accept-Encoding"] = "identity"  # or small answers might unpack to anything
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

    def request(self, *arguments: Any, most: int = MOST_LISTED, **options: Any) -> requests.Response:
        deadline = _Deadline(*self.limits[1:])
        if isinstance(options.get("data"), Iterator):
            options["data"] = deadline.moved_by(options["data"])
        fixed = {"stream": True, "timeout": self.limits[:2], "allow_redirects": False}
        with self._watched(deadline):
            response = super().request(*arguments, **{**options, **fixed})
        with contextlib.ExitStack() as refused:
            refused.callback(response.close)
            self._check(deadline)  # a connection that was shut for that looks like an answer's end
            if 300 <= response.status_code < 400:
                raise ArchiveError(
                    f"The archive answers with a redirection ({response.status_code}), and none is followed: set the "
                    "URL that it has now."
                )
            if response.ok:  # else its status says all
                refused.pop_all()
        deadline.move()
        response.iter_content = lambda *_, **__: self._read(response, deadline, most)  # type: ignore[method-assign]
        return response

    def _read(self, response: requests.Response, deadline: _Deadline, most: int) -> Iterator[bytes]:
        """The body as it comes."""
        size, tail = 0, b""
        with response, self._watched(deadline):
            _check_size(_announced(response) or 0, most)
            while chunk := response.raw.read1(2**16, decode_content=True):
                size += len(chunk)
                tail = (tail + chunk)[-256:]
                _check_size(size, most)
                yield chunk
                deadline.move(len(chunk))
                self._check(deadline)
            self._check(deadline)
        if not _is_whole(response, size, tail):
            raise urllib3.exceptions.ProtocolError("half an answer")

    @contextlib.contextmanager
    def _watched(self, deadline: _Deadline) -> Iterator[None]:
        """Within, the connections are closed where it is cancelled or takes too long."""
        done = threading.Event()

        def watch() -> None:
            while not done.wait(_WATCH_S):
                if self.cancelled() or deadline.is_over():
                    self._connections.shut()

        threading.Thread(target=watch, daemon=True).start()
        try:
            yield
        except Exception:
            self._check(deadline)
            raise
        finally:
            done.set()

    def _check(self, deadline: _Deadline) -> None:
        if self.cancelled():
            raise CancelledError("Cancelled.")
        if deadline.is_over():
            raise requests.Timeout


class _Deadline:
    """Over when fewer than SLOWEST bytes a second moved for `silence_s`, and `whole_s` after its begin."""

    def __init__(self, silence_s: float, whole_s: float) -> None:
        self._silence_s, self._end = silence_s, time.monotonic() + whole_s
        self.move()

    def move(self, size: float = math.inf) -> None:
        """So many bytes have moved."""
        self._bytes = getattr(self, "_bytes", 0.0) + size
        if self._bytes >= SLOWEST * self._silence_s:
            self._bytes, self._next = 0.0, time.monotonic() + self._silence_s

    def moved_by(self, chunks: Iterable[bytes]) -> Iterator[bytes]:
        for chunk in chunks:
            self.move()
            yield chunk

    def is_over(self) -> bool:
        return time.monotonic() > min(self._next, self._end)


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


def _announced(response: requests.Response) -> int | None:
    length = response.headers.get("Content-Length", "")
    return int(length) if length.isdecimal() else None


def _check_size(size: int, most: int) -> None:
    if size > most:
        raise ArchiveError(f"The archive sends more than {most // 2**20} MiB at once, the most that medseg reads.")


def _is_whole(response: requests.Response, size: int, tail: bytes) -> bool:
    """Whether the answer has its announced length and, in parts, its last boundary (RFC 2046 5.1.1)."""
    if "Content-Encoding" not in response.headers and _announced(response) not in (None, size):
        return False
    boundary = _boundary(response)
    return not boundary or size == 0 or tail.rstrip().endswith(f"--{boundary}--".encode())


def _boundary(response: requests.Response) -> str | None:
    kind = Message()
    kind["Content-Type"] = response.headers.get("Content-Type", "")
    return kind.get_boundary()


def first_part(response: requests.Response) -> bytes:
    """What the first part of an answer holds (RFC 2046 5.1), or an answer that is not in parts (DICOM CP 2040)."""
    body, boundary = response.content, _boundary(response)
    if not boundary:
        return body
    mark = f"--{boundary}".encode()
    begin = body.index(b"\r\n\r\n", body.index(mark)) + 4
    return body[begin : body.index(b"\r\n" + mark, begin)]


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
