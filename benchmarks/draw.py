"""What the page does after the networks, at 1024 × 1024: `python -m benchmarks.draw`. Processor time, 30 runs each."""

from __future__ import annotations

import dataclasses
import io
import os
import time
from collections.abc import Callable
from statistics import median

import numpy as np

from benchmarks.needs import parser
from medseg.data.phantoms import draw
from medseg.export.png import write_mask
from medseg.image import Image
from medseg.inference.ensemble import Ensemble
from medseg.overlay import draw_overlay


def main() -> None:
    parser(__doc__).parse_args()
    pixels, mask = draw("endoscopy", 21, (1024, 1024))
    image, masks = Image((pixels / 255).astype(np.float32)), (mask > 0)[None]
    prediction = Ensemble.from_pretrained("polyp").predict(image)
    steps: dict[str, Callable[[], object]] = {
        "overlay": lambda: draw_overlay(image.pixels, masks),
        "mask as PNG": lambda: write_mask(masks, image, io.BytesIO()),
        "overlay and mask as PNG": lambda: (draw_overlay(image.pixels, masks), write_mask(masks, image, io.BytesIO())),
        "other weights to masks": lambda: prediction.remix(weights=(1, 2, 3), threshold=0.4).masks,
        "report": lambda: dataclasses.replace(prediction).report(),
    }
    print(f"Load {os.getloadavg()[0]:.1f}\n\n| step | ms, median (smallest to largest) |\n|---|---|")
    for name, step in steps.items():
        times = [cpu_ms(step) for _ in range(30)]
        print(f"| {name} | {median(times):.1f} ({min(times):.1f} to {max(times):.1f}) |")


def cpu_ms(step: Callable[[], object]) -> float:
    started = time.process_time()
    step()
    return 1000 * (time.process_time() - started)


if __name__ == "__main__":
    main()
