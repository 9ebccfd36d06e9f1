"""Draw assets/slider.gif: one weight slider moves, and the mask follows. No network runs between its frames.

    python benchmarks/animation.py

The image is the synthetic brain slice of assets/examples, so no patient's pixel is shown. One of the embedded members
marks a second lesion there that the others do not see: the slider is that member's.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

import numpy as np
import PIL.Image
from PIL import ImageDraw, ImageFont

from medseg.inference.ensemble import Ensemble
from medseg.inference.prediction import Prediction
from medseg.overlay import draw_overlay
from medseg.reading.readers import read_image

EXAMPLE = ROOT / "assets" / "examples" / "brain-1.png"
SIDE, PANEL, MARGIN = 300, 280, 16
INK, FAINT, LINE, KNOB, PAPER = (31, 41, 55), (107, 114, 128), (209, 213, 219), (2, 132, 199), (255, 255, 255)
STEPS, REST, STEP_MS, REST_MS = 14, 0.34, 90, 1400
"""Frames from one end of the slider to the other, the weight of the others, how long a frame and an end are shown."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--output", type=Path, default=ROOT / "assets" / "slider.gif")
    output = parser.parse_args().output
    prediction = Ensemble.from_pretrained(ROOT / "assets" / "ensembles" / "brain").predict(read_image(EXAMPLE))
    down = np.linspace(1, 0, STEPS)
    weights = [*down, *down[-2:0:-1]]
    frames = [frame(prediction, [weight, REST, REST]) for weight in weights]
    durations = [REST_MS if weight in {0, 1} else STEP_MS for weight in weights]
    palette = frames[0].quantize(96, dither=PIL.Image.Dither.NONE)
    drawn = [one.quantize(palette=palette, dither=PIL.Image.Dither.NONE) for one in frames]
    drawn[0].save(output, save_all=True, append_images=drawn[1:], duration=durations, loop=0, optimize=True)
    size = output.stat().st_size // 1000
    print(f"{output.name}: {drawn[0].width} x {drawn[0].height}, {len(drawn)} frames, {size} kB")


def frame(prediction: Prediction, weights: Sequence[float]) -> PIL.Image.Image:
    """The image with its mask on the left, one slider for each member and the area of the mask on the right."""
    mixed = prediction.remix(weights=weights, threshold=prediction.threshold)
    image = PIL.Image.fromarray(draw_overlay(mixed.image.pixels, mixed.masks, 0.4))
    canvas = PIL.Image.new("RGB", (SIDE + PANEL, SIDE), PAPER)
    canvas.paste(image.resize((SIDE, SIDE), PIL.Image.Resampling.LANCZOS))
    draw = ImageDraw.Draw(canvas)
    for row, (name, weight) in enumerate(zip(mixed.member_names, weights, strict=True)):
        draw_slider(draw, 26 + 66 * row, name, weight)
    pixels = int(mixed.masks.sum())
    draw.text((SIDE + MARGIN, 236), f"{mixed.labels[0]}: {pixels:,} px", fill=INK, font=ImageFont.load_default(17))
    draw.text((SIDE + MARGIN, 262), "synthetic image, no network runs", fill=FAINT, font=ImageFont.load_default(13))
    return canvas


def draw_slider(draw: ImageDraw.ImageDraw, top: int, name: str, weight: float) -> None:
    """A slider from 0 to 1 with its name above it, in the panel."""
    left, right, middle = SIDE + MARGIN, SIDE + PANEL - 2 * MARGIN, top + 32
    knob = left + weight * (right - left)
    font = ImageFont.load_default(14)
    draw.text((left, top), name, fill=INK, font=font)
    draw.text((right, top), f"{weight:.2f}", fill=FAINT, font=font, anchor="ra")
    draw.line((left, middle, right, middle), fill=LINE, width=5)
    draw.line((left, middle, knob, middle), fill=KNOB, width=5)
    draw.ellipse((knob - 7, middle - 7, knob + 7, middle + 7), fill=PAPER, outline=KNOB, width=3)


if __name__ == "__main__":
    main()
