"""The embedded polyp ensemble on one image and on a folder, beside its peers: `python -m benchmarks.inference`.

ours: medseg. smp loop: what smp users write, its three networks in torch one after the other. ONNX Runtime bare: the
same graphs opened with its own defaults, no checks. Lower bound: the networks' multiplications and additions at the
rate of a matrix product of this machine in the same run.

Every figure of one image is from fresh processes, which take turns; alone, and beside one busy process. `run`, in one
process: seconds from its start to the first mask, then the median of the networks alone, then its peak memory.
The folder: the same images through `medseg predict` and through the loop, in turns, each a fresh process.

`--beside CHECKOUT` takes another checkout of medseg into the same turns, with the members that lie in it: before and
after from one run. Its networks are timed with the resizing of the image, which all versions do inside a member.
"""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np

ROOT = Path(__file__).resolve().parents[1]
ENSEMBLE = ROOT / "assets" / "ensembles" / "polyp"
IMAGE = ROOT / "assets" / "examples" / "endoscopy-1.png"
KVASIR = Path(os.environ.get("MEDSEG_DATA", ROOT.parent / "shared" / "data")) / "polyp" / "kvasir-seg" / "images"
WAYS = ("ours", "smp loop", "ONNX Runtime bare")
OTHER = "other checkout"
RUNS = 9
"""Runs of the networks in one process, of which the median counts."""


def members() -> list[tuple[Path, dict[str, Any], float]]:
    """Folder, preprocessing and weight of each member."""
    listed = json.loads((ENSEMBLE / "ensemble.json").read_text())["members"]
    folders = [(ENSEMBLE / member["source"], member["weight"]) for member in listed]
    return [(f, json.loads((f / "member.json").read_text())["preprocess"], weight) for f, weight in folders]


def batches(path: Path) -> tuple[list[np.ndarray], tuple[int, int]]:
    """Each member's input as a plain script makes it, and the image's (width, height)."""
    from PIL import Image

    image = Image.open(path).convert("RGB")
    made = []
    for _, about, _ in members():
        pixels = (
            np.asarray(image.resize((about["width"], about["height"]), Image.Resampling.BILINEAR), np.float32) / 255
        )
        made.append(((pixels - about["mean"]) / about["std"]).astype(np.float32).transpose(2, 0, 1)[None])
    return made, image.size


def save(logits: list[np.ndarray], size: tuple[int, int], path: Path) -> None:
    """The blended mask on the image's grid; members of smaller inputs are brought to the largest one's first."""
    from PIL import Image

    most = max((one.shape[3], one.shape[2]) for one in logits)
    each = (Image.fromarray(1 / (1 + np.exp(-one[0, 0]))) for one in logits)
    same = (one if one.size == most else one.resize(most, Image.Resampling.BILINEAR) for one in each)
    blended = sum(w * np.asarray(one) for one, (_, _, w) in zip(same, members(), strict=True))
    grown = Image.fromarray(np.asarray(blended, np.float32)).resize(size, Image.Resampling.BILINEAR)
    Image.fromarray(np.uint8(np.asarray(grown) >= 0.5) * 255).save(path)


def opened(way: str) -> Any:
    """What runs the networks of one of the peers on their inputs."""
    if way == "smp loop":
        import segmentation_models_pytorch as smp
        import torch

        networks = [smp.from_pretrained(str(folder)).eval() for folder, _, _ in members()]

        def loop(inputs: list[np.ndarray]) -> list[np.ndarray]:
            with torch.inference_mode():
                return [net(torch.from_numpy(x)).numpy() for net, x in zip(networks, inputs, strict=True)]

        return loop
    import onnxruntime

    sessions = [onnxruntime.InferenceSession(str(folder / "graph.onnx")) for folder, _, _ in members()]
    return lambda inputs: [s.run(None, {"image": x})[0] for s, x in zip(sessions, inputs, strict=True)]


