"""An image of what each strength of augmentation does: `python benchmarks/augment.py augmentation.png`.

One row a strength of `medseg.training.recipe.Augmentation`, one column an epoch. The same phantom, its mask drawn over
it, each time.
"""

import sys
from pathlib import Path
from typing import get_args

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from benchmarks.needs import TORCH, need, parser

EPOCHS = 8
SIDE = 192


def sheet(path: Path) -> None:
    """Write the image."""
    import torch

    from medseg.data.phantoms import draw
    from medseg.training.augment import augment, make_augmentation
    from medseg.training.recipe import Augmentation
    from medseg.training.validate import panel, save_rows

    pixels, mask = draw("endoscopy", 9, (SIDE, SIDE))
    image = torch.from_numpy(pixels).permute(2, 0, 1).float() / 255
    masks = torch.from_numpy(mask).unsqueeze(0)
    rows = []
    for strength in get_args(Augmentation):
        transform = make_augmentation(strength)
        varied = [augment(image, masks, transform, (0, e, 0)) if transform else (image, masks) for e in range(EPOCHS)]
        rows.append([panel(*pair) for pair in varied])
    save_rows(rows, path)


if __name__ == "__main__":
    options = parser(__doc__)
    options.add_argument("output", nargs="?", type=Path, default="augmentation.png")
    output = options.parse_args().output
    need(*TORCH)
    sheet(output)
