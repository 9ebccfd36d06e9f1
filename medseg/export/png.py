"""Masks as PNG, on the pixel grid of the file that was read (EXIF orientation put back), lossless."""

from __future__ import annotations

from pathlib import Path
from typing import BinaryIO

import numpy as np
import PIL.Image
from PIL.PngImagePlugin import PngInfo

from medseg.arrays import Masks
from medseg.image import Image, to_stored
from medseg.inference.record import notice
from medseg.overlay import PALETTE
from medseg.postprocess import to_label_map


def write_mask(masks: Masks, image: Image, path: Path | BinaryIO) -> None:
    """Masks (K, H, W) as an 8-bit PNG: 0 and 255 for one label; for more a label map (0 background, k + 1 label k, the
    later label where they overlap) with the overlay's palette."""
    if len(masks) == 1:
        drawn = PIL.Image.fromarray(to_stored(masks[0], image.orientation).astype(np.uint8) * 255)
    else:
        drawn = PIL.Image.fromarray(np.ascontiguousarray(to_stored(to_label_map(masks), image.orientation)))
        drawn.putpalette([0, 0, 0, *np.asarray(PALETTE, dtype=np.uint8).ravel().tolist()])
    about = PngInfo()
    about.add_text("Description", notice(image))
    drawn.save(path, format="PNG", pnginfo=about)