def run(way: str, started: float) -> dict[str, float]:
    """One process of its own: what it took since `started`, and how long its networks take."""
    with tempfile.TemporaryDirectory() as name:
        if way == "ours":
            import medseg
            from medseg.export.png import write_mask
            from medseg.inference import runtime

            ensemble = medseg.Ensemble.from_pretrained("polyp")
            prediction = ensemble.predict(medseg.read_image(IMAGE))
            write_mask(prediction.masks, prediction.image, Path(name) / "mask.png")
            first = time.time() - started
            inputs, _ = batches(IMAGE)

            def networks() -> None:
                for member, batch in zip(ensemble.members, inputs, strict=True):
                    runtime.run(member.network, batch)
        elif way == OTHER:
            from PIL import Image

            import medseg

            ensemble = medseg.Ensemble.from_pretrained(other_ensemble())
            image = medseg.read_image(IMAGE)
            Image.fromarray(ensemble.predict(image).masks[0]).save(Path(name) / "mask.png")
            first = time.time() - started

            def networks() -> None:
                for member in ensemble.members:
                    member.probabilities(image)
        else:
            forward = opened(way)
            inputs, size = batches(IMAGE)
            save(forward(inputs), size, Path(name) / "mask.png")
            first = time.time() - started

            def networks() -> None:
                forward(inputs)

        networks()
        times = [timed(networks) for _ in range(RUNS)]
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**10
    return {"first": first, "networks": median(times), "p95": float(np.percentile(times, 95)), "memory": memory}


def other_ensemble() -> Path:
    """The polyp ensemble of the checkout whose medseg this process imports."""
    return Path(os.environ["PYTHONPATH"]) / ENSEMBLE.relative_to(ROOT)


def timed(work: Any) -> float:
    """Seconds that `work` takes."""
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


def child(*words: str, source: Path = ROOT) -> dict[str, Any]:
    """What a fresh process of this file prints as JSON; it imports the medseg of `source`."""
    command, environment = [sys.executable, "-P", __file__, *words], os.environ | {"PYTHONPATH": str(source)}
    shown = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=True)
    return dict(json.loads(shown.stdout.splitlines()[-1]))


def operations() -> dict[str, float]:
    """GFLOP of the three networks for one image (convolutions and matrix products), and this machine's rate now."""
    import segmentation_models_pytorch as smp
    import torch
    from torch.utils.flop_counter import FlopCounterMode

    counter = FlopCounterMode(display=False)
    with counter, torch.inference_mode():
        for (folder, _, _), batch in zip(members(), batches(IMAGE)[0], strict=True):
            smp.from_pretrained(str(folder)).eval()(torch.from_numpy(batch))
    square = np.random.default_rng(0).random((2048, 2048), np.float32)
    best = min(timed(lambda: square @ square) for _ in range(8))
    return {"gflop": counter.get_total_flops() / 1e9, "rate": 2 * 2048**3 / best / 1e9}


def sources(other: Path | None) -> dict[str, Path]:
    """The ways that take turns, and the checkout whose medseg each imports."""
    return dict.fromkeys(WAYS, ROOT) | ({OTHER: other} if other else {})


def one_image(rounds: int, other: Path | None) -> None:
    """The table of one image: medians over the processes, smallest and largest in brackets."""
    ways = sources(other)
    print(f"One image, {rounds} fresh processes each, load {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores\n")
    print("| | | networks, ms | 95th percentile | start to first mask, s | peak memory, MiB | networks ÷ ours |")
    print("|---|---|---|---|---|---|---|")
    bounds = [child("operations") for _ in range(2)]
    for place in ("alone", "beside a busy process"):
        found: dict[str, list[dict[str, float]]] = {way: [] for way in ways}
        for _ in range(rounds):
            busy = subprocess.Popen([sys.executable, "-c", "while True: pass"]) if place != "alone" else None
            try:
                for way, source in ways.items():
                    found[way].append(child("run", way, str(time.time()), source=source))
            finally:
                if busy is not None:
                    busy.kill()
                    busy.wait()
        for way, each in found.items():
            ratio = median(
                other["networks"] / mine["networks"] for other, mine in zip(each, found["ours"], strict=True)
            )
            cells = [
                spread([1000 * one["networks"] for one in each], 0),
                f"{1000 * median(o['p95'] for o in each):.0f}",
            ]
            cells += [spread([one["first"] for one in each], 1), f"{median(one['memory'] for one in each):.0f}"]
            print(f"| {place} | {way} | {' | '.join(cells)} | {ratio:.2f} |", flush=True)
    gflop, rate = bounds[0]["gflop"], max(one["rate"] for one in bounds)
    print(f"| alone | lower bound: {gflop:.1f} GFLOP at {rate:.0f} GFLOP/s | {1000 * gflop / rate:.0f} | | | | |")


