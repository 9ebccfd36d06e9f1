"""A picture of what each strength of augmentation does: `python benchmarks/augment.py augmentation.png`.

One row a strength of `train.recipe.Augmentation`, one column an epoch. The same phantom, its mask drawn over it, each
time. In the last row each epoch pastes what is marked in another phantom.
"""

import sys
from pathlib import Path
from typing import get_args

import torch

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from assets.phantoms import draw
from train.augment import augment, draws_of, make_augmentation, paste
from train.recipe import Augmentation
from train.validate import panel, save_rows

EPOCHS = 8
SIDE = 192


def sheet(path: Path) -> None:
    """Write the picture."""
    picture, masks = _phantom(9)
    rows = []
    for strength in get_args(Augmentation):
        transform = make_augmentation(strength)
        varied = []
        for epoch in range(EPOCHS):
            with draws_of(0, epoch, 0):
                varied.append(augment(picture, masks, transform) if transform else (picture, masks))
        rows.append([panel(*pair) for pair in varied])
    pasted = []
    for epoch in range(EPOCHS):
        with draws_of(0, epoch, 0):
            pasted.append(paste(picture, masks, *_phantom(20 + epoch)))
    save_rows([*rows, [panel(*pair) for pair in pasted]], path)


def _phantom(seed: int) -> tuple[torch.Tensor, torch.Tensor]:
    pixels, mask = draw("endoscopy", seed, (SIDE, SIDE))
    return torch.from_numpy(pixels).permute(2, 0, 1).float() / 255, torch.from_numpy(mask).unsqueeze(0)


if __name__ == "__main__":
    sheet(Path(sys.argv[1] if len(sys.argv) > 1 else "augmentation.png"))
