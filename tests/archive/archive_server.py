"""A DICOMweb service on loopback that keeps files in memory, and misbehaves where it is asked to.

`FAULTS` can be met in each of the `OPERATIONS`; where they fit one alone, they stand at its handler.
"""

from __future__ import annotations

import contextlib
import fnmatch
import http.server
import io
import json
import ssl
import subprocess
import threading
import zlib
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import PIL.Image
import pydicom
from pydicom.dataset import Dataset

BOUNDARY = "parts"

OPERATIONS = {"query": "QIDO", "retrieve": "WADO", "store": "STOW"}

_LATE = "does not answer in time"
FAULTS = {
    **{"down": "cannot be reached|broke off", "silent": _LATE, "slow": _LATE, "slow headers": _LATE},
    **{"401": "does not know us .401.: check", "403": "does not allow this .403.", "404": "does not hold this .404."},
    **{"409": "conflicts with what it holds", "413": "too large .413.", "503": "answers with the status 503"},
    **{"redirection": "a redirection .307.", "half": "broke off", "half without length": "broke off|not DICOMweb"},
    **{"nested": "not DICOMweb|broke off"},
    **{"web page": "not DICOMweb|no DICOM file|does not say that it stored it"},
    **{"10 GB": "more than [0-9]+ MiB", "endless": "more than [0-9]+ MiB", "bomb": "more than [0-9]+ MiB"},
}
"""How the service misbehaves, and the words of the sentence that is wanted then."""

_TOLD = (
    *("StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID", "StudyDate", "AccessionNumber", "PatientName"),
    *("PatientID", "SeriesNumber", "SeriesDescription", "InstanceNumber"),
)

AFTER_ALL = ("slow", "slow headers", "half", "half without length", "10 GB", "endless", "bomb")
"""The faults of an answer: what was to be stored has arrived."""


@dataclass
class Hospital:
    """What it holds (by SOP Instance UID), how often each came, what it was asked, how it behaves (`mood` by QIDO,
    WADO, RENDER and STOW), its `lies` in every row, where a redirection leads, and the `most` rows that it lists at
    once."""

    held: dict[str, bytes] = field(default_factory=dict)
    arrivals: Counter[str] = field(default_factory=Counter)
    requests: list[str] = field(default_factory=list)
    authorization: list[str | None] = field(default_factory=list)
    mood: dict[str, str] = field(default_factory=dict)
    lies: dict[str, Any] = field(default_factory=dict)
    elsewhere: str = "http://127.0.0.1:9/"
    most: int = 1000
    released: threading.Event = field(default_factory=threading.Event)
    url: str = ""

    def add(self, *paths: Path) -> None:
        for path in paths:
            self.held[str(pydicom.dcmread(path).SOPInstanceUID)] = path.read_bytes()

    def images(self) -> list[Dataset]:
        return [pydicom.dcmread(io.BytesIO(content)) for content in self.held.values()]

    def rows(self, path: str, query: dict[str, str]) -> list[dict[str, Any]]:
        """What QIDO answers: a row for each study, series or instance."""
        parts = path.strip("/").split("/")
        level = parts[-1]
        key = {"studies": "StudyInstanceUID", "series": "SeriesInstanceUID", "instances": "SOPInstanceUID"}[level]
        wanted = dict(zip(("StudyInstanceUID", "SeriesInstanceUID"), parts[1:-1:2], strict=False))
        wanted |= {word: value for word, value in query.items() if word[:1].isupper() and value.isprintable()}
        start = int(query.get("offset", 0))
        rows = {}
        for content in self.held.values():
            image = pydicom.dcmread(io.BytesIO(content), stop_before_pixels=True)
            if all(
                fnmatch.fnmatchcase(str(image.get(word.replace("sInStudy", "y"), "")).casefold(), value.casefold())
                for word, value in wanted.items()
            ):
                row = Dataset()
                row.Modality, row.ModalitiesInStudy = image.Modality, "OT"
                for word in _TOLD:
                    setattr(row, word, image.get(word))
                rows[image[key].value] = row.to_json_dict()
        for row in rows.values():
            row.update(self.lies)
        return list(rows.values())[start : start + self.most]


def _bomb() -> bytes:
    """A hundredth of the 640 MiB that it unpacks to: a block that stands alone, again and again."""
    packer = zlib.compressobj(1)
    first, block = (packer.compress(bytes(2**20)) + packer.flush(zlib.Z_FULL_FLUSH) for _ in range(2))
    return first + 640 * block


def make_certificate(folder: Path) -> tuple[Path, Path]:
    """A certificate of 127.0.0.1 that nobody vouches for, alone and with its key, by OpenSSL."""
    key, certificate, both = (folder / name for name in ("key.pem", "certificate.pem", "both.pem"))
    command = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "1", "-subj", "/CN=127.0.0.1"]
    names = ["-addext", "subjectAltName=IP:127.0.0.1", "-keyout", key, "-out", certificate]
    subprocess.run([*command, *names], check=True, capture_output=True)
    both.write_bytes(certificate.read_bytes() + key.read_bytes())
    return certificate, both


