"""What one visitor has open: picture, ensemble, settings, truth and result. No other visitor sees any of it."""

from __future__ import annotations

import dataclasses
import shutil
import tempfile
import threading
import weakref
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from medseg import export
from medseg.errors import InputError, MedsegError
from medseg.image import Image
from medseg.readers import read_image, read_masks
from medseg.training_pair import write_pair
from ui.charts import Curves
from ui.figures import Scores

if TYPE_CHECKING:
    from medseg.arrays import Masks, Weight
    from medseg.config import Blend
    from medseg.ensemble import Ensemble, Prediction
    from ui.correct import Editing

OPACITY = 0.3


@dataclasses.dataclass(frozen=True, eq=False)
class Shown:
    """One state of the page, whole: a handler takes it once and is not disturbed by what follows.

    `view` is `prediction` on the working grid, what a screen can show. `weights` are the sliders' own values, before
    they are normalised, or an ensemble's own for each label, of which the sliders show the mean. `truth` (K, H, W) and
    `truth_source` are None where no truth is known.
    """

    ensemble: Ensemble
    prediction: Prediction
    view: Prediction
    weights: tuple[Weight, ...]
    opacity: float = OPACITY
    truth: Masks | None = None
    truth_source: str | None = None

    @property
    def sliders(self) -> tuple[float, ...]:
        """Where the members' sliders stand."""
        return tuple(round(float(np.mean(weight)), 2) for weight in self.weights)


