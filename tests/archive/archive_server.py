"""A DICOMweb service on loopback that keeps files in memory, and misbehaves where it is asked to."""

from __future__ import annotations

import contextlib
import http.server
import io
import json
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import PIL.Image
import pydicom
from pydicom.dataset import Dataset

BOUNDARY = "parts"


@dataclass
class Hospital:
    """What it holds (by SOP Instance UID), what it was asked, how it behaves (`mood` by HTTP method), and the `most`
    rows that it lists at once."""

    held: dict[str, bytes] = field(default_factory=dict)
    requests: list[str] = field(default_factory=list)
    authorization: list[str | None] = field(default_factory=list)
    mood: dict[str, str] = field(default_factory=dict)
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
                value.strip("*") in str(image.get(word.replace("sInStudy", "y"), "")) for word, value in wanted.items()
            ):
                row = Dataset()
                for word in ("StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID", "StudyDate", "AccessionNumber"):
                    setattr(row, word, image.get(word))
                row.Modality, row.InstanceNumber, row.ModalitiesInStudy = image.Modality, image.InstanceNumber, "OT"
                row.SeriesNumber, row.PatientName = image.get("SeriesNumber"), image.PatientName
                rows[image[key].value] = row.to_json_dict()
        if self.mood.get("rows") == "nonsense":
            for row in rows.values():
                row["00200013"] = {"vr": "IS", "Value": ["one"]}
        return list(rows.values())[start : start + self.most]


class _Handler(http.server.BaseHTTPRequestHandler):
    hospital: Hospital
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        if self._misbehaves("GET"):
            return
        from urllib.parse import parse_qsl, urlsplit

        parts = urlsplit(self.path.removeprefix("/dicom-web"))
        uid = parts.path.removesuffix("/rendered").rsplit("/", 1)[-1]
        if parts.path.endswith("/rendered"):
            self._render(self.hospital.held[uid])
        elif "/instances/" in parts.path:
            self._send_image(uid)
        else:
            rows = self.hospital.rows(parts.path, dict(parse_qsl(parts.query)))
            self._answer(200, "application/dicom+json", json.dumps(rows).encode())

    def _render(self, content: bytes) -> None:
        if mood := self.hospital.mood.get("RENDER", ""):
            self._answer(int(mood), "text/plain", b"")
            return
        image = pydicom.dcmread(io.BytesIO(content))
        stream = io.BytesIO()
        PIL.Image.new("L", (12, 12), min(255, 40 * int(image.InstanceNumber))).save(stream, "JPEG")
        self._answer(200, "image/jpeg", stream.getvalue())

    def _send_image(self, uid: str) -> None:
        content = self.hospital.held[uid]
        mood = self.hospital.mood.get("WADO", "")
        if mood == "other image":
            content = next(value for key, value in self.hospital.held.items() if key != uid)
        body = b"--%b\r\nContent-Type: application/dicom\r\n\r\n%b\r\n--%b--\r\n" % (
            BOUNDARY.encode(),
            content,
            BOUNDARY.encode(),
        )
        kind = f'multipart/related; type="application/dicom"; boundary={BOUNDARY}'
        if mood == "half":
            self._answer(200, kind, body[: len(body) // 2], length=len(body))
        elif mood == "half without length":
            self._answer(200, kind, body[: len(body) // 2], length=None)
        elif mood == "slow":
            self._answer(200, kind, body, drip=True)
        else:
            self._answer(200, kind, body)

    def do_POST(self) -> None:
        if self.hospital.mood.get("POST") == "reads nothing":
            self.hospital.requests.append(f"POST {self.path}")
            self.hospital.released.wait(30)
            return
        if self.headers.get("Transfer-Encoding") == "chunked":
            content = b""
            while size := int(self.rfile.readline(), 16):
                content += self.rfile.read(size)
                self.rfile.readline()
            self.rfile.readline()
        else:
            content = self.rfile.read(int(self.headers["Content-Length"]))
        if self._misbehaves("POST"):
            return
        part = content.split(b"\r\n\r\n", 1)[1].rsplit(b"\r\n--", 1)[0]
        uid = str(pydicom.dcmread(io.BytesIO(part)).SOPInstanceUID)
        mood = self.hospital.mood.get("STOW", "")
        answer, item = Dataset(), Dataset()
        item.ReferencedSOPInstanceUID = uid
        if mood == "fails":
            item.FailureReason = 0xA700
            answer.FailedSOPSequence = [item]
        elif mood != "says nothing":
            self.hospital.held[uid] = part
            answer.ReferencedSOPSequence = [] if mood == "keeps and says nothing" else [item]
        if mood == "dies after":
            self.close_connection = True
            self.connection.close()
            return
        self._answer(202 if mood == "fails" else 200, "application/dicom+json", answer.to_json().encode())

    def _misbehaves(self, method: str) -> bool:
        self.hospital.requests.append(f"{method} {self.path}")
        self.hospital.authorization.append(self.headers.get("Authorization"))
        mood = self.hospital.mood.get(method, "")
        if mood.isdigit():
            self._answer(int(mood), "text/html", b"<p>no</p>")
        elif mood == "silent":
            self.hospital.released.wait(30)
            self.close_connection = True
        elif mood == "drips headers":
            self.close_connection = True
            with contextlib.suppress(OSError):
                self.wfile.write(b"HTTP/1.1 200 OK\r\n")
                while not self.hospital.released.wait(0.05):
                    self.wfile.write(b"X-More: 1\r\n")
        elif mood.startswith("http"):
            self.send_response(307)
            self.send_header("Location", mood)
            self.send_header("Content-Length", "0")
            self.end_headers()
        elif mood == "web page":
            self._answer(200, "text/html", b"<html>Welcome</html>")
        return bool(mood)

    def _answer(self, status: int, kind: str, body: bytes, length: int | None = -1, drip: bool = False) -> None:
        self.send_response(status)
        self.send_header("Content-Type", kind)
        if length is not None:
            self.send_header("Content-Length", str(len(body) if length < 0 else length))
        self.send_header("Connection", "close")
        self.close_connection = True
        self.end_headers()
        with contextlib.suppress(OSError):
            for start in range(0, len(body), 1 if drip else len(body)):
                self.wfile.write(body[start : start + (1 if drip else len(body))])
                if drip and self.hospital.released.wait(0.02):
                    return

    def log_message(self, *_: object) -> None:
        pass


class _Server(http.server.ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, *_: object) -> None:
        pass  # a client that leaves is what some tests want


@contextlib.contextmanager
def running_hospital(certificate: Path | None = None) -> Iterator[Hospital]:
    """One on a free port; over TLS where `certificate` (PEM with its key) is given."""
    import ssl

    hospital = Hospital()
    handler = type("Handler", (_Handler,), {"hospital": hospital})
    with _Server(("127.0.0.1", 0), handler) as server:
        if certificate:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(certificate)
            server.socket = context.wrap_socket(server.socket, server_side=True)
        hospital.url = f"http{'s' if certificate else ''}://127.0.0.1:{server.server_port}/dicom-web"
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        try:
            yield hospital
        finally:
            hospital.released.set()
            time.sleep(0)
            server.shutdown()
            thread.join()
