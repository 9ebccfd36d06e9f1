"""Draw chest films with masks of four labels that overlap: lungs, heart, airways (small), finding (on half the films).

python examples/four_classes.py FOLDER [--films 140] [--size 256]

The folder has the layout images/NNN.png and masks/LABEL/NNN.png. `four_classes.sh` goes on from there.
"""

import argparse
from pathlib import Path

import numpy as np
from PIL import Image

from medseg.data.phantoms import Canvas, bones, lung_fields, soft, trunk, vessels


def draw(seed: int, size: int) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """A film (H, W), uint8, and its masks (H, W), bool."""
    c = Canvas((size, size), np.random.default_rng(seed))
    body = c.turned((c.vary(-0.04, 0.04), c.vary(-0.04, 0.04)), c.vary(-0.04, 0.04))
    heart = body.turned((0.26, 0.14), -c.vary(0.3, 0.8)).oval((0, 0), (0.42, c.vary(0.22, 0.34)))
    fields = lung_fields(body)
    air = np.maximum(np.abs(body.x + 0.02 * np.sin(4 * body.y)) / 0.05, np.abs(body.y + 0.6) / c.vary(0.35, 0.45))
    spot = body.turned((c.vary(-0.45, 0.1), c.rng.choice((-1, 1)) * c.vary(0.38, 0.5)), c.vary(0, np.pi))
    opacity = spot.oval((0, 0), (c.vary(0.13, 0.28), c.vary(0.1, 0.2)), ragged=0.25, cells=4)
    ill = c.vary(0, 1) < 0.5
    haze = soft(opacity, 0.9) * (1 + 0.15 * c.noise(9)) * c.vary(0.3, 0.55) * ill
    seen = fields * (1 - 0.85 * soft(heart, 0.15))
    loss = trunk(body) + 0.25 * soft(heart, 0.15) + bones(body) + seen * (vessels(body) + haze - c.vary(0.72, 0.85))
    loss -= c.vary(0.25, 0.4) * soft(air, 0.4)
    film = 1 - np.exp(-c.vary(1.1, 1.6) * np.clip(loss, 0.02, None))
    masks = {
        "lungs": fields > 0.5,
        "heart": heart < 1,
        "airways": air < 1,
        "finding": (opacity < 1) & (seen > 0.5) & ill,
    }
    return np.rint(np.clip(film, 0, 1) * 255).astype(np.uint8), masks


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n", maxsplit=1)[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--films", type=int, default=140)
    parser.add_argument("--size", type=int, default=256)
    options = parser.parse_args(arguments)
    for seed in range(options.films):
        film, masks = draw(seed, options.size)
        for name, pixels in {"images": film, **{f"masks/{label}": mask for label, mask in masks.items()}}.items():
            (options.folder / name).mkdir(parents=True, exist_ok=True)
            Image.fromarray(pixels).save(options.folder / name / f"{seed:03d}.png")


if __name__ == "__main__":
    main()