class Session:
    """The newest `Shown`, and how events replace it. A refused event leaves it as it was."""

    def __init__(self) -> None:
        self._now: Shown | None = None
        self._changing = threading.Lock()
        self._downloads: Path | None = None
        self.tab = "Overlay"
        self.evidence = "Scores"
        self.scores = Scores()
        self.curves = Curves()
        self.wanted_label: str | None = None
        self.correcting = False
        self.editing: Editing | None = None
        self.cancelled = threading.Event()

    def __deepcopy__(self, memo: object) -> Session:
        """A new session: Gradio makes each visitor's state as a copy of the page's."""
        return Session()

    @property
    def shown(self) -> Shown:
        """Raises InputError before the first picture."""
        if self._now is None:
            raise InputError("No picture is open yet: choose an example or drop a file first.")
        return self._now

    @property
    def is_empty(self) -> bool:
        return self._now is None

    @property
    def label(self) -> str:
        """The label whose scores are drawn: the one that was asked for, where the ensemble has it, else its first."""
        labels = self.shown.prediction.labels
        return self.wanted_label if self.wanted_label in labels else labels[0]

    def open(self, path: str | Path, ensemble: Ensemble, truth: Path | None = None, source: str | None = None) -> None:
        """Segment the picture in the file `path`; `truth` is the file of its known mask, `source` says whose it is."""
        image = read_image(path)
        ensemble.predict(image)  # the slow part, outside the lock: sliders stay alive, and the answers are kept
        masks = None if truth is None else _fitting_truth(truth, ensemble, image)
        with self._changing:
            self._show(image, ensemble)
            if masks is not None:
                self._now = dataclasses.replace(self.shown, truth=masks, truth_source=source)

    def change_ensemble(self, ensemble: Ensemble) -> None:
        """Segment the open picture with another ensemble; a truth for other labels is dropped."""
        image = self.shown.prediction.image
        ensemble.predict(image)
        with self._changing:
            before = self.shown
            self._show(before.prediction.image, ensemble)
            if before.truth is not None and len(before.truth) == len(ensemble.config.labels):
                self._now = dataclasses.replace(self.shown, truth=before.truth, truth_source=before.truth_source)

    def remix(self, weights: Sequence[Weight], threshold: float, opacity: float, blend: Blend | None = None) -> None:
        """Blend again from the kept answers, as before where `blend` is None; no network runs."""
        with self._changing:
            before = self.shown
            prediction = before.prediction.remix(weights=weights, threshold=threshold, blend=blend)
            if not 0 <= opacity <= 1:
                raise InputError(f"The opacity must lie between 0 and 1, got {opacity:g}.")
            self._now = dataclasses.replace(
                before,
                prediction=prediction,
                view=_with_image(prediction, before.view.image),
                weights=tuple(weights),
                opacity=opacity,
            )

    def add_truth(self, path: str | Path, source: str) -> None:
        """Take the true mask from a file; it must fit the open picture."""
        before = self.shown
        image, labels = before.prediction.image, before.ensemble.config.labels
        self.set_truth(image, read_masks(path, labels, like=image), source)

    def set_truth(self, image: Image, masks: Masks, source: str) -> None:
        """Take `masks` (K, H, W) as the truth of the open picture, where that is still `image`."""
        with self._changing:
            if self.shown.prediction.image is image:  # else another picture was opened meanwhile
                self._now = dataclasses.replace(self.shown, truth=masks, truth_source=source)

    def write_mask(self) -> Path:
        """The mask as a lossless PNG on the grid of the picture's file."""
        path, prediction = self._folder() / "medseg-mask.png", self.shown.prediction
        export.write_mask(prediction.masks, prediction.image, path)
        return path

    def write_probabilities(self) -> Path:
        path, prediction = self._folder() / "medseg-probabilities.npz", self.shown.prediction
        export.write_probabilities(prediction.probabilities, prediction.labels, prediction.image, path)
        return path

    def write_report(self) -> Path:
        path = self._folder() / "medseg-report.json"
        export.write_report(self.shown.prediction.report(), path)
        return path

    def write_pair(self, masks: Masks) -> Path:
        """The open picture with `masks` (K, H, W) as a zip that training reads."""
        prediction = self.shown.prediction
        path = self._folder() / f"medseg-pair-{prediction.image.sha256[:12]}.zip"
        write_pair(prediction.image, masks, prediction.labels, path)
        return path

    def _folder(self) -> Path:
        """This visitor's own folder for downloads, of a random name; it goes with the session."""
        if self._downloads is None:
            self._downloads = Path(tempfile.mkdtemp(prefix="medseg-"))
            weakref.finalize(self, shutil.rmtree, self._downloads, ignore_errors=True)
        return self._downloads

    def _show(self, image: Image, ensemble: Ensemble) -> None:
        before = self._now
        kept = before if before is not None and before.ensemble is ensemble else None
        prediction = ensemble.predict(
            image,
            weights=None if kept is None else kept.weights,
            threshold=None if kept is None else kept.prediction.threshold,
            blend=None if kept is None else kept.prediction.blend,
        )
        self._now = Shown(
            ensemble=ensemble,
            prediction=prediction,
            view=_with_image(prediction, _view_of(image)),
            weights=ensemble.weights if kept is None else kept.weights,
            opacity=OPACITY if before is None else before.opacity,
        )


def _fitting_truth(path: Path, ensemble: Ensemble, image: Image) -> Masks | None:
    """An example's truth, or None where its one mask does not fit the labels of the ensemble."""
    try:
        return read_masks(path, ensemble.config.labels, like=image)
    except MedsegError:
        return None


def _view_of(image: Image) -> Image:
    """`image` on the working grid: `image` itself unless its long side exceeds 1024 pixels."""
    from medseg.preprocess import to_image_grid, working_size

    size = working_size(image.size)
    if size == image.size:
        return image
    planes = to_image_grid(image.pixels.transpose(2, 0, 1).copy(), size)
    return dataclasses.replace(image, pixels=planes.transpose(1, 2, 0).clip(0, 1).copy(), spacing_mm=None)


def _with_image(prediction: Prediction, view: Image) -> Prediction:
    """`prediction` as it looks on the grid of `view`; the least area of the clean-up shrinks with the grid."""
    if view is prediction.image:
        return prediction
    scale = (view.size[0] * view.size[1]) / (prediction.image.size[0] * prediction.image.size[1])
    cleanup = prediction.ensemble.cleanup
    smaller = dataclasses.replace(cleanup, min_area_px=round(cleanup.min_area_px * scale))
    return dataclasses.replace(
        prediction, image=view, ensemble=dataclasses.replace(prediction.ensemble, cleanup=smaller)
    )
