"""Probabilities as NumPy's .npz, on the pixel grid of the file that was read."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from medseg.arrays import Probabilities
from medseg.image import Image, to_stored
from medseg.inference.record import notice


def write_probabilities(probabilities: Probabilities, labels: tuple[str, ...], image: Image, path: Path) -> None:
    """Probabilities as a compressed .npz: `probabilities` (K, H, W) float16, `labels` (K,) and `notice`."""
    stored = to_stored(probabilities, image.orientation).astype(np.float16)
    np.savez_compressed(path, probabilities=stored, labels=np.array(labels), notice=np.array(notice(image)))
