"""Retake assets/screenshot.png: the page with its first example, a synthetic image.

python benchmarks/screenshot.py
"""

from __future__ import annotations

import io
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

import PIL.Image

from benchmarks.needs import need, parser
from tests.running_app import open_page, running_app, running_chromium


def main() -> None:
    parser(__doc__).parse_args()
    need("playwright")
    with running_app() as url, running_chromium() as browser:
        page = open_page(browser.new_context(viewport={"width": 1440, "height": 900}, color_scheme="light"), url)
        page.wait_for_timeout(3000)
        shot = PIL.Image.open(io.BytesIO(page.screenshot()))
    path = ROOT / "assets" / "screenshot.png"
    shot.convert("RGB").quantize(255, dither=PIL.Image.Dither.NONE).save(path, optimize=True)  # a third of the size
    print(f"{path.relative_to(ROOT)}: {shot.width} x {shot.height}, {path.stat().st_size // 1000} kB")


if __name__ == "__main__":
    main()
