"""Where every request comes in: names, sizes, deadlines, errors and headers are checked here, around Gradio."""

from __future__ import annotations

import asyncio
import json
import logging
import re
from collections.abc import Callable, Collection
from typing import Any

from python_multipart.multipart import parse_options_header
from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import ClientDisconnect
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from medseg.app.server.attempts import Attempts
from medseg.app.state.refusals import GENERIC, sentence_of
from medseg.errors import MedsegError

log = logging.getLogger(__name__)

MAX_BODY = 2**23
"""Most bytes of a body that is no upload: JSON, in which an image of 6 MB may stand as data:."""

MAX_VALUES = 200_000
"""Most numbers, texts, lists and objects of such a body: three bytes each in JSON, and a hundred in memory."""

MAX_READING = 2**26
"""Bytes of all such bodies that are on their way at a time."""

MAX_QUERY = 2**11
"""Most bytes of what stands behind the `?` of an address: Gradio keeps names that stand there."""

PATIENCE_S = 60
"""Longest wait for such a body."""

BUSY = "The server is busy: all places of its queue are taken. Try again in a minute."
GONE = "There is no event of that identifier here, or no longer: each result is fetched once, and soon. Ask again."
STOPPING = "The server is being stopped, and takes nothing new. Try again in a minute."
_RUNS = re.compile(r"/(?:gradio_api/)?(?:queue/join|(?:call|run|api)/.*)/?$")
_UPLOAD = "/gradio_api/upload"
_OPEN = re.compile(
    r"/gradio_api/(?:info|openapi\.json|app_id|user|token|login_check|startup-events|theme\.css|queue/(?:join|data|status)|"
    r"heartbeat/[^/]+|(?:call|run|api)/.+|upload|upload_progress|cancel|reset|file[=/].*|mcp(?:/.*)?)/?$"
)
"""What page and programs use of Gradio's own; its proxy, recorder, links to a state and the like stay shut."""
_FETCHED = re.compile(r"/gradio_api/call(?:/v2)?/[^/]+/([^/]+)/?$")
_NAMED = re.compile(r"/gradio_api/(?:call(?:/v2)?|run|api)/([^/]+)/?$")

_FRAMES = "'self' https://huggingface.co https://*.hf.space"  # a Space is shown in a frame of huggingface.co
_POLICY = (
    "default-src 'self'; script-src 'self' 'unsafe-inline' 'unsafe-eval' blob:{cdn}; style-src 'self' 'unsafe-inline'; "
    "img-src 'self' data: blob:; font-src 'self' data:; connect-src 'self' data: blob:; worker-src 'self' blob:; "
    "media-src 'self' data: blob:; object-src 'none'; base-uri 'self'; form-action 'self'; frame-ancestors " + _FRAMES
)
"""Gradio's page needs inline scripts and eval; what this policy forbids is every other host."""
_CDN = " https://cdnjs.cloudflare.com"  # the script by which a Space's frame takes the height of its page
_FILE_POLICY = "default-src 'none'; sandbox"


