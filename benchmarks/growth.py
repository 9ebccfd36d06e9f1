"""How time and memory grow, and that nothing grows faster than linearly: `python -m benchmarks.growth [FIGURE.png]`.

Members: 1 to 8 on one image. Pixels: one image of 256² to 4096² through three members. Images: 1 to 2,000 of a folder
in one process, Kvasir-SEG's of 0.1 to 2 Mpx where they are at hand (MEDSEG_DATA), else drawn ones of 256². Processes: 1
to 4 that share a folder of drawn ones and the cores. Each amount but those of a folder is measured in a
fresh process. Memory is that of the process that runs the networks; two decode workers hold 70 MB and an image each. An
exponent is the slope of a straight line through the logarithms: 1 is linear.
"""

from __future__ import annotations

import dataclasses
import json
import os
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import PIL.Image

from benchmarks.inference import KVASIR
from benchmarks.needs import need, parser, positive
from medseg import schema
from medseg.config import EnsembleConfig
from medseg.data.phantoms import draw

ROOT = Path(__file__).resolve().parents[1]
EMBEDDED = ROOT / "assets" / "ensembles" / "polyp"
MEMBERS, SIDES, IMAGES, PROCESSES = (1, 2, 4, 8), (256, 512, 1024, 2048, 4096), (1, 10, 100, 500, 1000, 2000), (1, 2, 4)
SHARED = 48
"""Images that the processes share."""

Points = list[tuple[float, float, float]]
"""(how much, seconds, MiB at the most)."""


def ensemble_of(count: int, folder: Path) -> Path:
    """An ensemble of so many members: the embedded three again and again."""
    settings = schema.load(EnsembleConfig, EMBEDDED / "ensemble.json")
    references = []
    for index in range(count):
        member = settings.members[index % len(settings.members)]
        shutil.copytree(EMBEDDED / member.source, folder / f"m{index}")
        references.append(dataclasses.replace(member, source=f"m{index}", weight=1.0))
    schema.dump(EnsembleConfig("many", settings.task, settings.labels, tuple(references)), folder / "ensemble.json")
    return folder


def draw_file(side: int, folder: Path) -> Path:
    """A phantom; the large ones are enlarged, since drawing them takes longer than segmenting."""
    image = PIL.Image.fromarray(draw("endoscopy", 5, (min(side, 1024),) * 2)[0])
    image.resize((side, side)).save(folder / f"{side}.png", compress_level=1)
    return folder / f"{side}.png"


def once(ensemble: str, image: str) -> dict[str, float]:
    """File to mask file, after one image that opened everything; the best of three."""
    import medseg
    from medseg.export.png import write_mask
    from medseg.inference.ensemble import Ensemble

    opened = Ensemble.from_pretrained(ensemble)
    times = []
    with tempfile.TemporaryDirectory() as name:
        for _ in range(4):
            started = time.perf_counter()
            prediction = opened.predict(medseg.read_image(image))
            write_mask(prediction.masks, prediction.image, Path(name) / "mask.png")
            opened.forget(prediction.image)
            times.append(time.perf_counter() - started)
    return {"seconds": min(times[1:]), "memory": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**10}


def many(folder: str, output: str, counts: Sequence[int]) -> list[dict[str, float]]:
    """One process over the first max(counts) images of `folder`: seconds and memory when each count is reached."""
    from medseg.inference.batch import Job, Settings, predict_jobs
    from medseg.inference.ensemble import Ensemble

    files = sorted(Path(folder).iterdir())
    jobs = [Job(files[number % len(files)], f"{number:05}") for number in range(max(counts))]
    ensemble = Ensemble.from_pretrained("polyp")
    points: list[dict[str, float]] = []
    started, done = time.perf_counter(), 0

    def count() -> None:
        nonlocal done
        done += 1
        if done in counts:
            memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**10
            points.append({"seconds": time.perf_counter() - started, "memory": memory})

    predict_jobs(ensemble, jobs, Path(output), Settings(), count)
    return points


def begin(*words: str, **environment: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "benchmarks.growth", *words]
    return subprocess.Popen(command, cwd=ROOT, env=os.environ | environment, stdout=subprocess.PIPE, text=True)


def shown(process: subprocess.Popen[str]) -> Any:
    """What a fresh process of this file prints as JSON."""
    said, _ = process.communicate()
    if process.returncode:
        raise SystemExit("a process of the benchmark failed")
    return json.loads(said.splitlines()[-1])