def spread(values: list[float], digits: int) -> str:
    """Median, smallest and largest."""
    return f"{median(values):.{digits}f} ({min(values):.{digits}f} to {max(values):.{digits}f})"


def loop(files: list[Path], output: Path) -> None:
    """The folder as the plain loop takes it."""
    forward = opened("smp loop")
    for path in files:
        inputs, size = batches(path)
        save(forward(inputs), size, output / f"{path.stem}.png")


def folder(way: str, count: int) -> dict[str, float]:
    """Images/s over `count` images, from the process's first import on."""
    started = time.perf_counter()
    files = (sorted(KVASIR.glob("*.jpg")) * (1 + count // 900))[:count]
    with tempfile.TemporaryDirectory() as name:
        if way == "ours":
            from medseg.inference.batch import Job, Settings, predict_jobs
            from medseg.inference.ensemble import Ensemble
            from medseg.reading.workers import pool

            jobs = [Job(path, f"{number:05}") for number, path in enumerate(files)]
            ensemble = Ensemble.from_pretrained("polyp")
            failed = predict_jobs(ensemble, jobs, Path(name), Settings())
            if failed:
                raise SystemExit(f"{failed} images failed")
            pool.close()  # so that the system counts what the workers took
        elif way == OTHER:
            words = ["predict", str(other_ensemble()), *map(str, files), "--output", name]
            subprocess.run([sys.executable, "-P", "-m", "medseg", *words], stdout=subprocess.DEVNULL, check=True)
        else:
            loop(files, Path(name))
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    cpu = sum(one.ru_utime + one.ru_stime for one in used) / count
    return {"rate": count / (time.perf_counter() - started), "cpu": cpu}


def folders(rounds: int, count: int, other: Path | None) -> None:
    """The table of a folder."""
    if not KVASIR.is_dir():
        print(f"\nNo folder: {KVASIR} is not here (MEDSEG_DATA names the data).")
        return
    ways = sources(other)
    del ways["ONNX Runtime bare"]
    found: dict[str, list[dict[str, float]]] = {way: [] for way in ways}
    for _ in range(rounds):
        for way, source in ways.items():
            found[way].append(child("folder", way, str(count), source=source))
    print(f"\nA folder of {count} Kvasir-SEG images, {rounds} fresh processes each, load {os.getloadavg()[0]:.1f}\n")
    print("| | images/s | processor time per image, ms | images/s ÷ loop |\n|---|---|---|---|")
    for way, each in found.items():
        ratios = [one["rate"] / peer["rate"] for one, peer in zip(each, found["smp loop"], strict=True)]
        cells = [spread([one["rate"] for one in each], 1), spread([1000 * one["cpu"] for one in each], 0)]
        print(f"| {'medseg predict' if way == 'ours' else way} | {' | '.join(cells)} | {spread(ratios, 2)} |")


def main(words: list[str]) -> None:
    """All figures: `python -m benchmarks.inference [ROUNDS [IMAGES]] [--beside CHECKOUT]`."""
    from benchmarks.needs import TORCH, need, parser, positive  # here, as a child may import another checkout

    options = parser(__doc__)
    options.add_argument("rounds", nargs="?", type=positive, default=5, help="fresh processes of each for one image")
    options.add_argument("images", nargs="?", type=positive, default=200, help="in the folder")
    options.add_argument("--beside", type=Path, metavar="CHECKOUT", help="another version's files, in the same turns")
    asked = options.parse_args(words)
    need(*TORCH)
    other = asked.beside and asked.beside.resolve()
    one_image(asked.rounds, other)
    folders(max(2, asked.rounds // 2), asked.images, other)


if __name__ == "__main__":
    match sys.argv[1:]:
        case ["run", way, started]:
            print(json.dumps(run(way, float(started))))
        case ["operations"]:
            print(json.dumps(operations()))
        case ["folder", way, count]:
            print(json.dumps(folder(way, int(count))))
        case words:
            main(words)
