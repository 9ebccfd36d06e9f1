"""Time from a slider's move to the overlay decoded in a real browser, for every blend; beside a bare Gradio app.

    python benchmarks/remix.py

Five members (the embedded three, two of them twice) and a synthetic image of 1024 × 1024. The peer only darkens some
rows of the same image: what it takes is Gradio, JPEG and browser. The two move in turns, so that a busy machine slows
both. Weights are moved under the weighted mean; under each blend the opacity, which always changes the image and
blends as a weight does. At last a slider moves faster than images come: the last must be the newest position's.
"""

from __future__ import annotations

import os
import shutil
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

import dataclasses

import numpy as np
import PIL.Image
from playwright.sync_api import Locator, Page
from playwright.sync_api import TimeoutError as NothingChanged

from medseg import schema
from medseg.config import EnsembleConfig
from medseg.data.phantoms import draw
from tests.running_app import open_page, running_app, running_chromium

SIDE, MEMBERS, MOVES, QUIET_MS = 1024, 5, 20, 300
EMBEDDED = ROOT / "assets" / "ensembles" / "polyp"
BLENDS = ("weighted mean", "geometric", "median", "majority vote", "STAPLE")

PEER = """
import sys
import gradio as gr
import numpy as np
import PIL.Image
image = np.asarray(PIL.Image.open(sys.argv[1]))
def darken(share):
    drawn = image.copy()
    drawn[: round(len(drawn) * share)] //= 2
    return drawn
with gr.Blocks() as page:
    slider = gr.Slider(0, 1, 0.5, step=0.01, elem_id="peer")
    image = gr.Image(image, format="jpeg", interactive=False, elem_id="overlay")
    slider.input(darken, slider, image, trigger_mode="always_last", show_progress="hidden")
page.launch()
"""

COUNTING_APP = """
import sys
import medseg.inference.runtime
run = medseg.inference.runtime.run
def counting(*arguments):
    with open(sys.argv[1], "a") as counts:
        counts.write(".")
    return run(*arguments)
medseg.inference.runtime.run = counting
from medseg.app import page
page.demo.launch(**page.LAUNCH)
"""

STOPWATCH = """
() => {
    window.times = [];
    window.seen = document.querySelector("#overlay img").src;
    document.addEventListener("input", () => { window.moved = performance.now() }, true);
    new MutationObserver(async () => {
        const image = document.querySelector("#overlay img"), moved = window.moved;
        if (!image || !moved || image.src === window.seen) return;
        window.seen = image.src;
        await image.decode();
        window.times.push(performance.now() - moved);
    }).observe(document.querySelector("#overlay"), { subtree: true, childList: true, attributeFilter: ["src"] });
}
"""


def main() -> None:
    with tempfile.TemporaryDirectory() as name, running_chromium() as browser:
        image, counts = Path(name) / "image.png", Path(name) / "runs"
        PIL.Image.fromarray(draw("endoscopy", 21, (SIDE, SIDE))[0]).save(image)
        ours = running_app(five_members(Path(name) / "five"), ("-c", COUNTING_APP, str(counts)))
        theirs = running_app(start=("-c", PEER, str(image)))
        with ours as url, theirs as peer_url:
            page = open_page(browser.new_context(viewport={"width": 1400, "height": 1000}), url)
            page.set_input_files("#upload input[type=file]", image)
            page.wait_for_function(f"() => document.querySelector('#notes').innerText.includes('{SIDE} × {SIDE}')")
            peer = browser.new_page(viewport={"width": 1400, "height": 1000})
            peer.goto(peer_url)
            peer.wait_for_selector("#overlay img", timeout=120_000)
            before = counts.stat().st_size
            time_blends(page, peer.locator("#peer input[type=range]"))
            print(f"{counts.stat().st_size - before} network runs")