class _Handler(http.server.BaseHTTPRequestHandler):
    hospital: Hospital
    fault = ""
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        parts = urlsplit(self.path.removeprefix("/dicom-web"))
        rendered, uid = parts.path.endswith("/rendered"), parts.path.removesuffix("/rendered").rsplit("/", 1)[-1]
        if self._refuses("RENDER" if rendered else "WADO" if "/instances/" in parts.path else "QIDO"):
            return
        if rendered:
            self._render(self.hospital.held[uid])
        elif "/instances/" in parts.path:
            self._send_image(uid)
        else:
            rows = self.hospital.rows(parts.path, dict(parse_qsl(parts.query)))
            self._answer(200, "application/dicom+json", json.dumps(rows).encode())

    def _render(self, content: bytes) -> None:
        image = pydicom.dcmread(io.BytesIO(content))
        stream = io.BytesIO()
        PIL.Image.new("L", (12, 12), min(255, 40 * int(image.InstanceNumber))).save(stream, "JPEG")
        self._answer(200, "image/jpeg", stream.getvalue())

    def _send_image(self, uid: str) -> None:
        content = self.hospital.held[uid]
        if self.fault == "other image":
            content = next(value for key, value in self.hospital.held.items() if key != uid)
        elif self.fault == "other study":
            image = pydicom.dcmread(io.BytesIO(content))
            image.StudyInstanceUID = "1.2.3"
            image.save_as(stream := io.BytesIO())
            content = stream.getvalue()
        mark = BOUNDARY.encode()
        body = b"--%b\r\nContent-Type: application/dicom\r\n\r\n%b\r\n--%b--\r\n" % (mark, content, mark)
        self._answer(200, f'multipart/related; type="application/dicom"; boundary={BOUNDARY}', body)

    def do_POST(self) -> None:
        if self.hospital.mood.get("STOW") == "reads nothing":
            self.hospital.requests.append(f"POST {self.path}")
            self.hospital.released.wait(30)
            return
        content = self._sent()
        if self._refuses("STOW"):
            return
        part = content.split(b"\r\n\r\n", 1)[1].rsplit(b"\r\n--", 1)[0]
        answer, item = Dataset(), Dataset()
        uid = item.ReferencedSOPInstanceUID = str(pydicom.dcmread(io.BytesIO(part)).SOPInstanceUID)
        if self.fault == "fails":
            item.FailureReason = 0xA700
            answer.FailedSOPSequence = [item]
        elif self.fault in ("", "keeps and says nothing", *AFTER_ALL):
            self.hospital.held[uid] = part
            self.hospital.arrivals[uid] += 1
            answer.ReferencedSOPSequence = [] if self.fault == "keeps and says nothing" else [item]
        self._answer(202 if self.fault == "fails" else 200, "application/dicom+json", answer.to_json().encode())

    def _sent(self) -> bytes:
        if self.headers.get("Transfer-Encoding") != "chunked":
            return self.rfile.read(int(self.headers["Content-Length"]))
        content = b""
        while size := int(self.rfile.readline(), 16):
            content += self.rfile.read(size)
            self.rfile.readline()
        self.rfile.readline()
        return content

    def _refuses(self, operation: str) -> bool:
        """Whether the fault of this `operation` leaves no answer, or one that is said by now."""
        self.hospital.requests.append(f"{self.command} {self.path}")
        self.hospital.authorization.append(self.headers.get("Authorization"))
        self.fault = self.hospital.mood.get(operation, "")
        if self.fault.isdigit():
            self._answer(int(self.fault), "text/html", b"<p>no</p>")
        elif self.fault == "redirection":
            self._answer(307, "text/html", b"")
        elif self.fault in ("silent", "down"):
            if self.fault == "silent":
                self.hospital.released.wait(30)
            self.close_connection = True
            self.connection.close()
        else:
            return False
        return True

    def _answer(self, status: int, kind: str, body: bytes) -> None:
        """Through the fault, where it is one of the answer."""
        headers = {"Content-Type": kind, "Content-Length": str(len(body)), "Connection": "close"}
        if self.fault == "web page":
            body = b"<html>Welcome</html>"
            headers |= {"Content-Type": "text/html", "Content-Length": str(len(body))}
        elif self.fault == "nested":
            body = b"[" * 100_000
            headers["Content-Length"] = str(len(body))
        elif self.fault.startswith("half"):
            body = body[: len(body) // 2]
        elif self.fault == "10 GB":
            headers["Content-Length"] = str(10 * 2**30)
        elif self.fault == "bomb":
            body = _bomb()
            headers |= {"Content-Length": str(len(body)), "Content-Encoding": "deflate"}
        if self.fault in ("endless", "half without length"):
            del headers["Content-Length"]
        if status == 307:
            headers["Location"] = self.hospital.elsewhere
        self.close_connection = True
        with contextlib.suppress(OSError):
            self._write(status, headers, body)

    def _write(self, status: int, headers: dict[str, str], body: bytes) -> None:
        self.send_response(status)
        if self.fault == "slow headers":
            self.flush_headers()
            while not self.hospital.released.wait(0.05):
                self.wfile.write(b"X-More: 1\r\n")
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body[:1] if self.fault == "slow" else body)
        if self.fault == "slow":
            for byte in body[1:]:
                self.wfile.write(bytes([byte]))
                if self.hospital.released.wait(0.02):
                    return
        while self.fault == "endless":
            self.wfile.write(bytes(2**20))

    def log_message(self, *_: object) -> None:
        pass


class _Server(http.server.ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, *_: object) -> None:
        pass  # a client that leaves is what some tests want


@contextlib.contextmanager
def running_hospital(certificate: Path | None = None) -> Iterator[Hospital]:
    """One on a free port; over TLS where `certificate` (PEM with its key) is given."""
    hospital = Hospital()
    handler = type("Handler", (_Handler,), {"hospital": hospital})
    with _Server(("127.0.0.1", 0), handler) as server:
        if certificate:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(certificate)
            server.socket = context.wrap_socket(server.socket, server_side=True)
        hospital.url = f"http{'s' if certificate else ''}://127.0.0.1:{server.server_port}/dicom-web"
        thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
        thread.start()
        try:
            yield hospital
        finally:
            hospital.released.set()
            server.shutdown()
            thread.join()
