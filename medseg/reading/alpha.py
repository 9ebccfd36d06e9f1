"""Transparency: never blended, since a transparent pixel of a scan is still a measured pixel."""

from __future__ import annotations

import numpy as np

Notes = tuple[str, ...]


def without_alpha(pixels: np.ndarray) -> tuple[np.ndarray, Notes]:
    """The (H, W, 2 or 4) `pixels` without their last channel, (H, W) or (H, W, 3), and what the user should know.

    Where the colours say nothing because all are the same, as in masks cut out of black, the alpha channel (H, W) is
    the image, also where nothing is left of it.
    """
    colours, alpha = pixels[..., :-1], pixels[..., -1]
    colours = colours[..., 0] if colours.shape[2] == 1 else colours
    alike, level = bool((colours == colours[:1, :1]).all()), alpha.min() == alpha.max()
    if level and not (alike and alpha.max() == 0):
        return colours, ()
    if alike:
        return alpha, ("All colours of the file are the same: its transparency is read as the image.",)
    return colours, ("The file has transparent pixels: their colours are read as they are stored.",)
