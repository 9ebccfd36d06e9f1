"""The images of a `ViewState`, drawn by the library on the working grid."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import PIL.Image

from medseg.calibration.conformal import inner_outer
from medseg.overlay import draw_lines, draw_overlay

if TYPE_CHECKING:
    from medseg.app.state.view_state import ViewState
    from medseg.arrays import Mask
    from medseg.image import Image
    from medseg.overlay import Rgb

THUMBNAIL = (240, 240)


def overlay(view_state: ViewState) -> Rgb:
    """The image with the masks as tint and contour, and with thin lines around what is sure and what may be."""
    view, bounds = view_state.view, view_state.bounds
    drawn = draw_overlay(view.image.pixels, view_state.drawn(view.masks), view_state.opacity)
    if bounds is None:
        return drawn
    for masks in inner_outer(view.probabilities, view.masks, bounds):
        drawn = draw_lines(drawn, view_state.drawn(masks))
    return drawn


def plain(image: Image) -> Rgb:
    """The image alone."""
    return draw_overlay(image.pixels, np.zeros((0, *image.size), dtype=bool))


def described(view_state: ViewState) -> str:
    """What the overlay shows, for who cannot see it: how much of the image each label covers, and where."""
    places_of_labels = [
        f"{label}: {_place(mask)}, {mask.mean():.1%} of the image" if mask.any() else f"{label}: nothing found"
        for label, mask in zip(view_state.view.labels, view_state.view.masks, strict=True)
    ]
    return f"The image with each mask as a tint inside its outline. {'; '.join(places_of_labels)}."


def _place(mask: Mask) -> str:
    """In which ninth of the image the middle of the mask's extent lies."""
    places = []
    for axis, names in ((1, ("upper", "middle", "lower")), (0, ("left", "centre", "right"))):
        covered = np.flatnonzero(mask.any(axis=axis))
        middle = (covered[0] + covered[-1] + 1) / 2 / mask.shape[1 - axis]
        places.append(names[int(3 * middle)])
    return " ".join(places)


def thumbnail(image: Image) -> PIL.Image.Image:
    """The image alone, small."""
    small = PIL.Image.fromarray(plain(image))
    small.thumbnail(THUMBNAIL)
    return small
