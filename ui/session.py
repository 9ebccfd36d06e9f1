"""What one visitor has open: picture, ensemble, settings, truth and result. No other visitor sees any of it."""

from __future__ import annotations

import dataclasses
import shutil
import tempfile
import threading
import weakref
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from medseg import export
from medseg.errors import InputError
from medseg.image import Image
from medseg.readers import read_image, read_masks
from ui.figures import Scores

if TYPE_CHECKING:
    from medseg.arrays import Masks, Weight
    from medseg.config import Blend
    from medseg.ensemble import Ensemble, Prediction
    from medseg.frames import Areas

OPACITY = 0.3


@dataclasses.dataclass(frozen=True, eq=False)
class Shown:
    """One state of the page, whole: a handler takes it once and is not disturbed by what follows.

    `view` is `prediction` on the working grid, what a screen can show. `weights` are the sliders' own values, before
    they are normalised, or an ensemble's own for each label, of which the sliders show the mean. `truth` (K, H, W) and
    `truth_source` are None where no truth is known. `path` is the picture's file, `window` the (centre, width) that the
    visitor looks through, None for what the file says. `choice` is why the page took this ensemble, "" where it didn't.
    """

    ensemble: Ensemble
    prediction: Prediction
    view: Prediction
    weights: tuple[Weight, ...]
    opacity: float = OPACITY
    truth: Masks | None = None
    truth_source: str | None = None
    path: Path = Path()
    window: tuple[float, float] | None = None
    choice: str = ""

    @property
    def sliders(self) -> tuple[float, ...]:
        """Where the members' sliders stand."""
        return tuple(round(float(np.mean(weight)), 2) for weight in self.weights)

    def segment(self, image: Image) -> Prediction:
        """Another image, at the settings of this one."""
        before = self.prediction
        return self.ensemble.predict(image, weights=self.weights, threshold=before.threshold, blend=before.blend)


class Session:
    """The newest `Shown`, and how events replace it. A refused event leaves it as it was."""

    def __init__(self) -> None:
        self._now: Shown | None = None
        self._changing = threading.Lock()
        self._downloads: Path | None = None
        self.opened = 0  # how many files so far
        self.tab = "Overlay"
        self.scores = Scores()
        self.cancelled = threading.Event()
        self.stopped = threading.Event()  # ends the run over all frames

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

    def open(self, path: str | Path, ensemble: Ensemble) -> None:
        """Segment the picture in the file `path`."""
        self.take(read_image(path), Path(path), ensemble)

    def take(self, image: Image, path: Path, ensemble: Ensemble, choice: str = "") -> None:
        """As `open`, where the `image` has been read already; `choice` is why the page chose this ensemble for it."""
        ensemble.predict(image)  # the slow part, outside the lock: sliders stay alive, and the answers are kept
        with self._changing:
            self._show(image, ensemble)
            self._change(path=path, window=None, choice=choice)
            self.opened += 1

    def look_again(self, frame: int, window: tuple[float, float] | None) -> None:
        """Segment `frame` (counted from 0) of the open file through `window`, at the same settings; a truth is that of
        its frame. Raises InputError where the file is no longer kept."""
        before = self.shown
        if not before.path.exists():
            raise InputError("The picture's file is no longer kept here: drop it again.")
        image = read_image(before.path, frame=frame, window=window)
        before.ensemble.predict(image)
        with self._changing:
            now = self.shown
            if now.path is not before.path:  # another picture was opened meanwhile
                return
            self._show(image, now.ensemble)
            self._change(path=now.path, window=window, choice=now.choice)
            if frame == now.prediction.image.frame:
                self._change(truth=now.truth, truth_source=now.truth_source)

    def change_ensemble(self, ensemble: Ensemble) -> None:
        """Segment the open picture with another ensemble; a truth for other labels is dropped."""
        image = self.shown.prediction.image
        ensemble.predict(image)
        with self._changing:
            before = self.shown
            self._show(before.prediction.image, ensemble)
            self._change(path=before.path, window=before.window)
            if before.truth is not None and len(before.truth) == len(ensemble.config.labels):
                self._change(truth=before.truth, truth_source=before.truth_source)

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
        masks = read_masks(path, labels, like=image)
        with self._changing:
            if self.shown.prediction.image is image:  # else another picture was opened meanwhile
                self._change(truth=masks, truth_source=source)

    def segment_frames(self, progress: Callable[[int, int], None]) -> tuple[list[Areas], Path]:
        """The areas in every frame of the open file, at the settings of now, and the zip of their masks; no areas where
        the visitor stopped it or opened another picture."""
        from medseg.frames import segment_frames  # which imports torch

        self.stopped.clear()
        begun, target = self.shown, self._folder() / "medseg-frames.zip"

        def is_over() -> bool:
            return self.stopped.is_set() or self.shown.path is not begun.path

        settings: dict[str, Any] = {"window": begun.window, "progress": progress, "cancelled": is_over}
        return segment_frames(begun.path, begun.segment, target, **settings), target

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

    def _change(self, **changes: Any) -> None:
        self._now = dataclasses.replace(self.shown, **changes)

    def _show(self, image: Image, ensemble: Ensemble) -> None:
        before = self._now
        kept = before if before is not None and before.ensemble is ensemble else None
        prediction = ensemble.predict(image) if kept is None else kept.segment(image)
        self._now = Shown(
            ensemble=ensemble,
            prediction=prediction,
            view=_with_image(prediction, _view_of(image)),
            weights=ensemble.weights if kept is None else kept.weights,
            opacity=OPACITY if before is None else before.opacity,
        )


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
