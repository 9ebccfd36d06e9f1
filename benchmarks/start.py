"""Seconds from starting the page to the first mask, beside a plain app: `python benchmarks/start.py [ROUNDS]`.

Each start is a new process. Cold: every cache of the program is an empty folder, so whatever a first start converts or
fetches is in the figure; warm: the same folder again. The mask is that of an example image by the embedded ensemble,
asked for as soon as the server answers, by the same client. The plain app is what smp and Gradio give in thirty lines:
the same three members and weights. Both take turns; medians.
"""

import contextlib
import os
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
ENSEMBLE = ROOT / "assets" / "ensembles" / "polyp"
IMAGE = ROOT / "assets" / "examples" / "endoscopy-1.png"
PATIENCE_S = 600

PLAIN_APP = f"""
import json, pathlib
import gradio as gr, numpy as np, segmentation_models_pytorch as smp, torch
from PIL import Image
folder = pathlib.Path({str(ENSEMBLE)!r})
settings = json.loads((folder / "ensemble.json").read_text())
members = []
for entry in settings["members"]:
    about = json.loads((folder / entry["source"] / "member.json").read_text())["preprocess"]
    members.append((smp.from_pretrained(str(folder / entry["source"])).eval(), about, entry["weight"]))
def segment(path):
    image = Image.open(path).convert("RGB")
    blended = 0
    for network, about, weight in members:
        pixels = np.asarray(image.resize((about["width"], about["height"])), dtype=np.float32) / 255
        pixels = (pixels - about["mean"]) / about["std"]
        batch = torch.tensor(pixels, dtype=torch.float32).permute(2, 0, 1)[None]
        with torch.inference_mode():
            blended = blended + weight * network(batch).sigmoid()[0, 0].numpy()
    mask = Image.fromarray(np.uint8(blended > settings["threshold"]) * 255).resize(image.size)
    mask.save(path + "-mask.png")
    return path + "-mask.png"
gr.Interface(segment, gr.File(), gr.File(), api_name="segment").launch()
"""

APPS = {"medseg": ["app.py"], "plain smp + Gradio": ["-c", PLAIN_APP]}


def main() -> None:
    """Print the median of each app, cold and warm, and their ratio."""
    from gradio_client import Client  # imported before any clock runs

    rounds = int(sys.argv[1]) if len(sys.argv) > 1 else 3
    times: dict[tuple[str, str], list[float]] = {(name, kind): [] for name in APPS for kind in ("cold", "warm")}
    for _ in range(rounds):
        for name, start in APPS.items():
            with tempfile.TemporaryDirectory() as caches:
                for kind in ("cold", "warm"):
                    times[name, kind].append(seconds_to_first_mask(start, Path(caches), Client))
                    print(f"{name}, {kind}: {times[name, kind][-1]:.1f} s", file=sys.stderr, flush=True)
    print(f"{rounds} rounds, load of the machine now {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores")
    for kind in ("cold", "warm"):
        ours, plain = (statistics.median(times[name, kind]) for name in APPS)
        print(f"{kind}: medseg {ours:.1f} s, plain smp + Gradio {plain:.1f} s, ratio {ours / plain:.2f}")


def seconds_to_first_mask(start: list[str], caches: Path, client_of: type) -> float:
    """From the start of the process to the mask's file in the client's hands."""
    from gradio_client import handle_file

    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    places = {name: str(caches / name) for name in ("HF_HOME", "TORCH_HOME", "XDG_CACHE_HOME", "GRADIO_TEMP_DIR")}
    settings = {"GRADIO_SERVER_PORT": str(port), "GRADIO_SERVER_NAME": "127.0.0.1", "GRADIO_ANALYTICS_ENABLED": "False"}
    begun = time.perf_counter()
    process = subprocess.Popen(
        [sys.executable, *start], cwd=ROOT, env=os.environ | places | settings, stdout=subprocess.DEVNULL
    )
    try:
        while True:
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
                break
            if process.poll() is not None or time.perf_counter() - begun > PATIENCE_S:
                sys.exit("the app ended before it answered")
            time.sleep(0.02)
        client = client_of(f"http://127.0.0.1:{port}", verbose=False)
        answer = client.predict(handle_file(IMAGE), api_name="/segment")
        mask = answer if isinstance(answer, str) else answer[2]
        taken = time.perf_counter() - begun
        if not Path(mask).is_file():
            sys.exit("no mask came")
        client.close()
        return taken
    finally:
        process.terminate()
        process.wait(PATIENCE_S)


if __name__ == "__main__":
    main()
