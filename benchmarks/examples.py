"""Time from a click on an example to its drawn result, once all models are loaded; and whether the ensemble is right.

    python benchmarks/examples.py

Each example is opened for the first time, in real Chromium: read, judged, segmented and drawn. The models are loaded
beforehand by choosing each ensemble for one image that is no example.
"""

from __future__ import annotations

import os
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from benchmarks.needs import need, parser

need("playwright")

import PIL.Image
from playwright.sync_api import Page

from medseg.data.phantoms import draw
from tests.running_app import open_page, running_app, running_chromium

TIMED = """index => new Promise(done => {
    const begun = performance.now();
    document.addEventListener('medseg:shown', () => done(performance.now() - begun), { once: true });
    document.querySelectorAll('#examples button')[index].click();
})"""


def main() -> None:
    parser(__doc__).parse_args()
    with running_app() as url, running_chromium() as browser, tempfile.TemporaryDirectory() as name:
        page = open_page(browser.new_context(viewport={"width": 1440, "height": 900}), url)
        load_all(page, Path(name) / "other.png")
        print(f"{os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}")
        print("| example | ensemble | first opening, ms | again, ms | Dice |\n|---|---|---|---|---|")
        captions = page.locator("#examples button").all_inner_texts()
        for index in [*range(1, len(captions)), 0]:  # the first one is cached since the page was opened
            times = [page.evaluate(TIMED, index)]
            page.wait_for_timeout(1500)
            score = dice(page)
            ensemble = page.input_value("#ensemble input")
            page.evaluate(TIMED, (index + 1) % len(captions))
            page.wait_for_timeout(1500)
            times.append(page.evaluate(TIMED, index))
            page.wait_for_timeout(1500)
            print(f"| {captions[index]} | {ensemble} | {times[0]:.0f} | {times[1]:.0f} | {score} |")


def load_all(page: Page, path: Path) -> None:
    """Choose each ensemble for an image that is no example."""
    PIL.Image.fromarray(draw("endoscopy", 77, (256, 256))[0]).save(path)
    page.set_input_files("#upload input[type=file]", path)
    page.wait_for_function("() => document.querySelector('#file-size').innerText.includes('256 × 256')")
    page.locator("#ensemble input").click()
    names = page.locator("#ensemble [role=option]").all_inner_texts()
    for name in names:
        page.wait_for_timeout(1500)
        page.locator("#ensemble input").click()
        page.get_by_role("option", name=name.strip("✓ \n"), exact=True).click()
        page.wait_for_timeout(4000)


def dice(page: Page) -> str:
    """The ensemble's Dice with the known mask, where there is one."""
    row = page.locator("#scores tr", has_text="Ensemble")
    return row.first.locator("td").nth(1).inner_text() if row.count() else "no truth"


if __name__ == "__main__":
    main()
