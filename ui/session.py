"""What one visitor has open: picture, ensemble, settings, truth and result. No other visitor sees any of it."""

from __future__ import annotations

import dataclasses
import shutil
import tempfile
import threading
import weakref
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from medseg import export, scope
from medseg.errors import InputError, MedsegError
from medseg.image import Image
from medseg.readers import read_image, read_masks
from ui import trust
from ui.figures import Scores
from ui.shown import OPACITY, Shown

if TYPE_CHECKING:
    from medseg.arrays import Masks, Weight
    from medseg.config import Blend
    from medseg.ensemble import Ensemble, Prediction
    from medseg.tta import Augmentation


class Session:
    """The newest `Shown`, and how events replace it. A refused event leaves it as it was."""

    def __init__(self) -> None:
        self._now: Shown | None = None
        self._changing = threading.Lock()
        self._downloads: Path | None = None
        self.tab = "Overlay"
        self.scores = Scores()
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

    def open(self, path: str | Path, ensemble: Ensemble, truth: Path | None = None, source: str | None = None) -> None:
        """Segment the picture in the file `path`; `truth` is the file of its known mask, `source` says whose it is."""
        image = read_image(path)
        # the slow part, outside the lock: sliders stay alive, and the answers are kept
        ensemble.predict(image, tta=self._tta(ensemble))
        masks = None if truth is None else _fitting_truth(truth, ensemble, image)
        with self._changing:
            self._show(image, ensemble)
            if masks is not None:
                self._change(truth=masks, truth_source=source)

    def change_ensemble(self, ensemble: Ensemble) -> None:
        """Segment the open picture with another ensemble; a truth for other labels is dropped."""
        image = self.shown.prediction.image
        ensemble.predict(image)
        with self._changing:
            before = self.shown
            self._show(before.prediction.image, ensemble)
            if before.truth is not None and len(before.truth) == len(ensemble.config.labels):
                self._change(truth=before.truth, truth_source=before.truth_source)

    def remix(self, weights: Sequence[Weight], threshold: float, opacity: float, blend: Blend | None = None) -> None:
        """Blend again from the kept answers, as before where `blend` is None; no network runs."""
        with self._changing:
            before = self.shown
            prediction = before.prediction.remix(weights=weights, threshold=threshold, blend=blend)
            if not 0 <= opacity <= 1:
                raise InputError(f"The opacity must lie between 0 and 1, got {opacity:g}.")
            view = _with_image(prediction, before.view.image)
            self._change(prediction=prediction, view=view, weights=tuple(weights), opacity=opacity)

    def drop_pieces(self, min_area_px: int) -> None:
        """Drop components under `min_area_px` pixels of the image's own grid, in place of the ensemble's own bound."""
        with self._changing:
            before = self.shown.prediction
            cleanup = dataclasses.replace(before.cleanup, min_area_px=min_area_px)
            prediction = dataclasses.replace(before, cleanup=cleanup)
            self._change(prediction=prediction, view=_with_image(prediction, self.shown.view.image))

    def average_over(self, tta: Augmentation) -> None:
        """Run the networks on the open picture's flips too, or take their plain answers again; sliders stay."""
        before = self.shown
        before.ensemble.predict(before.prediction.image, tta=tta)
        with self._changing:
            now = self.shown
            if now.prediction.image is before.prediction.image and now.ensemble is before.ensemble:
                self._show(now.prediction.image, now.ensemble, tta)
                self._change(truth=now.truth, truth_source=now.truth_source)

    def choose_label(self, label: int | None) -> None:
        """Let the sliders show the weights of one label, by its index, or of all."""
        with self._changing:
            self._change(label=label)

    def draw(self, hidden: frozenset[str], rate: float | None) -> None:
        """Draw all labels but `hidden`, and the bounds of the calibration at `rate`."""
        with self._changing:
            self._change(hidden=hidden, rate=rate)

    def add_truth(self, path: str | Path, source: str) -> None:
        """Take the true mask from a file; it must fit the open picture."""
        before = self.shown
        image, labels = before.prediction.image, before.ensemble.config.labels
        masks = read_masks(path, labels, like=image)
        with self._changing:
            if self.shown.prediction.image is image:  # else another picture was opened meanwhile
                self._change(truth=masks, truth_source=source)

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

    def _folder(self) -> Path:
        """This visitor's own folder for downloads, of a random name; it goes with the session."""
        if self._downloads is None:
            self._downloads = Path(tempfile.mkdtemp(prefix="medseg-"))
            weakref.finalize(self, shutil.rmtree, self._downloads, ignore_errors=True)
        return self._downloads

    def _tta(self, ensemble: Ensemble) -> Augmentation:
        return self._now.prediction.tta if self._now is not None and self._now.ensemble is ensemble else False

    def _change(self, **changes: Any) -> None:
        self._now = dataclasses.replace(self.shown, **changes)

    def _show(self, image: Image, ensemble: Ensemble, tta: Augmentation | None = None) -> None:
        """Show `image` at the settings before, or at the ensemble's own where it is another one."""
        before = self._now
        doubts = tuple(scope.doubts(image, ensemble.members[0].config.training_data))  # reads every pixel: once
        if before is None or before.ensemble is not ensemble:
            prediction = ensemble.predict(image)
            opacity = OPACITY if before is None else before.opacity
            view = _with_image(prediction, _view_of(image))
            found = trust.calibration_of(ensemble)
            self._now = Shown(ensemble, prediction, view, ensemble.weights, found, doubts, opacity)
            return
        settings = before.prediction
        answers = ensemble.predict(
            image,
            weights=before.weights,
            threshold=settings.threshold,
            blend=settings.blend,
            tta=settings.tta if tta is None else tta,
        )
        prediction = dataclasses.replace(answers, cleanup=settings.cleanup)
        view = _with_image(prediction, _view_of(image))
        self._change(prediction=prediction, view=view, doubts=doubts, truth=None, truth_source=None)


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
    least = round(prediction.cleanup.min_area_px * scale)
    smaller = dataclasses.replace(prediction.cleanup, min_area_px=least)
    return dataclasses.replace(prediction, image=view, cleanup=smaller)
