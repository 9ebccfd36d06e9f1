"""What one visitor has open: image, ensemble, settings, truth and result. No other visitor sees any of it."""

from __future__ import annotations

import dataclasses
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from medseg.app.server.upload_folder import result_path
from medseg.app.state.openings import openings
from medseg.app.state.scores import Curves, Scores
from medseg.app.state.view_state import OPACITY, ViewState
from medseg.calibration import judgement
from medseg.errors import InputError
from medseg.export.training_pair import write_pair
from medseg.image import Image
from medseg.inference.record import INSISTED
from medseg.reading.readers import read_file, read_mask_file

if TYPE_CHECKING:
    from medseg.app.state.contents import Content
    from medseg.app.state.editing import Editing
    from medseg.arrays import Masks, Threshold, Weight
    from medseg.calibration.calibrate import Calibration
    from medseg.config import Blend, EnsembleConfig
    from medseg.export.frames import Areas
    from medseg.inference.ensemble import Ensemble
    from medseg.inference.prediction import Prediction
    from medseg.inference.tta import Augmentation
    from medseg.reading.series import Series


class Session:
    """The newest `ViewState`, and how events replace it. A refused event leaves it as it was."""

    def __init__(self) -> None:
        self._now: ViewState | None = None
        self._changing = threading.Lock()
        self._closed = ""
        self.opened = 0  # how many files so far
        self.contents: tuple[Content, ...] = ()  # what the upload holds that the open image is of
        self.sent: tuple[object, int] | None = None  # the probabilities that the viewer has, and of which opening
        self.token = ""  # by which the viewer knows them
        self.sent_results = 0  # so far
        self.evidence = "Scores"
        self.scores = Scores()
        self.curves = Curves()
        self.wanted_label: str | None = None
        self.editing: Editing | None = None
        self.cancelled = threading.Event()
        self.stopped = threading.Event()  # ends the run over all frames

    def __deepcopy__(self, memo: object) -> Session:
        """A new session: Gradio makes each visitor's state as a copy of the page's."""
        return Session()

    @property
    def view_state(self) -> ViewState:
        """Raises InputError before the first image, and after the image was closed to make room."""
        now = self._now
        if now is None:
            raise InputError(self._closed or "No image is open yet: choose an example or drop a file first.")
        openings.use(self)
        return now

    @property
    def is_empty(self) -> bool:
        return self._now is None

    @property
    def label(self) -> str:
        """The label whose scores are drawn: the one that was asked for, where the ensemble has it, else its first."""
        labels = self.view_state.prediction.labels
        return self.wanted_label if self.wanted_label in labels else labels[0]

    def open(self, path: str | Path, ensemble: Ensemble, called: str = "") -> None:
        """Segment the image in the file `path`, which its visitor calls so."""
        self.take(read_file(path), Path(path), ensemble, called=called)

    def take(
        self,
        image: Image,
        source: Path | Series,
        ensemble: Ensemble,
        *,
        choice: str = "",
        called: str = "",
        name: str = "",
        withheld: bool = False,
        contents: tuple[Content, ...] = (),
    ) -> None:
        """As `open`, where the `image` has been read already, of an upload with these `contents`; `choice` and the rest
        are ViewState's."""
        prediction = self._predict(image, ensemble)
        with self._changing:
            self._show(prediction, ensemble)
            self._change(source=source, window=None, choice=choice, called=called, name=name, withheld=withheld)
            self.contents = contents
            self.opened += 1

    def look_again(self, frame: int, window: tuple[float, float] | None) -> None:
        """Segment `frame` (counted from 0) of the open file through `window`, at the same settings; a truth is that of
        its frame. Raises InputError where the file is no longer kept."""
        before = self.view_state
        if not before.path.exists():
            raise InputError("The image's file is no longer kept here: drop it again.")
        image = read_file(before.source, frame=frame, window=window)
        image = _noted(image, INSISTED in before.prediction.image.notes)
        prediction = self._predict(image, before.ensemble)
        with self._changing:
            now = self.view_state
            if (
                now.source is not before.source or now.ensemble is not before.ensemble
            ):  # something else was opened meanwhile
                return
            self._show(prediction, now.ensemble)
            self._change(source=now.source, window=window, choice=now.choice)
            if frame == now.prediction.image.frame:
                self._change(truth=now.truth, truth_source=now.truth_source)

    def change_ensemble(self, ensemble: Ensemble, *, insists: bool = False) -> None:
        """Segment the open image with another ensemble, though it `insists` on one that is not made for the image; a
        truth for other labels is dropped."""
        image = self.view_state.prediction.image
        prediction = self._predict(_noted(image, insists), ensemble)
        with self._changing:
            before = self.view_state
            if before.prediction.image is not image:  # another image was opened meanwhile
                return
            self._show(prediction, ensemble)
            self._change(source=before.source, window=before.window, called=before.called, name=before.name)
            if before.truth is not None and len(before.truth) == len(ensemble.config.labels):
                self._change(truth=before.truth, truth_source=before.truth_source)

    def insist(self) -> None:
        """Show the mask of an image that no ensemble is made for; a note says so from here on, in every export."""
        with self._changing:
            prediction = self.view_state.prediction
            prediction = dataclasses.replace(prediction, image=_noted(prediction.image, True))
            view = _with_image(prediction, _view_of(prediction.image))
            self._change(prediction=prediction, view=view, withheld=False)

    def remix(
        self, weights: Sequence[Weight], threshold: Threshold, opacity: float, blend: Blend | None = None
    ) -> ViewState:
        """Blend again from the kept probabilities, as before where `blend` is None; no network runs. Returns the state
        that this made, which another event may have replaced already."""
        with self._changing:
            before = self.view_state
            prediction = before.prediction.remix(weights=weights, threshold=threshold, blend=blend)
            if not 0 <= opacity <= 1:
                raise InputError(f"The opacity must lie between 0 and 1, got {opacity:g}.")
            view = _with_image(prediction, before.view.image)
            return self._change(prediction=prediction, view=view, weights=tuple(weights), opacity=opacity)

    def take_fit(self, settings: EnsembleConfig, calibration: Calibration | None) -> None:
        """Blend by the weights and cut-off of a fit to the visitor's own images, and trust by its calibration."""
        weights = [member.weight for member in settings.members]
        self.remix(weights, settings.threshold, self.view_state.opacity, settings.blend)
        with self._changing:
            self._change(own_calibration=calibration)

    def drop_pieces(self, min_area_px: int) -> None:
        """Drop components under `min_area_px` pixels of the image's own grid, in place of the ensemble's own bound."""
        with self._changing:
            before = self.view_state.prediction
            cleanup = dataclasses.replace(before.cleanup, min_area_px=min_area_px)
            prediction = dataclasses.replace(before, cleanup=cleanup)
            self._change(prediction=prediction, view=_with_image(prediction, self.view_state.view.image))

    def average_over(self, tta: Augmentation) -> None:
        """Run the networks on the open image's flips too, or on the image alone again; sliders stay."""
        before = self.view_state
        run = before.ensemble.predict(before.prediction.image, tta=tta)  # the slow part, outside the lock
        with self._changing:
            now = self.view_state
            if now.prediction.image is before.prediction.image and now.ensemble is before.ensemble:
                members, stacked = run.members, run.stacked
                prediction = dataclasses.replace(now.prediction, tta=run.tta, members=members, stacked=stacked)
                self._change(prediction=prediction, view=_with_image(prediction, now.view.image))

    def draw(self, hidden: frozenset[str], rate: float | None) -> None:
        """Draw all labels but `hidden`, and the bounds of the calibration at `rate`."""
        with self._changing:
            self._change(hidden=hidden, rate=rate)

    def add_truth(self, path: str | Path, source: str) -> ViewState:
        """Take the true mask from a file, which must fit the open image. Returns the state that has it."""
        before = self.view_state
        image, labels = before.prediction.image, before.ensemble.config.labels
        masks = read_mask_file(path, labels, like=image)
        self.editing = None
        return self.set_truth(image, masks, source)

    def set_truth(self, image: Image, masks: Masks | None, source: str | None) -> ViewState:
        """Take `masks` (K, H, W) as the truth of the open image, or none, if it is still `image`; returns the state of
        now."""
        with self._changing:
            now = self.view_state
            if now.prediction.image is not image:  # another image was opened meanwhile
                return now
            return self._change(truth=masks, truth_source=source)

    def segment_frames(self, progress: Callable[[int, int], None]) -> tuple[list[Areas], Path]:
        """The areas in every frame of the open file, at the settings of now, and the zip of their masks; no areas where
        the visitor stopped it or opened another image."""
        from medseg.export.frames import segment_frames  # which imports torch

        self.stopped.clear()
        begun, target = self.view_state, result_path("medseg-frames.zip", self)

        def is_over() -> bool:
            return self.stopped.is_set() or self.view_state.source is not begun.source

        settings: dict[str, Any] = {"window": begun.window, "progress": progress, "cancelled": is_over}
        return segment_frames(begun.source, begun.segment, target, **settings), target

    def write_pair(self, masks: Masks) -> Path:
        """The open image with `masks` (K, H, W) as a zip that training reads."""
        prediction = self.view_state.prediction
        path = result_path(f"medseg-pair-{prediction.image.sha256[:12]}.zip", self)
        write_pair(prediction.image, masks, prediction.labels, path)
        return path

    def close(self, reason: str) -> None:
        """Let go of the image; who asks for it reads the `reason`. It takes no lock, as two may close each other."""
        self._now, self._closed = None, reason

    def _predict(self, image: Image, ensemble: Ensemble) -> Prediction:
        """Run the networks once, at the present settings of this ensemble. It is slow, so no lock is held: sliders stay
        alive, and `_show` sets what they changed meanwhile."""
        now = self._now
        return now.segment(image) if now is not None and now.ensemble is ensemble else ensemble.predict(image)

    def _change(self, **changes: Any) -> ViewState:
        return self._set(dataclasses.replace(self.view_state, **changes))

    def _set(self, now: ViewState) -> ViewState:
        self._now = now
        openings.note(self, now.nbytes)
        return now

    def _show(self, prediction: Prediction, ensemble: Ensemble) -> None:
        """Show `prediction` at the settings of now, or as it is where the ensemble is another one."""
        before, image = self._now, prediction.image
        domain_warnings = tuple(ensemble.domain_warnings(image))
        if before is None or before.ensemble is not ensemble:
            opacity = OPACITY if before is None else before.opacity
            view = _with_image(prediction, _view_of(image))
            calibration = judgement.calibration_of(ensemble)
            self._set(ViewState(ensemble, prediction, view, ensemble.weights, calibration, domain_warnings, opacity))
            return
        settings = {name: getattr(before.prediction, name) for name in ("weights", "threshold", "blend", "cleanup")}
        prediction = dataclasses.replace(prediction, **settings)
        view = _with_image(prediction, _view_of(image))
        self._change(prediction=prediction, view=view, domain_warnings=domain_warnings, truth=None, truth_source=None)


def _noted(image: Image, insisted: bool) -> Image:
    """`image` with the note INSISTED, or without it."""
    if insisted == (INSISTED in image.notes):
        return image
    others = tuple(note for note in image.notes if note != INSISTED)
    return dataclasses.replace(image, notes=(*others, INSISTED) if insisted else others)


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
