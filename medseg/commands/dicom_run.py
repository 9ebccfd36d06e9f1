"""`predict` with DICOM results: series from files or from the archive, and back into it."""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING

from tqdm import tqdm

from medseg.errors import InputError, MedsegError

if TYPE_CHECKING:
    from medseg.inference.ensemble import Ensemble
    from medseg.inference.prediction import Prediction

SCHEME = "dicomweb://"


def predict_dicom(options: argparse.Namespace) -> None:
    """A result of each of `options.dicom` for each series; with `options.send` stored in the archive at once.

    A series that fails is named and the others go on; exit status 1 then. Results stay in `options.output`.
    """
    from medseg.commands.send import send_files
    from medseg.export.results import write_results
    from medseg.inference.ensemble import Ensemble

    ensemble = Ensemble.from_pretrained(options.ensemble)
    options.output.mkdir(parents=True, exist_ok=True)
    written: list[Path] = []
    failed = 0
    with ExitStack() as stack:
        groups = _by_series(_files(options, stack))
        for uid, paths in tqdm(groups.items(), desc="series"):
            try:
                predictions, sources = _segment(ensemble, paths, options)
                written += write_results(predictions, sources, options.output / uid, options.dicom)
            except MedsegError as error:
                print(f"series {uid}: {error}", file=sys.stderr)
                failed += 1
    print(f"{len(groups) - failed} of {len(groups)} series segmented, {len(written)} files in {options.output}")
    if options.send and written:
        send_files(written)
    if failed:
        sys.exit(1)


def _files(options: argparse.Namespace, stack: ExitStack) -> Iterator[Path]:
    from medseg.inference.batch import find_jobs

    local = [name for name in options.inputs if not name.startswith(SCHEME)]
    if local:
        yield from (job.path for job in find_jobs(local, options.output))
    for name in options.inputs:
        if name.startswith(SCHEME):
            yield from _fetch(name, Path(stack.enter_context(tempfile.TemporaryDirectory())))


def _fetch(name: str, folder: Path) -> list[Path]:
    from medseg.archive.client import open_archive

    study, *rest = name.removeprefix(SCHEME).rstrip("/").split("/")
    if len(rest) > 1:
        raise InputError(f"{SCHEME}STUDY or {SCHEME}STUDY/SERIES is wanted, each a UID.")
    with tqdm(desc="fetching", unit="image") as bar:

        def show(done: int, total: int) -> None:
            bar.total, bar.n = total, done
            bar.refresh()

        fetched = open_archive().fetch(folder, study, rest[0] if rest else None, progress=show)
    if fetched.left_out:
        print(f"{fetched.left_out} instances hold no image and are left out", file=sys.stderr)
    return fetched.paths


def _by_series(paths: Iterator[Path]) -> dict[str, list[Path]]:
    """The files of each series by its UID. Raises ReadError, with the file's name, for one that is no DICOM."""
    from medseg.reading.readers import read_source

    groups: dict[str, list[Path]] = {}
    for path in paths:
        try:
            (header, *_), _ = read_source(path, [0])
        except MedsegError as error:
            raise InputError(f"{path.name}: {error}") from error
        groups.setdefault(header["0020000E"]["Value"][0], []).append(path)
    return groups


def _segment(ensemble: Ensemble, paths: list[Path], options: argparse.Namespace) -> tuple[list[Prediction], list[Path]]:
    """Every frame's prediction, and the file of each."""
    from medseg.reading.readers import count_frames, read_image

    weights = None if options.weights is None else tuple(options.weights)
    settings = {"weights": weights, "threshold": options.threshold, "blend": options.blend, "tta": options.tta}
    places = [(path, frame) for path in paths for frame in range(count_frames(path))]
    images = (read_image(path, frame=frame) for path, frame in places)
    return [ensemble.predict(image, **settings) for image in images], [path for path, _ in places]