def over_members(place: Path) -> Points:
    image = draw_file(512, place)
    found = [(n, shown(begin("once", str(ensemble_of(n, place / f"e{n}")), str(image)))) for n in MEMBERS]
    return [(n, one["seconds"], one["memory"]) for n, one in found]


def over_pixels(place: Path) -> Points:
    found = [(side, shown(begin("once", "polyp", str(draw_file(side, place))))) for side in SIDES]
    return [(side**2, one["seconds"], one["memory"]) for side, one in found]


def drawn_folder(place: Path, count: int = 20) -> Path:
    (place / "images").mkdir()
    for number in range(count):
        PIL.Image.fromarray(draw("endoscopy", number, (256, 256))[0]).save(place / "images" / f"{number:03}.png")
    return place / "images"


def over_images(place: Path, counts: Sequence[int]) -> Points:
    folder = KVASIR if KVASIR.is_dir() else drawn_folder(place)
    found = shown(begin("many", str(folder), str(place / "out"), *map(str, counts)))
    return [(count, one["seconds"], one["memory"]) for count, one in zip(counts, found, strict=True)]


def over_processes(place: Path) -> Points:
    """Each takes its part of SHARED images, on its part of the cores; the time is that of the slowest."""
    folder, points = drawn_folder(place), []
    for count in PROCESSES:
        threads = str(max(1, (os.cpu_count() or 1) // count))
        words = [("many", str(folder), str(place / f"{count}-{n}"), str(SHARED // count)) for n in range(count)]
        running = [begin(*each, OMP_NUM_THREADS=threads) for each in words]
        found = [shown(process)[0] for process in running]
        points.append((count, max(one["seconds"] for one in found), sum(one["memory"] for one in found)))
    return points


def exponent(points: Points, index: int) -> float:
    """The slope of time (1) or memory (2) in the logarithms."""
    amounts, values = np.log([point[0] for point in points]), np.log([point[index] for point in points])
    return float(np.polyfit(amounts, values, 1)[0])


def draw_figure(series: dict[str, Points], path: Path) -> None:
    """Time and memory of every series, in logarithms, as PNG."""
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot

    figure, rows = pyplot.subplots(2, len(series), figsize=(3.2 * len(series), 5), squeeze=False)
    for column, (name, points) in enumerate(series.items()):
        amounts = [point[0] for point in points]
        for row, (index, unit) in enumerate(((1, "seconds"), (2, "MiB"))):
            axes = rows[row][column]
            axes.loglog(amounts, [point[index] for point in points], "o-")
            axes.set_xlabel(name)
            axes.set_ylabel(unit)
            axes.set_title(f"exponent {exponent(points, index):.2f}", fontsize=9)
    figure.tight_layout()
    figure.savefig(path, dpi=80)


def main() -> None:
    """A table for each series, and the figure where a place for it is named."""
    options = parser(__doc__)
    options.add_argument("figure", nargs="?", type=Path, metavar="FIGURE.png")
    options.add_argument("counts", nargs="*", type=positive, default=IMAGES, help=f"of images; {IMAGES} without them")
    asked = options.parse_args()
    if asked.figure is not None:
        need("matplotlib")
    series: dict[str, Points] = {}
    for name, measure in {
        "members": over_members,
        "pixels of one image": over_pixels,
        "images of a folder": lambda place: over_images(place, asked.counts),
        "processes": over_processes,
    }.items():
        with tempfile.TemporaryDirectory() as place:
            series[name] = measure(Path(place))
    print(f"Load {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores\n")
    print("| what grows | amounts | time, s | peak memory, MiB | exponent: time | memory |\n|---|---|---|---|---|---|")
    for name, points in series.items():
        cells = [
            ", ".join(f"{point[0]:g}" if index == 0 else f"{point[index]:.3g}" for point in points)
            for index in range(3)
        ]
        print(f"| {name} | {' | '.join(cells)} | {exponent(points, 1):.2f} | {exponent(points, 2):.2f} |")
    if asked.figure is not None:
        draw_figure(series, asked.figure)


if __name__ == "__main__":
    match sys.argv[1:]:
        case ["once", ensemble, image]:
            print(json.dumps(once(ensemble, image)))
        case ["many", folder, output, *counts]:
            print(json.dumps(many(folder, output, list(map(int, counts)))))
        case _:
            main()
