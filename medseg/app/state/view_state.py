"""One state of a visitor's page: an image, its result, and the settings that made it."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from medseg.calibration import judgement

if TYPE_CHECKING:
    from medseg.arrays import Masks, Weight
    from medseg.calibration.calibrate import Calibration
    from medseg.calibration.conformal import Bounds
    from medseg.image import Image
    from medseg.inference.batch import Settings
    from medseg.inference.ensemble import Ensemble
    from medseg.inference.prediction import Prediction

OPACITY = 0.3


@dataclasses.dataclass(frozen=True, eq=False)
class ViewState:
    """One state of the page, whole: a handler takes it once and is not disturbed by what follows.

    `view` is `prediction` on the working grid, what a screen can show. `weights` are the sliders' own values, before
    they are normalised, or one for each label; then the sliders show those of `label`, the index of one, or where it is
    None the means. `hidden` labels are not drawn. `rate` is that of the `bounds` to draw. `domain_warnings` say how
    the image is unlike the training images. `truth` (K, H, W) and `truth_source` are None where no truth is known.
    `path` is the image's file, which may be gone by then; `window` the (centre, width) that the visitor looks through,
    None for what the file says. `choice` is why the page took this ensemble, "" where it did not. `called` is
    the visitor's own name of the file, "" where none is known; it is in memory alone.
    """

    ensemble: Ensemble
    prediction: Prediction
    view: Prediction
    weights: tuple[Weight, ...]
    calibration: Calibration | None = None
    domain_warnings: tuple[str, ...] = ()
    opacity: float = OPACITY
    label: int | None = None
    hidden: frozenset[str] = frozenset()
    rate: float | None = None
    truth: Masks | None = None
    truth_source: str | None = None
    path: Path = Path()
    window: tuple[float, float] | None = None
    choice: str = ""
    called: str = ""

    @property
    def nbytes(self) -> int:
        """Bytes of its arrays, with those that are worked out of them when they are asked for."""
        prediction, view = self.prediction, self.view.image
        held = (prediction.image.pixels, view.pixels, prediction.members, prediction.stacked, self.truth)
        arrays = {id(array): array.nbytes for array in held if array is not None}
        grids = {prediction.image.size, view.size}
        of_a_pixel = 5 * len(prediction.labels) + 4  # probabilities and masks of each label, disagreement
        return sum(arrays.values()) + sum(height * width * of_a_pixel for height, width in grids)

    @property
    def sliders(self) -> tuple[float, ...]:
        """Where the members' sliders stand."""
        return tuple(round(float(np.mean(weight)), 2) for weight in of_label(self.weights, self.label))

    @property
    def settings(self) -> Settings:
        """What images are segmented with."""
        from medseg.inference.batch import Settings  # needs torch: the page is there before it

        now = self.prediction
        return Settings(self.weights, now.threshold, now.blend, now.tta, now.cleanup)

    def segment(self, image: Image) -> Prediction:
        """Another image, at the settings of this one."""
        return self.ensemble.predict(image, **vars(self.settings))

    def moved(self, sliders: Sequence[Weight]) -> tuple[Weight, ...]:
        """The weights once the sliders stand there: those of the chosen label, or of all labels alike."""
        if tuple(sliders) == self.sliders:
            return self.weights  # which are finer than what sliders show
        if self.label is None:
            return tuple(sliders)
        each = np.array([np.broadcast_to(weight, len(self.prediction.labels)) for weight in self.weights], dtype=float)
        each[:, self.label] = of_label(sliders, self.label)
        return tuple(map(tuple, each.tolist()))

    @property
    def bounds(self) -> Bounds | None:
        """The conformal thresholds of the chosen rate, where they hold for the present settings."""
        if (
            self.calibration is None
            or self.rate is None
            or not judgement.is_calibrated(self.calibration, self.prediction)
        ):
            return None
        return next((bounds for bounds in self.calibration.bounds if bounds.alpha == self.rate), None)

    def drawn(self, masks: Masks) -> Masks:
        """`masks` with those of hidden labels empty, so that the others keep their colours."""
        if not self.hidden:
            return masks
        drawn: Masks = masks & np.array([label not in self.hidden for label in self.prediction.labels])[:, None, None]
        return drawn


def of_label(weights: Sequence[Weight], label: int | None) -> tuple[Weight, ...]:
    """One number a member, where there are some for each label and `label` is the index of one."""
    return tuple(weight[label] if label is not None and isinstance(weight, Sequence) else weight for weight in weights)
