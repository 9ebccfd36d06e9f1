"""Several visitors at once: `python -m benchmarks.visitors [REQUESTS]`.

One page, images that nobody sent before, segmented through its endpoint: by one client, one after the other, then by
eight at once, in blocks that take turns. What counts is masks per second and how evenly the eight wait.
"""

from __future__ import annotations

import os
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from pathlib import Path

import numpy as np
import PIL.Image

from benchmarks.needs import parser, positive
from medseg.data.phantoms import draw
from tests.running_app import running_app

CLIENTS, BLOCKS, SIDE = 8, 5, 512


def main() -> None:
    """The table: throughput of one client and of eight, and the waiting times of the eight."""
    options = parser(__doc__)
    options.add_argument("requests", nargs="?", type=positive, default=200, help="of the eight; 200 without it")
    requests = options.parse_args().requests
    from gradio_client import Client, handle_file

    pixels, _ = draw("endoscopy", 3, (SIDE, SIDE))
    block = -(-requests // BLOCKS)
    rates: dict[int, list[float]] = {1: [], CLIENTS: []}
    waits: list[float] = []
    with tempfile.TemporaryDirectory() as name, running_app() as url:
        clients = [Client(url, verbose=False) for _ in range(CLIENTS)]

        def ask(number: int) -> float:
            path = Path(name) / f"{number}.png"
            changed = pixels.copy()
            changed[0, :3] = np.array((*divmod(number, 256), 0), np.uint8)[:, None]
            PIL.Image.fromarray(changed).save(path, compress_level=1)
            started = time.perf_counter()
            clients[number % CLIENTS].predict(handle_file(path), api_name="/segment")
            return time.perf_counter() - started

        ask(0)
        numbers = iter(range(1, 10**6))
        for _ in range(BLOCKS):
            for workers, count in ((1, block // 3 + 1), (CLIENTS, block)):
                started = time.perf_counter()
                with ThreadPoolExecutor(workers) as pool:
                    seconds = list(pool.map(ask, list(islice(numbers, count))))
                rates[workers].append(count / (time.perf_counter() - started))
                waits += seconds if workers == CLIENTS else []
    one, eight = rates[1], rates[CLIENTS]
    ratios = sorted(many / alone for many, alone in zip(eight, one, strict=True))
    p50, p99 = np.percentile(waits, [50, 99])
    print(f"{len(waits)} requests of {CLIENTS} clients at once, load {os.getloadavg()[0]:.1f}\n")
    print("| masks/s, one client | masks/s, eight | ratio, block by block | p50, s | p99, s | p99 ÷ p50 |")
    print("|---|---|---|---|---|---|")
    cells = [f"{np.median(one):.2f}", f"{np.median(eight):.2f}"]
    cells += [f"{np.median(ratios):.2f} ({ratios[0]:.2f} to {ratios[-1]:.2f})", f"{p50:.2f}", f"{p99:.2f}"]
    print(f"| {' | '.join(cells)} | {p99 / p50:.2f} |")


if __name__ == "__main__":
    main()
