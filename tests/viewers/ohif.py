"""OHIF in a browser on loopback, beside a DICOMweb service: the viewer of many hospitals, as they open a study."""

from __future__ import annotations

import base64
import contextlib
import functools
import http.server
import io
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import PIL.Image

from medseg.overlay import label_colour
from tests.running_app import PATIENCE_S
from tests.viewers.orthanc import CACHE

if TYPE_CHECKING:
    from playwright.sync_api import BrowserContext, Page

FLAGS = ["--use-angle=swiftshader", "--enable-unsafe-swiftshader"]
"""WebGL on a CPU; without them OHIF draws nothing in a headless Chromium."""

_CONFIG = """window.config = {
  routerBasename: '/', extensions: [], modes: [], showStudyList: false, maxNumberOfWebWorkers: 1,
  showLoadingIndicator: true, investigationalUseDialog: { option: 'never' },
  defaultDataSourceName: 'archive',
  dataSources: [{
    namespace: '@ohif/extension-default.dataSourcesModule.dicomweb', sourceName: 'archive',
    configuration: {
      friendlyName: 'archive', name: 'archive', wadoUriRoot: ORIGIN + '/dicom-web', qidoRoot: ORIGIN + '/dicom-web',
      wadoRoot: ORIGIN + '/dicom-web', qidoSupportsIncludeField: false, supportsReject: false,
      imageRendering: 'wadors', thumbnailRendering: 'wadors', enableStudyLazyLoad: true,
      supportsFuzzyMatching: false, supportsWildcard: false, omitQuotationForMultipartRequest: true,
    },
  }],
};""".replace("ORIGIN", "location.origin")
BAR = (slice(8, 24), slice(8, 72))
"""Where the drawn sources are bright."""

_TOUR = (
    "() => document.querySelectorAll('.shepherd-element, .shepherd-modal-overlay-container').forEach(e => e.remove())"
)
_IMAGE = "document.querySelector('canvas.cornerstone-canvas')"


def why_no_ohif() -> str | None:
    """The reason to skip, None where OHIF is in the cache."""
    return None if _folder() else "OHIF is not there: run tests/viewers/install (npm)"


def _folder() -> Path | None:
    return next(iter(sorted(CACHE.glob("ohif/*/package/dist"))), None)


class _Handler(http.server.SimpleHTTPRequestHandler):
    """OHIF's files, its configuration, and the DICOMweb service under the same origin."""

    def __init__(self, *arguments: object, archive: str, **options: object) -> None:
        self.archive = archive
        super().__init__(*arguments, directory=str(_folder()), **options)  # type: ignore[arg-type]

    def do_GET(self) -> None:
        if self.path.startswith("/dicom-web/"):
            self._pass_on()
        elif self.path == "/app-config.js":
            self._answer(200, "text/javascript", _CONFIG.encode())
        else:
            if "." not in self.path.partition("?")[0]:
                self.path = "/index.html"
            super().do_GET()

    def _pass_on(self) -> None:
        request = urllib.request.Request(self.archive + self.path.removeprefix("/dicom-web"))  # noqa: S310
        request.add_header("Accept", self.headers.get("Accept", "*/*"))
        try:
            with urllib.request.urlopen(request, timeout=60) as answer:  # noqa: S310 - our own server
                self._answer(answer.status, answer.headers["Content-Type"], answer.read())
        except urllib.error.HTTPError as error:
            self._answer(error.code, "text/plain", error.read())

    def _answer(self, status: int, kind: str, content: bytes) -> None:
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        with contextlib.suppress(OSError):
            self.wfile.write(content)

    def end_headers(self) -> None:
        if self.path.endswith((".js", ".css", ".wasm")) and self.path != "/app-config.js":
            self.send_header("Cache-Control", "max-age=86400")  # or each page reads and compiles 30 MB anew
        super().end_headers()

    def log_message(self, *_: object) -> None:
        pass


@contextlib.contextmanager
def running_ohif(archive: str) -> Iterator[str]:
    """The URL of an OHIF that asks the DICOMweb service at the URL `archive`."""
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(_Handler, archive=archive))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()


