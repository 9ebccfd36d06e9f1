"""Time from a slider's event to the drawn frame in a real browser, for every vote; beside bare Gradio, the lower bound.

    python benchmarks/remix.py [--draw webgl]

Five members with three labels each (drawn, as three labels of the embedded members would be) on a synthetic image of
1024 × 1024. The bound only darkens some rows of the same image: what it takes is Gradio, JPEG and browser, the way of
any page whose server draws. The two move in turns, so that a busy machine slows both. Also printed: the requests during
the moves (0 wanted), the time from release to the library's own result, and the bytes of the planes.

`--draw webgl` draws by WebGL2, in software: the page itself leaves what has only that to the 2-D canvas.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from benchmarks.needs import need

need("playwright", "pytest", "hypothesis")

import numpy as np
import PIL.Image
from playwright.sync_api import Locator, Page

from medseg.data.phantoms import draw
from tests.conftest import make_ensemble
from tests.running_app import SOFTWARE_GL, open_page, running_app, running_chromium

SIDE, MEMBERS, MOVES = 1024, 5, 40
LABELS = ("first", "second", "third")
BLENDS = ("weighted mean", "geometric", "median", "majority vote")

PEER = """
import sys
import gradio as gr
import numpy as np
import PIL.Image
picture = np.asarray(PIL.Image.open(sys.argv[1]))
def darken(share):
    drawn = picture.copy()
    drawn[: round(len(drawn) * share)] //= 2
    return drawn
with gr.Blocks() as page:
    slider = gr.Slider(0, 1, 0.5, step=0.01, elem_id="peer")
    image = gr.Image(picture, format="jpeg", interactive=False, elem_id="overlay")
    slider.input(darken, slider, image, trigger_mode="always_last", show_progress="hidden")
page.launch()
"""

APP = """
import sys
import numpy as np
from medseg.inference.ensemble import Ensemble
predict, stack = Ensemble.predict, np.load(sys.argv[1])
def drawn(self, image, **settings):
    prediction = predict(self, image, **settings)
    if prediction.members.shape == stack.shape:
        prediction.members[:] = stack
    return prediction
Ensemble.predict = drawn
from medseg.app import page
page.demo.launch(**page.LAUNCH)
"""

PEER_WATCH = """() => {
    window.times = [];
    document.addEventListener("input", event => { window.moved = event.timeStamp }, true);
    new MutationObserver(async () => {
        const image = document.querySelector("#overlay img"), moved = window.moved;
        if (!image || !moved || image.src === window.seen) return;
        window.seen = image.src;
        await image.decode();
        window.times.push(performance.now() - moved);
    }).observe(document.querySelector("#overlay"), { subtree: true, childList: true, attributeFilter: ["src"] });
}"""

SENT = """() => document.addEventListener("medseg:opened", ({ detail }) => {
    window.sent = [detail.planes.join(""), detail.image.src].map(text => Math.round(text.length / 1000));
})"""

WATCH = """() => {
    window.times = [], window.answers = [];
    document.addEventListener("input", event => { window.moved = event.timeStamp }, true);
    document.addEventListener("change", event => { window.released = event.timeStamp }, true);
    document.addEventListener("medseg:shown", () => window.answers.push(performance.now() - window.released));
    const gl = medseg.look().way === "webgl" && document.querySelector("#viewer .glass").getContext("webgl2");
    medseg.drawn = () => {
        if (gl) gl.readPixels(0, 0, 1, 1, gl.RGBA, gl.UNSIGNED_BYTE, new Uint8Array(4)); // once all is drawn
        if (window.moved) window.times.push(performance.now() - window.moved);
        window.moved = 0;
    };
}"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n", maxsplit=1)[0])
    parser.add_argument("--draw", choices=("2d", "webgl"), default="2d")
    way = parser.parse_args().draw
    with tempfile.TemporaryDirectory() as name, running_chromium(SOFTWARE_GL if way == "webgl" else ()) as browser:
        folder = Path(name)
        PIL.Image.fromarray(draw("endoscopy", 21, (SIDE, SIDE))[0]).save(folder / "image.png")
        np.save(folder / "stack.npy", drawn_stack())
        make_ensemble(folder / "five", (1.0,) * MEMBERS, labels=LABELS, task="multilabel", plain=True)
        ours = running_app(folder / "five", ("-c", APP, str(folder / "stack.npy")))
        theirs = running_app(start=("-c", PEER, str(folder / "image.png")))
        with ours as url, theirs as peer_url:
            page = open_page(browser.new_context(viewport={"width": 1440, "height": 900}), f"{url}/?draw={way}")
            page.evaluate(SENT)
            page.set_input_files("#upload input[type=file]", folder / "image.png")
            page.wait_for_function(f"() => document.querySelector('#file-size').innerText.includes('{SIDE} × {SIDE}')")
            page.evaluate(WATCH)
            peer = browser.new_page(viewport={"width": 1440, "height": 900})
            peer.goto(peer_url)
            peer.wait_for_selector("#overlay img", timeout=120_000)
            peer.evaluate(PEER_WATCH)
            time_blends(page, peer)


