"""The pictures of a `Shown`, drawn by the library on the working grid."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import PIL.Image

from medseg.app.state.scores import solo
from medseg.calibration.conformal import inner_outer
from medseg.inference import uncertainty
from medseg.overlay import add_colour_bar, draw_heatmap, draw_lines, draw_overlay

if TYPE_CHECKING:
    from medseg.app.state.view_state import Shown
    from medseg.arrays import Mask
    from medseg.image import Image
    from medseg.overlay import Rgb

THUMBNAIL = (240, 240)


def overlay(shown: Shown) -> Rgb:
    """The picture with the masks as tint and contour, and with thin lines around what is sure and what may be."""
    view, bounds = shown.view, shown.bounds
    picture = draw_overlay(view.image.pixels, shown.drawn(view.masks), shown.opacity)
    if bounds is None:
        return picture
    for masks in inner_outer(view.probabilities, view.masks, bounds):
        picture = draw_lines(picture, shown.drawn(masks))
    return picture


def probability(shown: Shown) -> np.ndarray:
    """Heatmap of the probabilities (of several labels that are to be seen the largest), with its colour bar."""
    seen = [label not in shown.hidden for label in shown.view.labels]
    largest = shown.view.probabilities.max(axis=0, where=np.array(seen)[:, None, None], initial=0)
    return add_colour_bar(draw_heatmap(largest, shown.view.image.pixels))


def disagreement(shown: Shown) -> np.ndarray:
    """Heatmap of how far the members with weight are apart, with its colour bar."""
    return add_colour_bar(draw_heatmap(shown.view.disagreement, shown.view.image.pixels))


def entropy(shown: Shown) -> np.ndarray:
    """Heatmap of how unsure the blended answer is (of several labels the most), with its colour bar."""
    unsure = uncertainty.entropy(shown.view.probabilities, shown.view.ensemble.task).max(axis=0)
    return add_colour_bar(draw_heatmap(unsure, shown.view.image.pixels))


def before_after(shown: Shown) -> tuple[Rgb, Rgb]:
    """The picture alone, and its overlay."""
    return plain(shown.view.image), overlay(shown)


def members(shown: Shown) -> list[tuple[Rgb, str]]:
    """Each member's own mask at the present threshold, captioned with its name and its share of the weight."""
    pictures = []
    for index, (name, weight) in enumerate(zip(shown.view.member_names, shown.view.weights, strict=True)):
        alone = solo(shown, shown.view, index)
        picture = draw_overlay(shown.view.image.pixels, shown.drawn(alone.masks), shown.opacity)
        shares = (weight,) if isinstance(weight, float) else weight
        pictures.append((picture, f"{name} · weight {' / '.join(f'{share:.0%}' for share in shares)}"))
    return pictures


def plain(image: Image) -> Rgb:
    """The picture alone."""
    return draw_overlay(image.pixels, np.zeros((0, *image.size), dtype=bool))


def described(shown: Shown) -> str:
    """What the overlay shows, for who cannot see it: how much of the picture each label covers, and where."""
    found = [
        f"{label}: {_place(mask)}, {mask.mean():.1%} of the picture" if mask.any() else f"{label}: nothing found"
        for label, mask in zip(shown.view.labels, shown.view.masks, strict=True)
    ]
    return f"The picture with each mask as a tint inside its outline. {'; '.join(found)}."


def _place(mask: Mask) -> str:
    """In which ninth of the picture the middle of the mask's extent lies."""
    places = []
    for axis, names in ((1, ("upper", "middle", "lower")), (0, ("left", "centre", "right"))):
        covered = np.flatnonzero(mask.any(axis=axis))
        middle = (covered[0] + covered[-1] + 1) / 2 / mask.shape[1 - axis]
        places.append(names[int(3 * middle)])
    return " ".join(places)


def thumbnail(image: Image) -> PIL.Image.Image:
    """The picture alone, small."""
    picture = PIL.Image.fromarray(plain(image))
    picture.thumbnail(THUMBNAIL)
    return picture
