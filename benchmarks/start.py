"""Seconds from starting the page to the first mask, beside two plain apps: `python -m benchmarks.start [ROUNDS]`.
With `--beside CHECKOUT` another version's page takes its turns too.

Each start is a new process whose caches are empty folders. The mask is that of an example image by the embedded
ensemble, asked for as soon as the server answers, by the same client. smp + Gradio: what those two give in thirty
lines, the same three members and weights. bare Gradio: the lower bound, an app that returns its file. All take turns.
Neither imports Gradio's extra for agents' tools: who installs what such an app needs does not have it.
"""

import contextlib
import os
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import median

from benchmarks.needs import TORCH, need, parser, positive

ROOT = Path(__file__).resolve().parents[1]
ENSEMBLE = ROOT / "assets" / "ensembles" / "polyp"
IMAGE = ROOT / "assets" / "examples" / "endoscopy-1.png"
PATIENCE_S = 600

WITHOUT_MCP = "import sys; sys.modules['mcp'] = None"
PLAIN_APP = f"""{WITHOUT_MCP}
import json, pathlib
import gradio as gr, numpy as np, segmentation_models_pytorch as smp, torch
from PIL import Image
folder = pathlib.Path({str(ENSEMBLE)!r})
settings = json.loads((folder / "ensemble.json").read_text())
members = []
for entry in settings["members"]:
    about = json.loads((folder / entry["source"] / "member.json").read_text())["preprocess"]
    members.append((smp.from_pretrained(str(folder / entry["source"])).eval(), about, entry["weight"]))
GRID = max(about["width"] for _, about, _ in members)
def segment(path):
    image = Image.open(path).convert("RGB")
    blended = 0
    for network, about, weight in members:
        pixels = np.asarray(image.resize((about["width"], about["height"])), dtype=np.float32) / 255
        pixels = (pixels - about["mean"]) / about["std"]
        batch = torch.tensor(pixels, dtype=torch.float32).permute(2, 0, 1)[None]
        with torch.inference_mode():
            one = Image.fromarray(network(batch).sigmoid()[0, 0].numpy())
        blended = blended + weight * np.asarray(one.resize((GRID, GRID), Image.Resampling.BILINEAR))
    mask = Image.fromarray(np.uint8(blended > settings["threshold"]) * 255).resize(image.size)
    mask.save(path + "-mask.png")
    return path + "-mask.png"
gr.Interface(segment, gr.File(), gr.File(), api_name="segment").launch()
"""
BARE_APP = f"""{WITHOUT_MCP}
import gradio as gr
gr.Interface(lambda path: path, gr.File(), gr.File(), api_name="segment").launch()
"""
APPS = {"medseg": ["app.py"], "smp + Gradio": ["-c", PLAIN_APP], "bare Gradio (lower bound)": ["-c", BARE_APP]}


def main(words: list[str]) -> None:
    """The table: each app's median, smallest and largest, and medseg's share of it, pair by pair."""
    options = parser(__doc__)
    options.add_argument("rounds", nargs="?", type=positive, default=5)
    options.add_argument("--beside", type=Path, metavar="CHECKOUT")
    asked = options.parse_args(words)
    need(*TORCH)
    apps = {name: (start, ROOT) for name, start in APPS.items()}
    if asked.beside:
        apps["other checkout"] = ["app.py"], asked.beside
    rounds = asked.rounds
    from gradio_client import Client  # imported before any clock runs

    times: dict[str, list[float]] = {name: [] for name in apps}
    for _ in range(rounds):
        for name, (start, place) in apps.items():
            with tempfile.TemporaryDirectory() as caches:
                times[name].append(seconds_to_first_mask(start, place, Path(caches), Client))
    print(f"{rounds} fresh starts each, in turns; load {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores\n")
    print("| app | process start to first mask, s | medseg ÷ this |\n|---|---|---|")
    for name, each in times.items():
        shares = [ours / other for ours, other in zip(times["medseg"], each, strict=True)]
        ratio = f"{median(shares):.2f} ({min(shares):.2f} to {max(shares):.2f})"
        print(f"| {name} | {median(each):.1f} ({min(each):.1f} to {max(each):.1f}) | {ratio} |")


def seconds_to_first_mask(start: list[str], place: Path, caches: Path, client_of: type) -> float:
    """From the start of the process to the mask's file in the client's hands."""
    from gradio_client import handle_file

    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    places = {name: str(caches / name) for name in ("HF_HOME", "TORCH_HOME", "XDG_CACHE_HOME", "GRADIO_TEMP_DIR")}
    settings = {"GRADIO_SERVER_PORT": str(port), "GRADIO_SERVER_NAME": "127.0.0.1", "GRADIO_ANALYTICS_ENABLED": "False"}
    begun = time.perf_counter()
    process = subprocess.Popen(
        [sys.executable, *start], cwd=place, env=os.environ | places | settings, stdout=subprocess.DEVNULL
    )
    try:
        while True:
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
                break
            if process.poll() is not None or time.perf_counter() - begun > PATIENCE_S:
                sys.exit("the app ended before it answered")
            time.sleep(0.02)
        client = client_of(f"http://127.0.0.1:{port}", verbose=False)
        result = client.predict(handle_file(IMAGE), api_name="/segment")
        mask = result if isinstance(result, str) else result[2]
        taken = time.perf_counter() - begun
        if not Path(mask).is_file():
            sys.exit("no mask came")
        client.close()
        return taken
    finally:
        process.terminate()
        process.wait(PATIENCE_S)


if __name__ == "__main__":
    main(sys.argv[1:])
