"""Weights and threshold chosen on a visitor's own labelled images, and what they are worth."""

from __future__ import annotations

import dataclasses
import os
import tempfile
import threading
import warnings
import zipfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Literal, TypeAlias

from medseg import schema
from medseg.app.render.gain import Gain, dice_before, most_gained
from medseg.app.server.upload_folder import result_path, visitors_folder
from medseg.app.state.uploaded_files import UploadedFile, unique
from medseg.errors import InputError, MedsegWarning
from medseg.hub.folders import CALIBRATION
from medseg.reading.archive import unpack_into, without_wrapper

if TYPE_CHECKING:
    from medseg.calibration.calibrate import Calibration
    from medseg.config import EnsembleConfig
    from medseg.data.manifest import Sample
    from medseg.fitting.fit import Choice, Fit
    from medseg.fitting.observations import Observation
    from medseg.inference.ensemble import Ensemble

MAX_IMAGES = 200
"""Most images of one fit: minutes of a processor's time."""

MAX_KEPT = 2**29
"""Most bytes of probabilities kept of them, which calibrating needs: fewer images of many members or labels."""

MAX_UNPACKED = 2**30

Step: TypeAlias = tuple[Literal["models", "weights", "trust"], int, int]
"""What has got so far: how many steps of how many."""


@dataclasses.dataclass(frozen=True)
class Outcome:
    """What came of a fit to so many `images`. `settings` is ensemble.json with the recommended choice; `calibration` is
    of that choice, on the same images by cross-fitting, None where they are fewer than three cases. `before` is their
    mean Dice at the ensemble's own settings (None for a stacker); `gained` shows the image that gains most, None where
    none gains."""

    ensemble: Ensemble
    fit: Fit
    settings: EnsembleConfig
    calibration: Calibration | None
    images: int
    before: float | None
    gained: Gain | None

    @property
    def choice(self) -> Choice:
        return self.fit.choice(self.fit.recommended)


class DataFit:
    """One visitor's fit. `cancelled` ends the one that runs."""

    def __init__(self) -> None:
        self.outcome: Outcome | None = None
        self.division = ""
        """Which of the images are fitted to, and why."""
        self.doubts: tuple[str, ...] = ()
        """What was left out of them, or is doubtful about them."""
        self.cancelled = threading.Event()

    def __deepcopy__(self, memo: object) -> DataFit:
        """A new one: Gradio makes each visitor's state as a copy of the page's."""
        return DataFit()

    def run(self, ensemble: Ensemble, images: Sequence[UploadedFile], masks: Sequence[UploadedFile]) -> Iterator[Step]:
        """Fit the members of `ensemble` to images and masks of the same names, or to one zip of images/ and masks/, and
        calibrate what is recommended; `outcome` is there at the end.

        Where the zip has a splits.json its val part is used, else all images. What was sent is copied nowhere that
        outlives the fit. Raises InputError for what cannot be paired, more than MAX_IMAGES or a cancelled fit,
        ReadError for a file that cannot be read.
        """
        from medseg.fitting.fit import fit
        from medseg.fitting.observations import observe

        self.cancelled.clear()
        with tempfile.TemporaryDirectory(dir=visitors_folder()) as folder:
            labels = ensemble.config.labels
            arranged = _arranged(images, masks, Path(folder) / "The upload")
            samples, self.division, self.doubts = _samples(arranged, labels)
            _require_room(ensemble, len(samples))
            yield "models", 0, len(samples)
            observed = []
            for image in observe(ensemble.members, samples):
                observed.append(image)
                self._go_on()
                yield "models", len(observed), len(samples)
            yield "weights", 0, 1
            fitted = fit(observed)
            self._go_on()
            yield "trust", 0, 1
            settings = _settings(ensemble, fitted, samples)
            calibration = self._calibrate(ensemble, settings, observed)
            before = dice_before(ensemble, observed)
            gained = most_gained(ensemble, fitted.choice(fitted.recommended), observed, before)
        mean = None if before is None else float(before.mean())
        self.outcome = Outcome(ensemble, fitted, settings, calibration, len(samples), mean, gained)

    def newest(self, ensemble: Ensemble) -> Outcome:
        """The outcome. Raises InputError where it is of another ensemble, or there is none."""
        if self.outcome is None or self.outcome.ensemble is not ensemble:
            raise InputError("There are no weights for the ensemble of “Image” yet: fit it first.")
        return self.outcome

    def write(self) -> Path:
        """A zip of ensemble.json with the recommended weights and cut-off, to stand in place of the ensemble's own, and
        calibration.json, to lie beside it."""
        if self.outcome is None:
            raise InputError("There is nothing to save yet: fit first.")
        path = result_path("medseg-fit.zip", self)
        for name, content in (("ensemble.json", self.outcome.settings), (CALIBRATION, self.outcome.calibration)):
            if content is not None:
                schema.dump(content, path.with_name(name))
        with zipfile.ZipFile(path, "w") as archive:
            for file in path.parent.glob("*.json"):
                archive.write(file, file.name)
        return path

    def _calibrate(
        self, ensemble: Ensemble, settings: EnsembleConfig, observed: Sequence[Observation]
    ) -> Calibration | None:
        """None where the cases are too few."""
        from medseg.calibration.calibrate import calibrate
        from medseg.inference.ensemble import Ensemble

        chosen = Ensemble(settings, ensemble.members, stacker=ensemble.stacker)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", MedsegWarning)  # of what the cases are too few for: the page says it
            try:
                return calibrate(chosen, observed, _called(observed), progress=lambda done, total: self._go_on())
            except InputError:
                self._go_on()
                return None

    def _go_on(self) -> None:
        if self.cancelled.is_set():
            raise InputError("The fit was stopped, and nothing has changed.")


