"""`predict` with DICOM results: series from files or from the archive, and back into it."""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING

from medseg.archive.address import SCHEME
from medseg.data.left_out import counted, left_out
from medseg.errors import MedsegError
from medseg.progress import Bar

if TYPE_CHECKING:
    from medseg.inference.batch import Settings
    from medseg.inference.ensemble import Ensemble
    from medseg.inference.prediction import Prediction
    from medseg.reading.series import Series


def predict_dicom(options: argparse.Namespace) -> None:
    """A result of each of `options.dicom` for each series; with `options.send` stored in the archive at once.

    A series or file that fails is named and the others go on; exit status 1 then. Results stay in `options.output`.
    """
    from medseg.commands.send import send_files
    from medseg.inference.batch import check
    from medseg.inference.ensemble import Ensemble
    from medseg.inference.pipeline import mapped

    ensemble, settings = Ensemble.from_pretrained(options.ensemble), settings_of(options)
    check(ensemble, settings)
    options.output.mkdir(parents=True, exist_ok=True)
    written: list[Path] = []
    failed: list[str] = []
    with ExitStack() as stack:
        own: dict[str, str] = {}
        stacks = list(_stacks(_files(options, stack, own), failed, own))
        results = mapped(
            lambda each: _segment(ensemble, *each, options, settings=settings), stacks, lambda result: result[1]
        )
        done = 0
        shown = Bar(results, desc="series", total=len(stacks))
        for (name, series, frames), (result, _, doubts) in zip(stacks, shown, strict=True):
            count = f"{len(doubts)} of {counted(len(frames), 'image')}"
            said = [f"unlike the training images: {count}, the first: {min(doubts)[1]}"] if doubts else []
            for note in (*series.notes, *said):
                print(f"series {name}: {note}", file=sys.stderr)
            if isinstance(result, MedsegError):
                failed.append(f"series {name}: {result}")
            else:
                written += result
                done += 1
    for sentence in failed:
        print(sentence, file=sys.stderr)
    print(f"{done} series segmented, {len(failed)} failed, {counted(len(written), 'file')} in {options.output}")
    if options.send and written:
        send_files(written)
    if failed:
        sys.exit(1)


def settings_of(options: argparse.Namespace) -> Settings:
    """How every image is segmented, as the command line says it."""
    from medseg.inference.batch import Settings

    weights = None if options.weights is None else tuple(options.weights)
    return Settings(weights, options.threshold, options.blend, options.tta)


def _files(options: argparse.Namespace, stack: ExitStack, own: dict[str, str]) -> Iterator[tuple[Path, int | None]]:
    """Each file, and its only wanted frame, counted from 0, where one was named; the names of the user's own files are
    put into `own` by path."""
    from medseg.inference.jobs import find_jobs
    from medseg.reading.studies import may_be_dicom

    local = [name for name in options.inputs if not name.startswith(SCHEME)]
    if local:
        aside: list[str] = []
        jobs = find_jobs(local, options.output, aside)
        stack.callback(jobs.clear)  # zips stay unpacked as long as their jobs
        other = [job for job in jobs if job.gathered and not may_be_dicom(job.path)]
        aside += [job.stem for job in other]
        own |= {str(job.path): job.path.stem for job in jobs if job.series is None}
        yield from ((path, None) for job in jobs if job not in other for path in job.files)
        say_left_out(aside)
    for name in options.inputs:
        if name.startswith(SCHEME):
            yield from _fetch(name, Path(stack.enter_context(tempfile.TemporaryDirectory())))


def say_left_out(names: list[str]) -> None:
    """Say the files that are no images, or no DICOM where that is wanted, or whose names no result can have."""
    from medseg.inference.jobs import LONGEST_NAME

    what = f"files that are no image, or whose name no result can have (not UTF-8, or over {LONGEST_NAME} bytes)"
    for entry in left_out(what, names):
        print(entry, file=sys.stderr)


def _fetch(name: str, folder: Path) -> list[tuple[Path, int | None]]:
    from medseg.archive.address import parse_address
    from medseg.archive.client import open_archive

    wanted = parse_address(name)
    with Bar(desc="fetching", unit="image") as bar:

        def show(done: int, total: int) -> None:
            bar.total = total
            bar.update(done - bar.n)

        fetched = open_archive().fetch(folder, wanted.study, wanted.series, wanted.instance, progress=show)
    if fetched.left_out:
        print(f"{fetched.left_out} instances hold no image, or are medseg's own, and are left out", file=sys.stderr)
    return [(path, None if wanted.frame is None else wanted.frame - 1) for path in fetched.paths]


def _stacks(
    files: Iterator[tuple[Path, int | None]], failed: list[str], own: dict[str, str]
) -> Iterator[tuple[str, Series, list[int]]]:
    """The name, slices and wanted frames of each stack of slices: of a series several where their size or direction
    differ. A single file of the user's has its `own` name, if no other has it, others have the UID of their series.
    What no result can refer to is put into `failed`, as its name and a sentence."""
    from medseg.reading.readers import read_source
    from medseg.reading.studies import stack_files

    groups: dict[str, list[tuple[Path, int | None]]] = {}
    for path, frame in files:
        try:
            (header, *_), _ = read_source(path, [frame or 0])
        except MedsegError as error:
            failed.append(f"{path.name}: {error}")
            continue
        groups.setdefault(header["0020000E"]["Value"][0], []).append((path, frame))
    for uid, members in groups.items():
        wanted = members[0][1]
        try:
            stacks = stack_files([str(path) for path, _ in members], films_apart=True)
        except MedsegError as error:
            failed.append(f"series {uid}: {error}")
            continue
        for number, series in enumerate(stacks, start=1):
            frames = list(range(series.frames)) if wanted is None else [wanted]
            name = own.get(series.slices[0].path, "") if len(series.slices) == 1 else ""
            if list(own.values()).count(name) != 1:
                name = uid if number == 1 else f"{uid}-{number}"
            yield name, series, frames


def _segment(
    ensemble: Ensemble,
    name: str,
    series: Series,
    frames: list[int],
    options: argparse.Namespace,
    *,
    settings: Settings,
) -> tuple[list[Path] | MedsegError, int, list[tuple[int, str]]]:
    """The files of one series, or why there are none, how many bytes its predictions took, and for each image that is
    unlike the training images its frame with the sentence that says so."""
    from medseg.export.results import without_image, write_results
    from medseg.inference.pipeline import mapped

    doubts: list[tuple[int, str]] = []

    def segment(frame: int) -> Prediction:
        prediction = ensemble.predict(series.read(frame), **vars(settings))
        if warnings := ensemble.domain_warnings(prediction.image):
            doubts.append((frame, " ".join(warnings)))
        ensemble.forget(prediction.image)
        return prediction if "capture" in options.dicom else without_image(prediction)

    size = 0
    try:
        predictions = list(mapped(segment, frames, lambda prediction: prediction.image.pixels.nbytes, ensemble.at_once))
        size = sum(each.image.pixels.nbytes for each in predictions)
        return write_results(predictions, [series] * len(frames), options.output / name, options.dicom), size, doubts
    except MedsegError as error:
        return error, size, doubts
