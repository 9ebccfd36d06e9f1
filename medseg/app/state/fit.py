"""Weights and threshold chosen on a visitor's own labelled images, and what they are worth."""

from __future__ import annotations

import dataclasses
import os
import tempfile
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from medseg import schema
from medseg.app.server.upload_folder import result_path, visitors_folder
from medseg.app.state.uploaded_files import UploadedFile, unique
from medseg.errors import InputError
from medseg.reading.archive import unpack_into, without_wrapper

if TYPE_CHECKING:
    from medseg.config import EnsembleConfig
    from medseg.data.manifest import Sample
    from medseg.fitting.fit import Choice, Fit
    from medseg.inference.ensemble import Ensemble

MAX_IMAGES = 200
"""Most images of one fit: minutes of a processor's time, and at most 13 MB of histograms."""

MAX_UNPACKED = 2**30


class DataFit:
    """One visitor's newest fit. `cancelled` ends the one that runs."""

    def __init__(self) -> None:
        self._now: tuple[Ensemble, Fit, EnsembleConfig] | None = None
        self.doubts: tuple[str, ...] = ()
        """What was left out of the images of the newest fit, or is doubtful about them."""
        self.cancelled = threading.Event()

    def __deepcopy__(self, memo: object) -> DataFit:
        """A new one: Gradio makes each visitor's state as a copy of the page's."""
        return DataFit()

    def run(
        self,
        ensemble: Ensemble,
        images: Sequence[UploadedFile],
        masks: Sequence[UploadedFile],
        progress: Callable[[int, int], None] = lambda done, total: None,
    ) -> Fit:
        """Fit the members of `ensemble` to images and masks of the same names, or to one zip of images/ and masks/.

        Where the zip has a splits.json its val part is used, else all images. What was sent is copied nowhere that
        outlives the fit. Raises InputError for what cannot be paired, more than MAX_IMAGES or a cancelled fit,
        ReadError for a file that cannot be read.
        """
        from medseg.fitting.fit import fit
        from medseg.fitting.observations import observe

        self.cancelled.clear()

        def step(done: int, total: int) -> None:
            if self.cancelled.is_set():
                raise InputError("The fit was stopped, and nothing has changed.")
            progress(done, total)

        with tempfile.TemporaryDirectory(dir=visitors_folder()) as folder:
            labels = ensemble.config.labels
            samples, doubts = _samples(_arranged(images, masks, Path(folder) / "The upload"), labels)
            fitted = fit(observe(ensemble.members, samples, progress=step))
        self._now = (ensemble, fitted, _settings(ensemble, fitted, samples))
        self.doubts = doubts
        return fitted

    def choice(self, ensemble: Ensemble) -> Choice:
        """The recommended weights and threshold. Raises InputError where they are of another ensemble, or of none."""
        if self._now is None or self._now[0] is not ensemble:
            raise InputError("There are no weights for the ensemble of “Image” yet: fit it first.")
        return self._now[1].choice(self._now[1].recommended)

    def write(self) -> Path:
        """ensemble.json with the recommended weights and threshold, to stand in place of the ensemble's own."""
        if self._now is None:
            raise InputError("There is nothing to save yet: fit first.")
        path = result_path("ensemble.json", self)
        schema.dump(self._now[2], path)
        return path


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


def _samples(root: Path, labels: Sequence[str]) -> tuple[list[Sample], tuple[str, ...]]:
    """The samples to fit to, and what is left out or doubtful. Pairs or masks by class alone: other layouts may name
    files anywhere, which a visitor shall not."""
    from medseg.data.division import with_labels
    from medseg.data.layouts.pairs import is_class_folders
    from medseg.data.samples import load_data, select
    from medseg.data.verify import check_split

    layout = "class-folders" if is_class_folders(root) else "pairs"
    loaded = with_labels(load_data(root, layout=layout, divide=False, quiet=True), labels)
    fitted = loaded.samples
    divided = any(sample.split for sample in fitted)
    chosen = select(fitted, "val") if divided else [dataclasses.replace(sample, split="val") for sample in fitted]
    if len(chosen) > MAX_IMAGES:
        raise InputError(
            f"These are {len(chosen)} images, and here up to {MAX_IMAGES} are fitted to: send fewer, or use "
            "`medseg fit`."
        )
    doubts = check_split(fitted if divided else chosen, labels, "val", marked=True)
    return chosen, tuple(map(str, (*loaded.left_out, *doubts)))


def _settings(ensemble: Ensemble, fitted: Fit, samples: Sequence[Sample]) -> EnsembleConfig:
    chosen = fitted.choice(fitted.recommended)
    weighed = zip(ensemble.config.members, chosen.written, strict=True)
    members = tuple(dataclasses.replace(member, weight=weight) for member, weight in weighed)
    return dataclasses.replace(
        ensemble.config,
        members=members,
        threshold=chosen.threshold,
        blend="weighted mean",
        fitted=fitted.record(ensemble.names, samples, f"{len(samples)} uploaded images"),
    )
