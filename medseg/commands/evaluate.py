"""The commands that say what an ensemble is worth: evaluate, calibrate."""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from tqdm import tqdm

from medseg import schema
from medseg.commands.inspect import add_choice, read_checked
from medseg.places import ensemble_folder, own_folder

if TYPE_CHECKING:
    from medseg.calibration.calibrate import Calibration
    from medseg.data.manifest import Sample
    from medseg.evaluation.rows import Result
    from medseg.inference.ensemble import Ensemble


def add(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    evaluate = commands.add_parser("evaluate", help="score an ensemble, its members, blends and the baselines")
    evaluate.add_argument("ensemble", help="ensemble or member folder, or its Hub id")
    evaluate.add_argument("data", type=Path, help="folder of pairs or manifest .json")
    add_choice(evaluate)
    evaluate.add_argument("--split", default="test", choices=("train", "val", "test"), help="default: test")
    evaluate.add_argument("--tta", action="store_true", help="score it averaged over flips too: five times the work")
    evaluate.add_argument(
        "--output", type=Path, help="folder for scores.json, scores.csv and report.html (default: print)"
    )
    evaluate.set_defaults(run=_evaluate)
    calibrate = commands.add_parser("calibrate", help="learn how far to believe an ensemble, on the val split")
    calibrate.add_argument("ensemble", help="ensemble folder, where calibration.json is written")
    calibrate.add_argument("data", type=Path, help="folder of pairs or manifest .json")
    add_choice(calibrate)
    calibrate.add_argument("--test", action="store_true", help="check the calibration.json there on the test split")
    calibrate.set_defaults(run=_calibrate)


def _evaluate(options: argparse.Namespace) -> None:
    from medseg.data.samples import select
    from medseg.evaluation.evaluate import evaluate
    from medseg.inference.ensemble import Ensemble
    from medseg.report.evaluation_table import table

    ensemble = Ensemble.from_pretrained(options.ensemble)
    samples, doubts = read_checked(options, ensemble.config.labels, _divisions(ensemble), options.split)
    chosen = select(samples, options.split)
    training = [sample for sample in samples if sample.split == "train"]
    with tqdm(total=len(chosen), desc="evaluating") as bar:
        found = evaluate(ensemble, chosen, training, tta=options.tta, progress=lambda done, total: bar.update())
    found.report["doubts"] = doubts
    if options.output:
        _write_evaluation(options, ensemble, chosen, found)
    for label in ensemble.config.labels:
        print(f"\n{label}, {options.split} split, n = {len(chosen)}\n\n{table(found.report, label)}")
    print(f"\nProtocol: {found.report['protocol']}")


def _divisions(ensemble: Ensemble) -> list[str]:
    """The hashes of the divisions that the members were trained in, and of the split that weights were fitted to."""
    trained = [member.config.training_data.split_sha256 for member in ensemble.members]
    return [*trained, ensemble.config.fitted.split_sha256] if ensemble.config.fitted else trained


def _write_evaluation(
    options: argparse.Namespace, ensemble: Ensemble, samples: Sequence[Sample], found: Result
) -> None:
    from medseg.report.evaluation_images import show
    from medseg.report.evaluation_page import page
    from medseg.report.evaluation_table import write_scores

    options.output.mkdir(parents=True, exist_ok=True)
    text = json.dumps(found.report, indent=1, ensure_ascii=False, allow_nan=False)
    (options.output / "scores.json").write_text(text + "\n", encoding="utf-8")
    write_scores(found.scores, samples, options.output / "scores.csv")
    facts = {"Data": options.data.resolve().name, "Command": options.command}
    html = page(found.report, show(ensemble, samples, found.scores), facts)
    (options.output / "report.html").write_text(html, encoding="utf-8")


def _calibrate(options: argparse.Namespace) -> None:
    from medseg.calibration.calibrate import calibrate, describe, load_calibration
    from medseg.data.samples import select
    from medseg.fitting.crossfit import FOLDS, require_weighted_mean
    from medseg.fitting.observations import observe
    from medseg.hub.folders import CALIBRATION
    from medseg.inference.ensemble import Ensemble

    folder = ensemble_folder(options.ensemble) if options.test else own_folder(options.ensemble)
    ensemble = Ensemble.from_pretrained(folder)
    require_weighted_mean(ensemble)  # before hours of predicting
    if options.test:
        _check(options, ensemble, load_calibration(folder, ensemble))
        return
    samples, _ = read_checked(options, ensemble.config.labels, _divisions(ensemble), "val")
    samples = select(samples, "val")
    with tqdm(total=len(samples), desc="predicting") as bar:
        observations = list(observe(ensemble.members, samples, progress=lambda done, total: bar.update()))
    name = f"{options.data.resolve().name}, validation split"
    with tqdm(total=FOLDS, desc="fitting on the other folds") as bar:
        found = calibrate(ensemble, observations, name, progress=lambda done, total: bar.update())
    schema.dump(found, folder / CALIBRATION)
    print(describe(found, ensemble.config.labels))


def _check(options: argparse.Namespace, ensemble: Ensemble, found: Calibration) -> None:
    from medseg.calibration.check import check, report
    from medseg.data.samples import select

    samples, _ = read_checked(options, ensemble.config.labels, _divisions(ensemble), "test")
    samples = select(samples, "test")
    with tqdm(total=len(samples), desc="predicting") as bar:
        figures = check(found, ensemble, samples, progress=lambda done, total: bar.update())
    cases = len({sample.case for sample in samples})
    print(f"Calibrated on {found.data}, n = {found.n}.")
    print(f"Checked on the test split of {options.data}, n = {len(samples)} images of {cases} cases.\n")
    print(report(figures))
