"""The command that segments pictures: predict."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from tqdm import tqdm


def add(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    predict = commands.add_parser("predict", help="segment files, folders or patterns; continues where it was stopped")
    predict.add_argument("ensemble", help="ensemble or member folder, or its Hub id")
    predict.add_argument("inputs", nargs="+", metavar="INPUT", help="file, folder or pattern such as 'films/*.dcm'")
    predict.add_argument("--output", required=True, type=Path, help="folder for masks, reports and results.csv")
    predict.add_argument("--weights", nargs="+", type=float, metavar="W", help="one for each member (default: fitted)")
    predict.add_argument("--threshold", type=float, help="probability from which a pixel counts (default: fitted)")
    predict.add_argument("--blend", help="how the members are combined (default: the ensemble's)")
    predict.add_argument("--tta", action="store_true", help="average over flips: slower, often a little better")
    predict.set_defaults(run=_predict)


def _predict(options: argparse.Namespace) -> None:
    """Exit status 1 where a file failed; under `accelerate launch` each process takes its share of the files."""
    from accelerate import PartialState

    from medseg.ensemble import Ensemble
    from medseg.folder_run import Settings, find_jobs, predict_jobs, write_table

    state = PartialState()
    jobs = find_jobs(options.inputs, options.output)
    mine = jobs[state.process_index :: state.num_processes]
    several = state.num_processes > 1
    ensemble = Ensemble.from_pretrained(options.ensemble, device=str(state.device) if several else None)
    weights = None if options.weights is None else tuple(options.weights)
    settings = Settings(weights, options.threshold, options.blend, options.tta)
    options.output.mkdir(parents=True, exist_ok=True)
    with tqdm(total=len(mine), desc="segmenting", disable=not state.is_main_process) as bar:
        predict_jobs(ensemble, mine, options.output, settings, bar.update)
    state.wait_for_everyone()
    if state.is_main_process:
        done, failed = write_table(jobs, options.output)
        print(f"{done} of {len(jobs)} files segmented, {failed} failed: {options.output / 'results.csv'}")
        if failed:
            sys.exit(1)