def drawn_stack() -> np.ndarray:
    """Probabilities (members, labels, side, side) of round shapes with soft edges, each member's a little elsewhere."""
    rows, columns = np.mgrid[:SIDE, :SIDE]
    stack = np.zeros((MEMBERS, len(LABELS), SIDE, SIDE), np.float16)
    for member in range(MEMBERS):
        for label in range(len(LABELS)):
            angle = np.arctan2(rows - 300 - 200 * label, columns - 500)
            far = np.hypot(rows - 300 - 200 * label - 4 * member, columns - 500 - 6 * member)
            stack[member, label] = 1 / (1 + np.exp((far - 140 - 12 * np.sin(5 * angle + member)) / 4))
    return stack


def time_blends(page: Page, peer: Page) -> None:
    """Print a row for each blend, and what was asked for meanwhile."""
    way = page.evaluate("() => medseg.look().way")
    what = f"{way}, {SIDE} x {SIDE}, {MEMBERS} members, {len(LABELS)} labels"
    planes, image = page.evaluate("() => window.sent")
    print(
        f"{what}, {os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}; sent {planes} kB of planes, {image} of image"
    )
    print("| vote | p50, ms | p95, ms | lower bound, Gradio: p50 | p95 | requests meanwhile | release to result, p50 |")
    print("|---|---|---|---|---|---|---|")
    requests: list[str] = []
    page.on("request", lambda request: requests.append(request.url) if not request.url.startswith("data:") else None)
    for turn, blend in enumerate(BLENDS):
        page.select_option("#blend", blend)
        page.wait_for_timeout(6000)
        for opened in (page, peer):
            opened.evaluate("() => { window.times = [] }")
        page.evaluate("() => { window.answers = [] }")
        asked = drag_both(page.locator("#mixer .member input"), peer.locator("#peer input[type=range]"), requests, turn)
        page.wait_for_timeout(1500)
        (p50, p95), (peer_p50, peer_p95) = (
            np.percentile(opened.evaluate("() => window.times"), [50, 95]) for opened in (page, peer)
        )
        answer = np.median(page.evaluate("() => window.answers"))
        print(f"| {blend} | {p50:.0f} | {p95:.0f} | {peer_p50:.0f} | {peer_p95:.0f} | {asked} | {answer:.0f} |")


def drag_both(sliders: Locator, peer: Locator, requests: list[str], turn: int) -> int:
    """Drag each member's slider and the peer's in turns; returns how many requests ours sent before its release.

    Each turn ends elsewhere: a slider that comes to rest where it began has nothing to say.
    """
    asked = 0
    for member in range(MEMBERS):
        handles = [sliders.nth(member), peer]
        for handle in handles:
            move(handle, 0.5)
            handle.page.mouse.down()
        handles[0].page.wait_for_timeout(300)
        before = len(requests)
        for step in range(MOVES // MEMBERS):
            for handle in handles:
                move(handle, 0.2 + 0.6 * (step % 2) + 0.02 * (step - turn))
                handle.page.wait_for_timeout(250)
        asked += len(requests) - before
        for handle in handles:
            handle.page.mouse.up()
        handles[0].page.wait_for_function("count => window.answers.length >= count", arg=member + 1, timeout=120_000)
        handles[0].page.wait_for_timeout(2000)  # what follows a result (scores, shares) is asked for by then
    return asked


def move(slider: Locator, share: float) -> None:
    """Bring the mouse to a share of the slider's length."""
    box = slider.bounding_box() or {"x": 0, "y": 0, "width": 0, "height": 0}
    slider.page.mouse.move(box["x"] + box["width"] * share, box["y"] + box["height"] / 2)


if __name__ == "__main__":
    main()
