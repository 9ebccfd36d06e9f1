"""What a fit changes: each labelled image's Dice before and after, and the image that gains most, drawn."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

import numpy as np
from jaxtyping import Float64

from medseg.inference.blend import blend
from medseg.metrics import dice
from medseg.overlay import draw_overlay
from medseg.postprocess import to_masks
from medseg.report.html import data_uri

if TYPE_CHECKING:
    from medseg.arrays import Masks, Threshold, Weight
    from medseg.config import Blend
    from medseg.fitting.fit import Choice
    from medseg.fitting.observations import Observation
    from medseg.image import Image
    from medseg.inference.ensemble import Ensemble

PerImage: TypeAlias = Float64[np.ndarray, "n"]

SIDE = 420


@dataclass(frozen=True)
class Gain:
    """The file of an image, its Dice before and after, and both masks over it beside the truth, as data: addresses."""

    file: str
    before: float
    after: float
    drawn: tuple[str, str]


def dice_before(ensemble: Ensemble, observed: Sequence[Observation]) -> PerImage | None:
    """Each image's Dice at the ensemble's own settings; None for a stacker, which needs more than is kept of them."""
    own = ensemble.config
    return None if own.blend == "stacking" else _dice(observed, own.blend, ensemble.weights, own.threshold)


def _dice(observed: Sequence[Observation], how: Blend, weights: Sequence[Weight], threshold: Threshold) -> PerImage:
    """Each image's Dice, the mean over labels, on the grid of fitting and before clean-up."""
    blended = (blend(image.stack, how, weights, image.task) for image in observed)
    masks = (to_masks(each, threshold, image.task) for each, image in zip(blended, observed, strict=True))
    return np.array([dice(mask, image.truth).mean() for mask, image in zip(masks, observed, strict=True)])


def most_gained(
    ensemble: Ensemble, choice: Choice, observed: Sequence[Observation], before: PerImage | None
) -> Gain | None:
    """The image whose Dice rises most from `before` to `choice`; None where none rises. Reads its file again."""
    if before is None:
        return None
    after = _dice(observed, "weighted mean", choice.weights, choice.threshold)
    place = int(np.argmax(after - before))
    if after[place] <= before[place]:
        return None
    sample = observed[place].sample
    image, truth = sample.read(ensemble.config.labels)
    own = ensemble.predict(image)
    fitted = own.remix(weights=choice.weights, threshold=choice.threshold, blend="weighted mean")
    drawn = (_drawn(image, own.masks, truth), _drawn(image, fitted.masks, truth))
    return Gain(sample.image.name, float(before[place]), float(after[place]), drawn)


def _drawn(image: Image, masks: Masks, truth: Masks) -> str:
    """All labels' mask and truth as two outlines, in the first two colours of the palette."""
    step = max(1, max(image.size) // (2 * SIDE))
    both = np.stack([masks.any(axis=0), truth.any(axis=0)])[:, ::step, ::step]
    return data_uri(draw_overlay(image.pixels[::step, ::step], both, opacity=0.0, thickness=3), SIDE)
