"""One state of a visitor's page: an image, its result, and the settings that made it."""

from __future__ import annotations

import dataclasses
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
    from medseg.reading.series import Series

OPACITY = 0.3

REST = 2**16
"""Bytes of a state beside its arrays, as the memory of a server shows them that keeps results of images of 33 x 33."""


@dataclasses.dataclass(frozen=True, eq=False)
class ViewState:
    """One state of the page, whole: a handler takes it once and is not disturbed by what follows.

    `view` is `prediction` on the working grid, what a screen can show. `weights` are the sliders' own values, before
    they are normalised, or one for each label. `hidden` labels are not drawn. `rate` is that of the `bounds` to draw.
    `domain_warnings` say how the image is unlike the training images. `truth` (K, H, W) and `truth_source` are None
    where no truth is known. `source` is the image's file, which may be gone by then, or its series; `window` the
    (centre, width) that the visitor looks through, None for what the file says. `choice` is why the page took this
    ensemble, "" where it did not. `called` is the visitor's own name of the file, "" where none is known; it is in
    memory alone. `name` is what the page calls an example. `withheld`: no ensemble of the page is made for the image,
    and the visitor has not insisted on a mask yet.
    `own_calibration` is that of a fit to the visitor's own images, beside the ensemble's.
    """

    ensemble: Ensemble
    prediction: Prediction
    view: Prediction
    weights: tuple[Weight, ...]
    calibration: Calibration | None = None
    domain_warnings: tuple[str, ...] = ()
    opacity: float = OPACITY
    hidden: frozenset[str] = frozenset()
    rate: float | None = None
    truth: Masks | None = None
    truth_source: str | None = None
    source: Path | Series = Path()
    window: tuple[float, float] | None = None
    choice: str = ""
    called: str = ""
    name: str = ""
    withheld: bool = False
    own_calibration: Calibration | None = None

    @property
    def place(self) -> tuple[Path, int]:
        """The file that holds the image, and its frame there."""
        frame = self.prediction.image.frame
        if isinstance(self.source, Path):
            return self.source, frame
        path, own = self.source.place(frame)
        return Path(path), own

    @property
    def path(self) -> Path:
        """The file that holds the image."""
        return self.place[0]

    @property
    def nbytes(self) -> int:
        """Bytes of its arrays, with those that are worked out of them when they are asked for."""
        prediction, view = self.prediction, self.view.image
        held = (prediction.image.pixels, view.pixels, prediction.members, prediction.stacked, self.truth)
        arrays = {id(array): array.nbytes for array in held if array is not None}
        grids = {prediction.image.size, view.size}
        of_a_pixel = 5 * len(prediction.labels) + 4  # probabilities and masks of each label, disagreement
        return REST + sum(arrays.values()) + sum(height * width * of_a_pixel for height, width in grids)

    @property
    def sliders(self) -> tuple[float, ...]:
        """One number a member: of weights for each label their mean."""
        return tuple(round(float(np.mean(weight)), 2) for weight in self.weights)

    @property
    def settings(self) -> Settings:
        """What images are segmented with."""
        from medseg.inference.batch import Settings  # needs torch: the page is there before it

        now = self.prediction
        return Settings(self.weights, now.threshold, now.blend, now.tta, now.cleanup)

    def segment(self, image: Image) -> Prediction:
        """Another image, at the settings of this one."""
        return self.ensemble.predict(image, **vars(self.settings))

    @property
    def valid_calibration(self) -> Calibration | None:
        """The visitor's own where the present settings are those that were fitted, else the ensemble's."""
        own = self.own_calibration
        return own if judgement.is_calibrated(own, self.prediction) else self.calibration

    @property
    def offered_bounds(self) -> tuple[Bounds, ...]:
        """The conformal thresholds of every rate, where they hold for the present settings."""
        calibration = self.valid_calibration
        if calibration is None or not judgement.is_calibrated(calibration, self.prediction):
            return ()
        return calibration.bounds

    @property
    def bounds(self) -> Bounds | None:
        """Those of the chosen rate."""
        return next((bounds for bounds in self.offered_bounds if bounds.alpha == self.rate), None)

    def drawn(self, masks: Masks) -> Masks:
        """`masks` with those of hidden labels empty, so that the others keep their colours."""
        if not self.hidden:
            return masks
        drawn: Masks = masks & np.array([label not in self.hidden for label in self.prediction.labels])[:, None, None]
        return drawn
