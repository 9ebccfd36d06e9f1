"""Time from a key pressed on a weight slider to the changed overlay, decoded in a real browser; and network runs.

    python benchmarks/slider.py [folder of an ensemble]

The picture is synthetic, 1024 × 1024; the ensemble the embedded one unless a folder is given.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

import numpy as np
import PIL.Image
from playwright.sync_api import Page
from playwright.sync_api import TimeoutError as NothingChanged

from assets.phantoms import draw
from tests.running_app import open_page, running_app, running_chromium

SIDE = 1024

COUNTING_APP = """
import medseg.runtime
run = medseg.runtime.run
def counting(*arguments):
    with open({file!r}, "a") as counts:
        counts.write(".")
    return run(*arguments)
medseg.runtime.run = counting
import app
app.demo.launch(**app.LAUNCH)
"""

STOPWATCH = """
() => {
    window.times = [];
    window.seen = document.querySelector("#overlay img").src;
    document.addEventListener("keydown", () => { window.pressed = performance.now() }, true);
    new MutationObserver(async () => {
        const image = document.querySelector("#overlay img"), pressed = window.pressed;
        if (!image || !pressed || image.src === window.seen) return;
        window.seen = image.src;
        await image.decode();
        window.times.push(performance.now() - pressed);
    }).observe(document.querySelector("#overlay"), { subtree: true, childList: true, attributeFilter: ["src"] });
}
"""


def main() -> None:
    ensemble = Path(sys.argv[1]).resolve() if len(sys.argv) > 1 else None
    with tempfile.TemporaryDirectory() as folder:
        counts, picture = Path(folder) / "runs", Path(folder) / "picture.png"
        pixels, _ = draw("endoscopy", 21, (SIDE, SIDE))
        PIL.Image.fromarray(pixels).save(picture)
        start = ("-c", COUNTING_APP.format(file=str(counts)))
        with running_app(ensemble, start) as url, running_chromium() as browser:
            page = open_page(browser.new_context(viewport={"width": 1400, "height": 1000}), url)
            page.set_input_files("#upload input[type=file]", picture)
            page.wait_for_function(f"() => document.querySelector('#notes').innerText.includes('{SIDE} × {SIDE}')")
            page.wait_for_timeout(2000)
            before = counts.stat().st_size
            page.evaluate(STOPWATCH)
            members, moves = move_every_slider(page)
            times = page.evaluate("() => window.times")
            runs = counts.stat().st_size - before
    p50, p95 = np.percentile(times, [50, 95])
    print(f"{SIDE} x {SIDE}, {members} members, {moves} moves, {len(times)} changed pictures, {runs} network runs")
    print(f"key to decoded overlay: p50 {p50:.0f} ms, p95 {p95:.0f} ms, worst {max(times):.0f} ms")


def move_every_slider(page: Page) -> tuple[int, int]:
    """Each member's slider to 0 and up again in tenths, a picture awaited each time; (members, moves)."""
    members = page.locator("#mixer .member input[type=range]")
    moves = 0
    for index in range(members.count()):
        members.nth(index).focus()
        for key in ["Home", *["PageUp"] * 10]:
            done = page.evaluate("() => window.times.length")
            page.keyboard.press(key)
            moves += 1
            try:
                page.wait_for_function("done => window.times.length > done", arg=done, timeout=3000)
            except NothingChanged:
                continue  # so small a step may leave the mask as it was
            page.wait_for_timeout(300)  # the next move meets an idle page, as a hand at rest does
    return members.count(), moves


if __name__ == "__main__":
    main()
