"""Best, median and worst case of an ensemble's test split as one figure: hits, misses, false alarms and disagreement.

    python benchmarks/cases.py assets/ensembles/polyp ../shared/data/polyp/kvasir-seg docs/cases-polyp.png
    python benchmarks/cases.py assets/ensembles/brain ../shared/data/brain/lgg-mri-segmentation docs/cases-brain.png \\
        --labels tumour
    python benchmarks/cases.py assets/ensembles/chest ../shared/data/chest/chestx-det docs/cases-chest.png \\
        --labels 'finding=*'

The order is that of the ensemble's Dice (mean over labels) among the images that have something to find; the median
is the lower one of an even number. No pixel of a patient's image is drawn, so that all may see the figure, unless
`--over-images` asks for them. Prints the three values, and how many images there were.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import numpy as np
import PIL.Image
from PIL import ImageDraw, ImageFont

from medseg.commands.inspect import add_choice, load_chosen
from medseg.data.samples import Sample, select
from medseg.inference.ensemble import Ensemble
from medseg.metrics import confusion
from medseg.overlay import draw_heatmap, draw_overlay, errors

SIDE, MARGIN, LINE = 260, 6, 24
COLUMNS = ("truth", "ensemble", "blue hit, yellow false alarm, red miss", "disagreement of the members")
INK, PAPER = (32, 32, 32), (255, 255, 255)


def dice_of(ensemble: Ensemble, sample: Sample) -> float | None:
    """Mean over labels; None where the truth is empty."""
    image, truth = sample.read(ensemble.config.labels)
    found = ensemble.predict(image).masks
    pairs = [confusion(mask, true).dice for mask, true in zip(found, truth, strict=True)]
    return float(np.mean(pairs)) if truth.any() else None


def row(ensemble: Ensemble, sample: Sample, images: bool) -> list[PIL.Image.Image]:
    image, truth = sample.read(ensemble.config.labels)
    found = ensemble.predict(image)
    ground = image.pixels if images else np.zeros_like(image.pixels)
    mistakes = errors(found.masks.any(axis=0), truth.any(axis=0))  # of any label
    drawn = [draw_overlay(ground, truth), draw_overlay(ground, found.masks), draw_overlay(ground, mistakes, 1.0)]
    return [small(tile) for tile in (*drawn, draw_heatmap(found.disagreement, ground))]


def small(image: np.ndarray) -> PIL.Image.Image:
    reduced = PIL.Image.fromarray(image)
    reduced.thumbnail((SIDE, SIDE), PIL.Image.Resampling.LANCZOS)
    return reduced


def sheet(rows: Sequence[tuple[str, list[PIL.Image.Image]]]) -> PIL.Image.Image:
    """A row of images for each of `rows` under its caption, with the columns' names on top."""
    font = ImageFont.load_default(15)
    heights = [max(image.height for image in images) + LINE + MARGIN for _, images in rows]
    canvas = PIL.Image.new("RGB", (len(COLUMNS) * (SIDE + MARGIN) + MARGIN, LINE + sum(heights) + MARGIN), PAPER)
    draw = ImageDraw.Draw(canvas)
    for column, name in enumerate(COLUMNS):
        draw.text((MARGIN + column * (SIDE + MARGIN), 4), name, fill=INK, font=font)
    top = LINE
    for (caption, images), height in zip(rows, heights, strict=True):
        draw.text((MARGIN, top + 3), caption, fill=INK, font=font)
        for column, image in enumerate(images):
            canvas.paste(image, (MARGIN + column * (SIDE + MARGIN), top + LINE))
        top += height
    return canvas


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("ensemble", type=Path)
    parser.add_argument("data", type=Path)
    parser.add_argument("output", type=Path)
    add_choice(parser)
    parser.add_argument(
        "--over-images", dest="over", action="store_true", help="draw over the images; not to be published"
    )
    options = parser.parse_args()
    ensemble = Ensemble.from_pretrained(options.ensemble)
    scored = [
        (dice_of(ensemble, sample), sample)
        for sample in select(load_chosen(options, fold=options.fold).samples, "test")
    ]
    ranked = sorted(((dice, sample) for dice, sample in scored if dice is not None), key=lambda pair: pair[0])
    chosen = {"best": ranked[-1], "median": ranked[(len(ranked) - 1) // 2], "worst": ranked[0]}
    rows = [
        (f"{name}: Dice {dice:.3f}", row(ensemble, sample, options.over)) for name, (dice, sample) in chosen.items()
    ]
    options.output.parent.mkdir(exist_ok=True)
    sheet(rows).save(options.output, optimize=True)
    print(f"{len(ranked)} images with a finding of {len(scored)}; " + ", ".join(caption for caption, _ in rows))


if __name__ == "__main__":
    main()