def _arranged(images: Sequence[UploadedFile], masks: Sequence[UploadedFile], folder: Path) -> Path:
    """The folder with images/ and masks/."""
    is_zip = [file.name.lower().endswith(".zip") for file in [*images, *masks]]
    if is_zip == [True] and images:
        try:
            unpack_into(folder, images[0].path, 4 * MAX_IMAGES, MAX_UNPACKED)
        except InputError as error:
            raise InputError(str(error).replace(images[0].path.name, "The zip")) from None
        return without_wrapper(folder)
    if any(is_zip) or not images or not masks:
        raise InputError("Wanted images and their masks, of the same names, or one zip with images/ and masks/ in it.")
    for name, files in (("images", images), ("masks", masks)):
        (folder / name).mkdir(parents=True)
        for file, place in zip(files, unique([file.name for file in files]), strict=True):
            os.link(file.path, folder / name / place)
    return folder


def _samples(root: Path, labels: Sequence[str]) -> tuple[list[Sample], str, tuple[str, ...]]:
    """The samples to fit to, why these, and what is left out or doubtful. Pairs or masks by class alone: other layouts
    may name files anywhere, which a visitor shall not."""
    from medseg.data.division import with_labels
    from medseg.data.layouts.pairs import is_class_folders
    from medseg.data.samples import load_data, select
    from medseg.data.verify import check_split

    layout = "class-folders" if is_class_folders(root) else "pairs"
    loaded = with_labels(load_data(root, layout=layout, divide=False, quiet=True), labels)
    fitted = loaded.samples
    divided = any(sample.split for sample in fitted)
    chosen = select(fitted, "val") if divided else [dataclasses.replace(sample, split="val") for sample in fitted]
    division = (
        f"Your files name a division: weights are chosen on its val part, {len(chosen)} of {len(fitted)} images."
        if divided
        else f"Your files name no division, so weights are chosen on all {len(chosen)} images."
    )
    if len(chosen) > MAX_IMAGES:
        raise InputError(
            f"These are {len(chosen)} images, and here up to {MAX_IMAGES} are fitted to: send fewer, or use "
            "`medseg fit`."
        )
    doubts = check_split(fitted if divided else chosen, labels, "val", marked=True)
    return chosen, division, tuple(map(str, (*loaded.left_out, *doubts)))


def _require_room(ensemble: Ensemble, images: int) -> None:
    from medseg.fitting.observations import SEARCH_SIDE

    most = MAX_KEPT // (2 * len(ensemble.members) * len(ensemble.config.labels) * SEARCH_SIDE**2)
    if images > most:
        raise InputError(
            f"These are {images} images, and of an ensemble of {len(ensemble.members)} models and "
            f"{len(ensemble.config.labels)} labels up to {most} are fitted to here: send fewer, or use `medseg fit`."
        )


def _settings(ensemble: Ensemble, fitted: Fit, samples: Sequence[Sample]) -> EnsembleConfig:
    chosen = fitted.choice(fitted.recommended)
    weighed = zip(ensemble.config.members, chosen.written, strict=True)
    members = tuple(dataclasses.replace(member, weight=weight) for member, weight in weighed)
    return dataclasses.replace(
        ensemble.config,
        members=members,
        threshold=chosen.threshold,
        blend="weighted mean",
        fitted=fitted.record(ensemble.names, samples, _called(samples)),
    )


def _called(images: Sequence[object]) -> str:
    return f"{len(images)} uploaded images"
