"""One GET from the Hub, with deadlines of its own.

The client's own download retries for minutes, hands over 10 MB at a time, so that neither progress nor a stall is seen,
and cannot be cancelled. Here its session is used (proxies and certificates are the user's), and nothing else of it.
"""

from __future__ import annotations

import contextlib
import queue
import threading
import time
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any
from urllib.parse import urlsplit

from medseg.errors import HubDownError, HubError
from medseg.version import __version__

PATIENCE_S = 7.0
"""How long each STRIDE of an answer may take, the first with its head: 1 kB/s is the slowest that is waited for."""

STRIDE = 8_000

Cancelled = Callable[[], bool]


def is_offline() -> bool:
    """Whether HF_HUB_OFFLINE forbids every request."""
    from huggingface_hub import constants

    return bool(constants.HF_HUB_OFFLINE)


def read(
    url: str,
    what: str,
    limit: int,
    *,
    patience_s: float | None = None,
    cancelled: Cancelled | None = None,
    anonymous: bool = False,
) -> Iterator[bytes]:
    """The bytes of `url` as they come, ending after the piece in which they exceed `limit`.

    The user's token goes along unless `anonymous`, to the Hub alone and to no host it redirects to. Raises HubError, in
    a sentence that begins with `what` and never holds the token: HubDownError where the Hub as a whole is at fault
    (cannot be reached, does not answer, sends less than about 1 kB/s, 429, 5xx), HubError for 401, 403, 404 and when
    `cancelled` says so.
    """
    patience_s = PATIENCE_S if patience_s is None else patience_s
    pieces: queue.Queue[bytes | Exception | None] = queue.Queue(maxsize=64)
    given_up = threading.Event()
    answer = partial(_answer, url, what, patience_s, anonymous)
    # a thread that is left behind: name resolution knows no deadline, and a head that drips passes every read timeout
    threading.Thread(target=_pump, args=(answer, what, pieces, given_up), daemon=True).start()
    total = stride = 0
    since = time.monotonic()
    try:
        while (piece := _next(pieces, since + patience_s, what, cancelled)) is not None:
            yield piece
            total, stride = total + len(piece), stride + len(piece)
            if total > limit:
                return
            if stride >= STRIDE:
                since, stride = time.monotonic(), 0
    finally:
        given_up.set()


def _next(
    pieces: queue.Queue[bytes | Exception | None], deadline: float, what: str, cancelled: Cancelled | None
) -> bytes | None:
    """The next piece, or None at the end."""
    while True:
        if cancelled is not None and cancelled():
            raise HubError(f"{what}: cancelled.")
        try:
            piece = pieces.get(timeout=max(0.0, min(0.1, deadline - time.monotonic())))
        except queue.Empty:
            if time.monotonic() >= deadline:
                raise HubDownError(f"{what}: {host()} does not answer, or too slowly. Try again later.") from None
            continue
        if isinstance(piece, Exception):
            raise piece
        return piece


def _pump(
    answer: Callable[[], Iterator[bytes]],
    what: str,
    pieces: queue.Queue[bytes | Exception | None],
    given_up: threading.Event,
) -> None:
    """Put every piece of the answer into `pieces`, then None or the error."""

    def put(piece: bytes | Exception | None) -> None:
        placed = False
        while not (placed or given_up.is_set()):
            with contextlib.suppress(queue.Full):
                pieces.put(piece, timeout=0.5)
                placed = True

    try:
        for piece in answer():
            put(piece)
            if given_up.is_set():
                return
        put(None)
    except HubError as error:
        put(error)
    except Exception as error:  # the client's HTTP library, and so its errors, differ from version to version
        put(broken(error, what))


def _answer(url: str, what: str, patience_s: float, anonymous: bool) -> Iterator[bytes]:
    from huggingface_hub import constants, get_session, get_token

    headers = {"user-agent": f"medseg/{__version__}", "accept-encoding": "identity"}
    if not anonymous and not constants.HF_HUB_DISABLE_IMPLICIT_TOKEN and (token := get_token()):
        headers["authorization"] = f"Bearer {token}"
    session: Any = get_session()
    with session.stream("GET", url, headers=headers, timeout=patience_s, follow_redirects=True) as response:
        if response.status_code != 200:
            raise refusal(response.status_code, what, response.headers.get("retry-after"))
        yield from response.iter_bytes()


def refusal(status: int, what: str, retry_after: str | None = None) -> HubError:
    """The HTTP status of a refusal as a sentence. Nothing of the answer's own text is in it: it may echo a token."""
    if status == 401:
        return HubError(
            f"{what}: {host()} wants a token that has access (401): set HF_TOKEN or run `hf auth login`. It says the "
            "same of repositories that do not exist."
        )
    if status == 403:
        return HubError(f"{what}: {host()} refuses access with this token (403): ask its owner, or use another token.")
    if status == 404:
        return HubError(
            f"{what}: {host()} has no such repository, revision or file, or your token may not see it (404)."
        )
    if status == 429:
        wait = f"{int(retry_after)} s" if retry_after and retry_after.isdecimal() else "a while"
        return HubDownError(f"{what}: too many requests to {host()} (429): try again after {wait}.")
    if status >= 500:
        return HubDownError(f"{what}: {host()} has a fault of its own ({status}): try again later.")
    return HubError(f"{what}: {host()} answers with status {status}.")


def broken(error: BaseException, what: str) -> HubError:
    """A failed connection as a sentence, told by its class: its message may hold the header with the token."""
    kind = type(error).__name__
    if "Timeout" in kind:
        return HubDownError(f"{what}: {host()} does not answer, or too slowly. Try again later.")
    if kind.startswith("Connect") or isinstance(error, OSError):
        return HubDownError(f"{what}: {host()} cannot be reached. Look at your connection, or try again later.")
    return HubDownError(f"{what}: {host()} broke off its answer ({kind}). Try again.")


def host() -> str:
    """The Hub's name for a sentence; of HF_ENDPOINT only the host, since a URL can hold a password."""
    from huggingface_hub import constants

    split = urlsplit(constants.ENDPOINT)
    return f"the Hub ({split.hostname}{f':{split.port}' if split.port else ''})"