def time_blends(page: Page, peer: Locator) -> None:
    """Print a row for the weights, one for the opacity under each blend, and who wins."""
    print(f"{SIDE} x {SIDE}, {MEMBERS} members, {os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}")
    print("| moved | images | p50, ms | p95, ms | bare Gradio app: p50 | p95 | ratio of p50 |")
    print("|---|---|---|---|---|---|---|")
    for opened in (page, peer.page):
        opened.evaluate(STOPWATCH)
    sliders = page.locator("#mixer input[type=range]")
    opacity = sliders.nth(MEMBERS + 1)
    compare("weights", [sliders.nth(index) for index in range(MEMBERS)], peer)
    for blend in BLENDS:
        page.locator("#blend input").click()
        page.get_by_role("option", name=blend, exact=True).click()
        page.wait_for_timeout(2000)
        compare(f"opacity, {blend}", [opacity], peer)
    print(newest_wins(page, opacity))


def five_members(folder: Path) -> Path:
    """An ensemble of the embedded members, of which the first two stand there twice."""
    settings = schema.load(EnsembleConfig, EMBEDDED / "ensemble.json")
    references = []
    for index in range(MEMBERS):
        member = settings.members[index % len(settings.members)]
        shutil.copytree(EMBEDDED / member.source, folder / f"m{index}")
        references.append(dataclasses.replace(member, source=f"m{index}", weight=1.0))
    five = EnsembleConfig("five", settings.task, settings.labels, tuple(references))
    schema.dump(five, folder / "ensemble.json")
    return folder


def compare(name: str, sliders: list[Locator], peer: Locator) -> None:
    """Move each slider to 0 and up again in tenths, MOVES in all, in turns with the peer's; print the times."""
    for slider in (sliders[0], peer):
        slider.page.evaluate("() => { window.times = [] }")
    for number in range(MOVES):
        key = "PageUp" if number % 10 else "Home"
        for slider in (sliders[number % len(sliders)], peer):
            move(slider, key)
    (p50, p95), (peer_p50, peer_p95) = (
        np.percentile(slider.page.evaluate("() => window.times"), [50, 95]) for slider in (sliders[0], peer)
    )
    count = sliders[0].page.evaluate("() => window.times.length")
    ratio = p50 / peer_p50
    print(f"| {name} | {count} | {p50:.0f} | {p95:.0f} | {peer_p50:.0f} | {peer_p95:.0f} | {ratio:.1f} |", flush=True)


def move(slider: Locator, key: str) -> None:
    """Press the key on the slider and wait for the image."""
    page = slider.page
    done = page.evaluate("() => window.times.length")
    slider.press(key)
    try:
        page.wait_for_function("done => window.times.length > done", arg=done, timeout=5000)
    except NothingChanged:
        return  # so small a step may leave the mask as it was
    page.wait_for_timeout(QUIET_MS)  # the next move meets an idle page, as a hand at rest does


def newest_wins(page: Page, slider: Locator) -> str:
    """Move faster than images come; the last image must be what the newest position shows when moved to alone."""
    slider.focus()
    page.evaluate("() => { window.times = [] }")
    for key in ["Home", *["ArrowRight"] * 15]:
        page.keyboard.press(key)
    settle(page)
    drawn, last, wait = page.evaluate("() => [window.times.length, window.seen, window.times.at(-1)]")
    for key in ("ArrowRight", "ArrowLeft"):
        page.keyboard.press(key)
        settle(page)
    alone = page.evaluate("() => window.seen")
    same = Path(last).parent == Path(alone).parent  # Gradio names the folder after the content
    verdict = "the last is the newest position's" if same else "THE LAST IS NOT THE NEWEST POSITION'S"
    return f"16 moves at once: {drawn} images, {verdict}, {wait:.0f} ms after the last move"


def settle(page: Page) -> None:
    """Wait until no image has come for two seconds."""
    before = ""
    while before != page.evaluate("() => window.seen"):
        before = page.evaluate("() => window.seen")
        page.wait_for_timeout(2000)


if __name__ == "__main__":
    main()