def open_study(context: BrowserContext, url: str, study: str) -> Page:
    """A page with the study's first image series drawn and no tour before it."""
    page = context.new_page()
    page.set_default_timeout(PATIENCE_S * 1000)
    page.goto(f"{url}/viewer?StudyInstanceUIDs={study}")
    page.wait_for_function(f"() => {_IMAGE}")
    settled(page, lambda pixels: bool((pixels.min(axis=-1) > 127).any()))
    page.evaluate(_TOUR)
    return page


def settled(page: Page, drawn: Callable[[np.ndarray], bool]) -> np.ndarray:
    """The viewport's pixels once they are `drawn` and stay as they are: images and segments come one after another."""
    deadline = time.monotonic() + PATIENCE_S
    last = None
    while time.monotonic() < deadline:
        page.wait_for_timeout(500)
        if page.get_by_text("Something went wrong").count():
            raise RuntimeError("“Something went wrong”")
        if not page.evaluate(f"() => Boolean({_IMAGE})"):
            continue  # a viewport that changes its kind has none for a moment
        now = seen(page)
        if last is not None and drawn(now) and np.array_equal(now, last):
            return now
        last = now
    raise TimeoutError("OHIF does not draw it")


def seen(page: Page) -> np.ndarray:
    """The pixels (H, W, 3) of the viewport's image."""
    data = page.evaluate(f"() => {_IMAGE}.toDataURL('image/png')")
    return np.asarray(PIL.Image.open(io.BytesIO(base64.b64decode(data.partition(",")[2]))).convert("RGB"))


def open_segmentation(page: Page, found: bool = True) -> np.ndarray:
    """The viewport's pixels once the study's SEG is loaded into it, as a reader does it: chosen, and confirmed. Where
    nothing is `found` it has no colour, and OHIF must not have gone down at it."""
    choose(page, "-no-image")
    page.get_by_role("button", name="Yes", exact=True).click()
    if not found:
        page.wait_for_timeout(2000)
    return settled(page, lambda pixels: bool(coloured(pixels).any()) == found)


def choose(page: Page, kind: str) -> None:
    """Open the last of the study's series: `-no-image` a SEG or map, empty one of images."""
    page.locator(f'[data-cy="study-browser-thumbnail{kind}"]').last.dblclick()


def goes_on_loading(page: Page) -> bool:
    """Whether OHIF, once it has begun to load a SEG, neither asks to confirm it nor ends within 10 s."""
    choose(page, "-no-image")
    page.get_by_text("Loading SEG").wait_for()
    page.wait_for_timeout(10_000)
    asks = page.get_by_role("button", name="Yes", exact=True).count()
    return not asks and page.get_by_text("Loading SEG").is_visible()


def coloured(pixels: np.ndarray) -> np.ndarray:
    """Where the screen is neither grey nor black: tints of segments on a grey image."""
    return np.ptp(pixels.astype(int), axis=-1) > 24


def on_screen(mask: np.ndarray, screen: np.ndarray) -> np.ndarray:
    """`mask` (H, W) as large and where the viewer draws the source, by the bar that both show."""
    bright = screen.min(axis=-1) > 127
    rows, columns = (np.flatnonzero(bright.any(axis=axis)) for axis in (1, 0))
    scaled = []
    for pixels, length, bar in ((rows, screen.shape[0], BAR[0]), (columns, screen.shape[1], BAR[1])):
        scale = (pixels[-1] + 1 - pixels[0]) / (bar.stop - bar.start)
        scaled.append(np.floor((np.arange(length) + 0.5 - pixels[0]) / scale + bar.start).astype(int))
    inside = [(places >= 0) & (places < size) for places, size in zip(scaled, mask.shape, strict=True)]
    values = mask[np.ix_(*(places.clip(0, size - 1) for places, size in zip(scaled, mask.shape, strict=True)))]
    return values & np.outer(*inside)


def dice(first: np.ndarray, second: np.ndarray) -> float:
    return float(2 * (first & second).sum() / (first.sum() + second.sum()))


def nearest_label(pixels: np.ndarray) -> int:
    """The label whose colour tints these `pixels` (n, 3), whatever grey lies below."""
    colours = np.array([*map(label_colour, range(3)), *pixels.tolist()], float)
    chroma = colours - colours.mean(axis=1, keepdims=True)
    tint = np.median(chroma[3:], axis=0)
    return int(np.argmax(chroma[:3] @ tint / np.linalg.norm(chroma[:3], axis=1)))