class Gate:
    """ASGI middleware around everything. `hosts` are the names it may be called by (none: any), `routes` answer paths
    of our own, `names` are the endpoints, `is_full` says whether the queue is, with so many on their way there, `knows`
    whether it has an event."""

    def __init__(
        self,
        app: ASGIApp,
        *,
        hosts: Collection[str] = (),
        routes: dict[str, Callable[[], Response]] | None = None,
        names: Collection[str] = (),
        is_full: Callable[[int], bool] = lambda entering: False,
        knows: Callable[[str], bool] = lambda event: True,
        count: Callable[[int], object] = lambda status: None,
        in_space: bool = False,
    ) -> None:
        self._app, self._hosts, self._routes, self._names = app, hosts, routes or {}, names
        self._is_full, self._has_event, self._count = is_full, knows, count
        self._reading = 0
        self._policy = _POLICY.format(cdn=_CDN if in_space else "")
        self._attempts = Attempts()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        answer = _Answer(send, scope["path"], self._policy, self._count)
        # by this header anybody could say where the page's own requests go
        scope["headers"] = [pair for pair in scope["headers"] if pair[0] != b"x-gradio-server"]
        try:
            refusal = self._refusal(scope)
            if refusal is not None:
                await refusal(scope, receive, answer)
            elif scope["path"].rstrip("/") == "/login" and scope["method"] == "POST":
                await self._attempts.slow_down(scope, answer, self._pass(scope, receive, answer))
            else:
                await self._pass(scope, receive, answer)
        except Exception as error:
            sentence = sentence_of(error)
            if not answer.has_begun:
                status = 400 if isinstance(error, MedsegError) else 500
                await JSONResponse({"detail": sentence or GENERIC}, status)(scope, receive, answer)

    async def _pass(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["method"] in ("GET", "HEAD") or _is_upload(scope):  # uploads have bounds of their own
            await self._app(scope, receive, send)
            return
        length = Headers(scope=scope).get("content-length", "")
        if length.isdecimal() and int(length) > MAX_BODY:
            await _too_large()(scope, receive, send)
            return
        try:
            body = await asyncio.wait_for(self._whole(receive), PATIENCE_S)
        except (TimeoutError, ClientDisconnect):
            await PlainTextResponse("The request was broken off. Send it again.", 408)(scope, receive, send)
            return
        if isinstance(body, Response):
            await body(scope, receive, send)
            return
        is_run = bool(_RUNS.match(scope["path"]))
        STATE.entering += is_run  # or a burst would pass before the first of it is in the queue
        try:
            await self._app(scope, _again(body, receive), send)
        finally:
            STATE.entering -= is_run

    async def _whole(self, receive: Receive) -> bytes | Response:
        """A request's body; or the refusal of one that is too large, as soon as so much has come."""
        chunks, size = [], 0
        try:
            while True:
                message = await receive()
                if message["type"] == "http.disconnect":
                    raise ClientDisconnect
                chunks.append(message.get("body", b""))
                size += len(chunks[-1])
                self._reading += len(chunks[-1])
                if size > MAX_BODY:
                    return _too_large()
                if self._reading > MAX_READING:
                    return JSONResponse({"detail": BUSY}, 503, {"Retry-After": "30"})
                if not message.get("more_body", False):
                    break
        finally:
            self._reading -= size
        body = b"".join(chunks)
        if sum(body.count(mark) for mark in (b",", b"[", b"{")) > MAX_VALUES:
            return JSONResponse({"detail": f"A request may have {MAX_VALUES:,} values."}, 413)
        return body

    def _refusal(self, scope: Scope) -> Response | None:
        """The answer to a request that goes no further."""
        headers, path = Headers(scope=scope), scope["path"]
        called = [headers.get("host", ""), *headers.get("x-forwarded-host", "").split(",")]
        if not all(self._knows(name.strip()) for name in called if name):
            return PlainTextResponse("This server is not known by that name. Its owner sets MEDSEG_HOSTS.", 400)
        if path in self._routes:
            return self._routes[path]()
        if path.startswith("/gradio_api/") and not _OPEN.match(path):
            return JSONResponse({"detail": "There is nothing here."}, 404)
        if len(scope["query_string"]) > MAX_QUERY:
            return JSONResponse({"detail": "The address is too long."}, 414)
        if scope["method"] != "POST":
            fetched = _FETCHED.match(path)
            return JSONResponse({"detail": GONE}, 404) if fetched and not self._has_event(fetched[1]) else None
        if "origin" in headers and not self._knows(headers["origin"].partition("://")[2]):
            return PlainTextResponse(
                "A page of another site may not ask this server. Its owner sets MEDSEG_HOSTS.", 403
            )
        if STATE.stopping:
            return JSONResponse({"detail": STOPPING}, 503, {"Retry-After": "60"})
        named = _NAMED.match(path)
        if named and named[1] not in self._names:
            known = ", ".join(f"/{name}" for name in sorted(self._names))
            return JSONResponse({"detail": f"There is no endpoint of that name; there are {known}."}, 404)
        if _RUNS.match(path) and self._is_full(STATE.entering):
            return JSONResponse({"detail": BUSY}, 503, {"Retry-After": "30"})
        return None

    def _knows(self, host: str) -> bool:
        name = re.sub(r":\d+$", "", host.lower())
        below = [known[1:] for known in self._hosts if known.startswith("*.")]
        return not self._hosts or name in self._hosts or any(name.endswith(end) for end in below)


class _State:
    """Whether the process is being stopped, and how many requests that run something are without their answer: those
    on their way into the queue, and those of /run, which waits for its result."""

    stopping = False
    entering = 0


STATE = _State()


class _Answer:
    """`send` with our headers on each answer, our words where Gradio's queue refuses, and uploads and results only ever
    as attachments: shown as a document they could act under the page's own address."""

    def __init__(self, send: Send, path: str, policy: str, count: Callable[[int], object]) -> None:
        self._send, self._policy, self._count = send, policy, count
        self._is_file = path.startswith("/gradio_api/file")
        self._is_run = bool(_RUNS.match(path))
        self._replaced = False
        self.has_begun = False
        self.status = 0

    async def __call__(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            message = self._started(message)
        elif self._replaced:
            return
        await self._send(message)
        if self._replaced:
            await self._send({"type": "http.response.body", "body": _BUSY_BODY})

    def _started(self, message: Message) -> Message:
        self.has_begun, self.status = True, message["status"]
        self._count(self.status)
        headers = MutableHeaders(raw=list(message.get("headers", [])))
        headers["X-Content-Type-Options"] = "nosniff"
        headers["Referrer-Policy"] = "same-origin"
        headers["Permissions-Policy"] = "camera=(), microphone=(), geolocation=()"
        headers["Content-Security-Policy"] = _FILE_POLICY if self._is_file else self._policy
        if self._is_file and self.status < 300:
            disposition = headers.get("content-disposition", "attachment")
            headers["Content-Disposition"] = disposition.replace("inline", "attachment", 1)
        if self._is_run and self.status == 503 and headers.get("content-length") != str(len(_BUSY_BODY)):
            self._replaced = not STATE.stopping
        if self._replaced:
            headers["content-type"], headers["content-length"] = "application/json", str(len(_BUSY_BODY))
        return {**message, "headers": headers.raw}


_BUSY_BODY = json.dumps({"detail": BUSY}).encode()


def _too_large() -> Response:
    sentence = f"A request may have {MAX_BODY // 2**20} MB; upload a larger file first ({_UPLOAD})."
    return JSONResponse({"detail": sentence}, 413)


def _is_upload(scope: Scope) -> bool:
    kind, options = parse_options_header(Headers(scope=scope).get("content-type"))
    return scope["path"].rstrip("/") == _UPLOAD and kind == b"multipart/form-data" and b"boundary" in options


def _again(body: bytes, receive: Receive) -> Receive:
    """Gives the `body` once, then whatever comes."""
    waiting: list[Any] = [{"type": "http.request", "body": body, "more_body": False}]

    async def next_message() -> Message:
        return waiting.pop() if waiting else await receive()

    return next_message
