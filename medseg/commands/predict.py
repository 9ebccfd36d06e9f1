"""The commands that segment images, and that check what was segmented: predict, replay."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from medseg.archive.address import SCHEME
from medseg.commands.dicom_run import predict_dicom, say_left_out, settings_of
from medseg.errors import InputError
from medseg.places import NAMED
from medseg.progress import Bar

if TYPE_CHECKING:
    from medseg.arrays import Threshold
    from medseg.inference.jobs import Job

KINDS = ("seg", "label-map", "probabilities", "capture", "map")
"""As `medseg.export.results.KINDS`, which is imported when it is needed; a test compares them."""

_INPUT = f"file, folder or pattern such as 'films/*.dcm'; {SCHEME}STUDY/SERIES/INSTANCE/FRAME of the archive, or less"


def add(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    predict = commands.add_parser("predict", help="segment files, folders or patterns; continues where it was stopped")
    predict.add_argument("ensemble", help=NAMED)
    predict.add_argument("inputs", nargs="+", metavar="INPUT", help=_INPUT)
    predict.add_argument(
        "--output",
        type=Path,
        default=Path("medseg-results"),
        help="folder for masks, reports and results.csv (default: medseg-results)",
    )
    predict.add_argument("--weights", nargs="+", type=float, metavar="W", help="one for each member (default: fitted)")
    predict.add_argument(
        "--threshold",
        type=_threshold,
        metavar="T[,T…]",
        help="probability from which a pixel counts; 0.5,0.3: one for each label, where labels may overlap "
        "(default: fitted)",
    )
    predict.add_argument("--blend", help="how the members are combined (default: the ensemble's)")
    predict.add_argument("--tta", action="store_true", help="average over flips: slower, often a little better")
    predict.add_argument("--ray", action="store_true", help="as a Ray Data job over the machines of a cluster")
    predict.add_argument(
        "--dicom", nargs="+", choices=KINDS, default=[], metavar="KIND", help=f"DICOM results alone: {', '.join(KINDS)}"
    )
    predict.add_argument("--send", action="store_true", help="store the DICOM results in the archive (default: seg)")
    predict.set_defaults(run=_predict)
    replay = commands.add_parser("replay", help="segment again as a report says; status 1 where anything differs")
    replay.add_argument("report", type=Path, help="JSON report of `predict` or of the page")
    replay.add_argument("image", type=Path, help="the image's file")
    replay.add_argument("--ensemble", help=f"{NAMED} (default: the report's own Hub id)")
    replay.add_argument("--mask", type=Path, help="mask of that time, for a Dice (default: the one `predict` left)")
    replay.set_defaults(run=_replay)


def _predict(options: argparse.Namespace) -> None:
    """Exit status 1 where a file failed; under `accelerate launch` each process takes its share of the files."""
    if options.dicom or options.send or any(name.startswith(SCHEME) for name in options.inputs):
        options.dicom = options.dicom or ["seg"]
        predict_dicom(options)
        return
    from medseg.inference.batch import check, predict_jobs, refuse_other_results, write_table
    from medseg.inference.ensemble import Ensemble
    from medseg.inference.jobs import find_jobs
    from medseg.inference.ray import predict_on_cluster

    number, count, finish = _share()
    settings = settings_of(options)
    ensemble = Ensemble.from_pretrained(options.ensemble, device=_device() if count > 1 else None)
    check(ensemble, settings)
    aside: list[str] = []
    jobs = find_jobs(options.inputs, options.output, aside)
    mine = jobs[number::count]
    refuse_other_results(ensemble, settings, options.output)
    if number == 0:
        say_left_out(aside)
        _name_series(jobs)
    options.output.mkdir(parents=True, exist_ok=True)
    with Bar(total=len(mine), desc="segmenting") as bar:
        if options.ray:
            predict_on_cluster(options.ensemble, mine, options.output, settings, bar.update)
        else:
            predict_jobs(ensemble, mine, options.output, settings, bar.update)
    finish()
    if number == 0:
        done, failed = write_table(jobs, options.output)
        print(f"{done} of {len(jobs)} files segmented, {failed} failed: {options.output / 'results.csv'}")
        if failed:
            sys.exit(1)


def _threshold(text: str) -> Threshold:
    """`0.5`, or `0.5,0.3` for two labels. Raises ArgumentTypeError for what is no number."""
    try:
        first, *others = map(float, text.split(","))
    except ValueError:
        raise argparse.ArgumentTypeError(f"wanted a number, or one each as in 0.5,0.3, got {text!r}") from None
    return (first, *others) if others else first


def _name_series(jobs: Sequence[Job]) -> None:
    """Say which files are taken as one stack, and what is missing or doubled in it."""
    for job in jobs:
        if job.series:
            print(f"{job.stem}: {job.series.title}")
            for note in job.series.notes:
                print(f"note: {job.stem}: {note}", file=sys.stderr)


def _share() -> tuple[int, int, Callable[[], object]]:
    """(number of this process, number of processes, what waits for them all): (0, 1, nothing) but under a launcher,
    which alone needs torch."""
    if int(os.environ.get("WORLD_SIZE", "1")) == 1:
        return 0, 1, lambda: None
    from accelerate import PartialState

    state = PartialState()
    return state.process_index, state.num_processes, state.wait_for_everyone


def _device() -> str:
    """The device that the launcher gave this process."""
    from accelerate import PartialState

    return str(PartialState().device)


def _replay(options: argparse.Namespace) -> None:
    """Exit status 1 where image, models or mask are other ones."""
    from medseg.inference.ensemble import Ensemble
    from medseg.inference.replay import hub_source, load_report, replay

    report = load_report(options.report)
    source = options.ensemble or hub_source(report)
    if source is None:
        raise InputError(f"{options.report.name} comes from a folder's ensemble: name that folder with --ensemble.")
    beside = options.report.with_suffix(".png")
    mask = options.mask or (beside if beside.is_file() else None)
    differences = replay(report, options.image, Ensemble.from_pretrained(source), mask)
    for sentence in (*differences.differences, *differences.remarks):
        print(sentence)
    if differences.differences:
        sys.exit(1)
    said = f"identical: the same image, models, mask (sha256 {report['masks_sha256']}) and areas"
    print(f"{said}; nothing else is compared")
