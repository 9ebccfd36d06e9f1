"""An Orthanc with DICOMweb in a process of its own, on loopback and empty: an archive that nobody here wrote."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import socket
import subprocess
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

CACHE = Path(os.environ.get("MEDSEG_VIEWERS") or Path.home() / ".cache" / "medseg-viewers")
"""Where `tests/viewers/install` puts what it could get."""

_PATIENCE_S = 60


def _part(pattern: str) -> Path | None:
    """The file of that kind in the cache, or installed."""
    places = [*CACHE.glob(f"debian/{pattern}"), *Path("/").glob(pattern)]
    return places[0] if places else None


def why_no_orthanc() -> str | None:
    """The reason to skip, None where Orthanc and its plugin are there."""
    if _part("usr/sbin/Orthanc") and _part("usr/lib/orthanc/libOrthancDicomWeb.so*"):
        return None
    return "Orthanc with DICOMweb is not there: run tests/viewers/install (Debian)"


@contextlib.contextmanager
def running_orthanc(folder: Path) -> Iterator[str]:
    """The URL of the DICOMweb service (QIDO, WADO, STOW) of an Orthanc that keeps its files in `folder`."""
    program, plugin = _part("usr/sbin/Orthanc"), _part("usr/lib/orthanc/libOrthancDicomWeb.so*")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    settings = {
        **{"StorageDirectory": str(folder), "IndexDirectory": str(folder), "HttpPort": port, "Plugins": [str(plugin)]},
        **{"DicomServerEnabled": False, "RemoteAccessAllowed": False, "AuthenticationEnabled": False},
        "DicomWeb": {"Enable": True, "Root": "/dicom-web/"},
    }
    (folder / "orthanc.json").write_text(json.dumps(settings))
    libraries = [str(CACHE / "debian" / "usr/lib/x86_64-linux-gnu"), os.environ.get("LD_LIBRARY_PATH", "")]
    environment = os.environ | {"LD_LIBRARY_PATH": os.pathsep.join(filter(None, libraries))}
    dictionary = _part("usr/share/libdcmtk*/dicom.dic")
    if dictionary:
        environment["DCMDICTPATH"] = str(dictionary)
    with (folder / "orthanc.log").open("w") as log:
        process = subprocess.Popen([program, folder / "orthanc.json"], env=environment, stdout=log, stderr=log)
    try:
        _wait(f"http://127.0.0.1:{port}/dicom-web/studies", process, folder / "orthanc.log")
        yield f"http://127.0.0.1:{port}/dicom-web"
    finally:
        process.terminate()
        process.wait(_PATIENCE_S)
        shutil.rmtree(folder, ignore_errors=True)


def _wait(url: str, process: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + _PATIENCE_S
    while time.monotonic() < deadline:
        if process.poll() is not None:
            raise RuntimeError(f"Orthanc ended: {log.read_text()[-2000:]}")
        with contextlib.suppress(OSError):
            urllib.request.urlopen(url, timeout=5).close()  # noqa: S310 - our own server
            return
        time.sleep(0.2)
    raise TimeoutError(f"Orthanc does not answer: {log.read_text()[-2000:]}")


def store(url: str, path: Path) -> int:
    """The status of a STOW of one file."""
    boundary = "medseg-boundary"
    body = b"--%b\r\nContent-Type: application/dicom\r\n\r\n%b\r\n--%b--\r\n" % (
        boundary.encode(),
        path.read_bytes(),
        boundary.encode(),
    )
    request = urllib.request.Request(f"{url}/studies", body, method="POST")  # noqa: S310 - our own server
    request.add_header("Content-Type", f'multipart/related; type="application/dicom"; boundary={boundary}')
    request.add_header("Accept", "application/dicom+json")
    with urllib.request.urlopen(request, timeout=_PATIENCE_S) as answer:  # noqa: S310
        return int(answer.status)
