"""Uploads as they arrive: bounded, never waited for without end, and under random names.

A file's name is often a patient's, and Gradio would keep it in paths and addresses. What is 128 bits long and random
cannot be guessed either, so no visitor finds another's file. The page goes on showing its visitor the name it knows.
"""

from __future__ import annotations

import asyncio
import re
import secrets
import shutil
import time
from typing import Any

from python_multipart.multipart import parse_options_header
from starlette.datastructures import Headers
from starlette.requests import ClientDisconnect
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from medseg.app.server.settings import max_bytes
from medseg.app.server.upload_folder import visitors_folder

ENDINGS = (".nii.gz", ".nii", ".png", ".jpg", ".jpeg", ".tif", ".tiff", ".dcm", ".zip", ".json")
"""The part of a name that stays; files are told apart by content all the same."""

PATIENCE_S = 60
"""Longest wait for the next bytes of an upload."""

LEAST_RATE = 2**16
"""Bytes a second that an upload must reach over its whole length, beside PATIENCE_S: a slow drip ends."""

SPARE_BYTES = 2**30
"""Free disk that uploads leave alone."""

MALFORMED = "The upload is malformed: send multipart/form-data, with each file in a field of the name files."
MAX_HEADERS = 2**14
_DISPOSITION = re.compile(rb"^content-disposition:[ \t]*(.*?)(?=\r?$)", re.IGNORECASE | re.MULTILINE)


class UploadMiddleware:
    """ASGI middleware for everything that comes as multipart/form-data."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app
        self._coming = 0  # bytes of all uploads that are on their way

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        headers = Headers(scope=scope) if scope["type"] == "http" else Headers()
        kind, options = parse_options_header(headers.get("content-type"))
        if kind != b"multipart/form-data" or b"boundary" not in options:
            await self._app(scope, receive, send)
            return
        if refusal := _refusal(headers, self._coming):
            await PlainTextResponse(refusal, 413)(scope, receive, send)
            return
        length = int(headers["content-length"])
        self._coming += length
        try:
            renamed = _renaming(receive, options[b"boundary"], PATIENCE_S + length / LEAST_RATE)
            await self._app(scope, renamed, send)
        except ClientDisconnect:  # its visitor left, or nothing came any more; the janitor removes the rest
            await PlainTextResponse("The upload was broken off. Send it again.", 408)(scope, receive, send)
        except (TypeError, ValueError, LookupError):  # what Gradio meets where a field is no file
            await PlainTextResponse(MALFORMED, 400)(scope, receive, send)
        finally:
            self._coming -= length


class Renamer:
    """Passes a multipart body through, chunk by chunk, with a random file name in each part's headers."""

    def __init__(self, boundary: bytes) -> None:
        self._delimiter = b"\r\n--" + boundary
        self._held = b""
        self._in_headers = True  # what stands before the first part goes with its headers

    def feed(self, chunk: bytes) -> bytes:
        """What can be passed on; the rest waits for the next chunk."""
        self._held += chunk
        passed = []
        while True:
            end = b"\r\n\r\n" if self._in_headers else self._delimiter
            piece, end_seen, rest = self._held.partition(end)
            if not end_seen:
                break
            passed.append(anonymous(piece) + end if self._in_headers else piece + end)
            self._held, self._in_headers = rest, not self._in_headers
        waiting = MAX_HEADERS if self._in_headers else len(self._delimiter) - 1
        passed.append(self._held[:-waiting])  # headers so long are refused by Gradio
        self._held = self._held[-waiting:]
        return b"".join(passed)

    def rest(self) -> bytes:
        """What still waits when all has come."""
        return self._held


def anonymous(headers: bytes) -> bytes:
    """A part's headers with a random name for its file, of which the ending stays where it is one of ENDINGS."""

    def renamed(line: re.Match[bytes]) -> bytes:
        _, options = parse_options_header(line[1])
        if b"filename" not in options and b"filename*" not in line[1].lower():
            return line[0]
        field = options.get(b"name", b"").replace(b'"', b"%22")
        name = _random(options.get(b"filename", b""))
        return b'Content-Disposition: form-data; name="%s"; filename="%s"' % (field, name)

    return _DISPOSITION.sub(renamed, headers)


def _random(name: bytes) -> bytes:
    text = name.decode("utf-8", "replace").lower()
    ending = next((ending for ending in ENDINGS if text.endswith(ending)), "")
    return (secrets.token_hex(16) + ending).encode()


def _renaming(receive: Receive, boundary: bytes, seconds: float) -> Receive:
    """`receive` with random names; it ends where nothing comes for PATIENCE_S, or after `seconds` in all."""
    renamer, complete = Renamer(boundary), False
    deadline = time.monotonic() + seconds

    async def next_message() -> Message:
        nonlocal complete
        if complete:
            return await receive()
        try:
            message: dict[str, Any] = dict(
                await asyncio.wait_for(receive(), min(PATIENCE_S, deadline - time.monotonic()))
            )
        except TimeoutError:
            return {"type": "http.disconnect"}
        if message["type"] == "http.request":
            complete = not message.get("more_body", False)
            message["body"] = renamer.feed(message.get("body", b"")) + (renamer.rest() if complete else b"")
        return message

    return next_message


def _refusal(headers: Headers, coming: int) -> str | None:
    """Why an upload cannot be taken, before any of it is read; `coming` bytes of others are on their way."""
    length = headers.get("content-length", "")
    if not length.isdecimal() or "transfer-encoding" in headers:
        return "An upload has to say how long it is (Content-Length)."
    if int(length) > max_bytes():
        return f"An upload may have {max_bytes() // 2**20} MB, all files together; send it in parts."
    if shutil.disk_usage(visitors_folder()).free < coming + int(length) + SPARE_BYTES:
        return "There is no room for uploads just now; try again in an hour."
    return None
