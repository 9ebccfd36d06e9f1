"""The commands that say what an ensemble is worth: evaluate, calibrate."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from medseg import schema
from medseg.commands.inspect import add_choice, load_chosen, read_checked
from medseg.errors import InputError
from medseg.places import NAMED, ensemble_folder, own_folder
from medseg.progress import Bar

if TYPE_CHECKING:
    from medseg.calibration.calibrate import Calibration
    from medseg.data.manifest import Sample
    from medseg.evaluation.scoring import Result
    from medseg.inference.ensemble import Ensemble
    from medseg.report.evaluation_images import Shown


def add(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    evaluate = commands.add_parser("evaluate", help="score an ensemble with its members, or anybody's masks")
    places = [
        evaluate.add_argument("ensemble", help=f"{NAMED}; not with --predictions"),
        evaluate.add_argument("data", type=Path, help="folder of pairs or manifest .json"),
    ]
    for place in places:
        place.required = False  # of --predictions' words the last is the data
    evaluate.add_argument(
        "--predictions",
        nargs="+",
        action="extend",
        default=[],
        metavar="NAME=FOLDER",
        help="score these masks or "
        "probabilities instead of an ensemble's: PNG, NIfTI, npz, DICOM SEG, COCO JSON or csv, several models at once",
    )
    add_choice(evaluate)
    evaluate.add_argument("--split", default="test", choices=("train", "val", "test"), help="default: test")
    evaluate.add_argument("--tta", action="store_true", help="score it averaged over flips too: five times the work")
    evaluate.add_argument(
        "--robustness", action="store_true", help="score an ensemble on damaged images too: 46 times the work"
    )
    evaluate.add_argument(
        "--by", nargs="+", default=[], metavar="COLUMN", help="scores by site, scanner, sex …: columns of --groups"
    )
    evaluate.add_argument(
        "--groups",
        type=Path,
        metavar="FILE",
        help="csv with a row for each image or case (default: one beside the data, or the manifest)",
    )
    evaluate.add_argument(
        "--output", type=Path, help="folder for scores.json, scores.csv and report.html (default: print)"
    )
    evaluate.set_defaults(run=_evaluate)
    calibrate = commands.add_parser("calibrate", help="learn how far to believe an ensemble, on the val split")
    calibrate.add_argument(
        "ensemble", help="ensemble folder, where calibration.json is written; polyp, brain or chest with --test"
    )
    calibrate.add_argument("data", type=Path, help="folder of pairs or manifest .json")
    add_choice(calibrate)
    calibrate.add_argument(
        "--domain", action="store_true", help="write domain.json alone: which images it suits (no network runs)"
    )
    calibrate.add_argument(
        "--with-test",
        action="store_true",
        help="learn the predicted Dice on the test split too, where val has too few cases: no member was trained on it",
    )
    calibrate.add_argument("--test", action="store_true", help="check the calibration.json there on the test split")
    calibrate.set_defaults(run=_calibrate)


def _evaluate(options: argparse.Namespace) -> None:
    named, others = split_predictions(options.predictions)
    places = [place for place in (options.ensemble, options.data, *others) if place is not None]
    if len(places) != 1 + (not named) or (options.predictions and not named):
        wanted = (
            "--predictions NAME=FOLDER … DATA"
            if options.predictions
            else "ENSEMBLE DATA, or --predictions NAME=FOLDER … DATA"
        )
        raise InputError(f"Wanted medseg evaluate {wanted}; got {' '.join(map(str, places)) or 'no place'}.")
    options.data = Path(places[-1])
    if named and options.robustness:
        raise InputError("Robustness needs models that run: name an ensemble instead of --predictions.")
    if named:
        _evaluate_predictions(options, named)
    else:
        _evaluate_ensemble(options)


def split_predictions(texts: Sequence[str]) -> tuple[dict[str, Path], list[str]]:
    """{name: place} of the words of --predictions, and the words without a name."""
    named: dict[str, Path] = {}
    for name, equals, place in (text.partition("=") for text in texts):
        if equals and (not name or not place or name in named):
            raise InputError(f"Wanted --predictions NAME=FOLDER, each name once; got {name}={place}.")
        if equals:
            named[name] = Path(place)
    return named, [text for text in texts if "=" not in text]


def _evaluate_predictions(options: argparse.Namespace, named: dict[str, Path]) -> None:
    from medseg.data.predictions import open_predictions
    from medseg.data.samples import select
    from medseg.evaluation.foreign import evaluate_predictions
    from medseg.report.evaluation_images import show_row

    labels = data_labels(options)
    samples, doubts = read_checked(options, labels, (), options.split)
    chosen = select(samples, options.split)
    training = [sample for sample in samples if sample.split == "train"]
    opened = [open_predictions(name, place, chosen, labels, options.data) for name, place in named.items()]
    with Bar(total=len(chosen), desc="evaluating") as bar:
        result, scored = evaluate_predictions(opened, chosen, training, labels, progress=bar.advance)
    for doubt in result.report["doubts"]:
        print(f"note: {doubt}", file=sys.stderr)
    result.report["doubts"] = [*doubts, *result.report["doubts"]]
    _add_groups(options, scored, result, [*named])
    if options.output:
        places = [chosen.index(sample) for sample in scored]
        shown = show_row(
            opened[0].name, scored, result.scores, lambda index, image: opened[0].read(places[index], image).masks
        )
        write_evaluation(options, scored, result, shown)
    _print(options, result)


def data_labels(options: argparse.Namespace) -> tuple[str, ...]:
    """The labels of the data set where no model says them; one label where neither data nor --labels name any."""
    return load_chosen(options, divide=False).labels or ("finding",)


def _evaluate_ensemble(options: argparse.Namespace) -> None:
    from medseg.data.samples import select
    from medseg.evaluation.evaluate import ENSEMBLE, evaluate
    from medseg.evaluation.robustness import robustness
    from medseg.inference.ensemble import Ensemble
    from medseg.report.evaluation_images import show

    ensemble = Ensemble.from_pretrained(options.ensemble)
    samples, doubts = read_for(options, ensemble, options.split)
    chosen = select(samples, options.split)
    training = [sample for sample in samples if sample.split == "train"]
    with Bar(total=len(chosen), desc="evaluating") as bar:
        result = evaluate(ensemble, chosen, training, tta=options.tta, progress=bar.advance)
    result.report["doubts"] = doubts
    if options.robustness:
        with Bar(total=len(chosen), desc="damaging") as bar:
            result.report["robustness"] = robustness(ensemble, chosen, progress=bar.advance)
    _add_groups(options, chosen, result, [*ensemble.names, ENSEMBLE])
    if options.output:
        write_evaluation(options, chosen, result, show(ensemble, chosen, result.scores))
    _print(options, result)


def _add_groups(options: argparse.Namespace, samples: Sequence[Sample], result: Result, rows: Sequence[str]) -> None:
    from medseg.evaluation.subgroups import place_of, read_groups, summarise_groups

    result.report["subgroups"] = {
        column: summarise_groups(
            result.scores, rows, read_groups(samples, column, options.groups or place_of(options.data, column))
        )
        for column in options.by
    }


def _print(options: argparse.Namespace, result: Result) -> None:
    from medseg.report.evaluation_table import (
        comparison_table,
        group_tables,
        lesion_table,
        robustness_table,
        selective_table,
        table,
    )

    for label in result.scores.labels:
        print(f"\n{label}, {options.split} split, n = {result.report['n']}\n\n{table(result.report, label)}")
        tables = [lesion_table(result.report, label), comparison_table(result.report, label)]
        for heading, lines in [*tables, *group_tables(result.report, label)]:
            print(f"\n{heading}\n\n{lines}" if lines else "", end="\n" if lines else "")
    for heading, lines in (selective_table(result.report), robustness_table(result.report)):
        print(f"\n{heading}\n\n{lines}" if lines else "", end="\n" if lines else "")
    print(f"\nProtocol: {result.report['protocol']}")


def read_for(
    options: argparse.Namespace, ensemble: Ensemble, split: str, *, whole: bool = False
) -> tuple[list[Sample], list[str]]:
    """`read_checked` for what the ensemble's members and weights learnt from."""
    trained, fitted = [member.config for member in ensemble.members], ensemble.config.fitted
    digest = fitted.split_sha256 if fitted else ""
    return read_checked(options, ensemble.config.labels, trained, split, fitted=digest, whole=whole)


def write_evaluation(
    options: argparse.Namespace, samples: Sequence[Sample], result: Result, shown: Sequence[Shown]
) -> None:
    """scores.json, scores.csv and report.html in the folder --output."""
    from medseg.report.evaluation_page import page
    from medseg.report.evaluation_table import write_scores

    options.output.mkdir(parents=True, exist_ok=True)
    text = json.dumps(result.report, indent=1, ensure_ascii=False, allow_nan=False)
    (options.output / "scores.json").write_text(text + "\n", encoding="utf-8")
    write_scores(result.scores, samples, options.output / "scores.csv")
    facts = {"Data": options.data.resolve().name, "Command": options.command}
    (options.output / "report.html").write_text(page(result.report, shown, facts), encoding="utf-8")


def _calibrate(options: argparse.Namespace) -> None:
    from medseg.calibration.calibrate import calibrate, describe, load_calibration
    from medseg.data.samples import select
    from medseg.fitting.crossfit import FOLDS, require_weighted_mean
    from medseg.fitting.observations import observe
    from medseg.hub.folders import CALIBRATION
    from medseg.inference.ensemble import Ensemble

    folder = ensemble_folder(options.ensemble) if options.test else own_folder(options.ensemble)
    ensemble = Ensemble.from_pretrained(folder)
    if options.domain:
        _write_domain(options, read_for(options, ensemble, "val")[0], folder)
        return
    require_weighted_mean(ensemble)  # before hours of predicting
    if options.test:
        _check(options, ensemble, load_calibration(folder, ensemble))
        return
    everything, _ = read_for(options, ensemble, "val")
    _write_domain(options, everything, folder)
    samples = select(everything, "val")
    tested = select(everything, "test") if options.with_test else []
    with Bar(total=len(samples) + len(tested), desc="predicting") as bar:
        observations, more = (
            list(observe(ensemble.members, part, progress=bar.advance)) if part else [] for part in (samples, tested)
        )
    name = options.data.resolve().name
    both = f"{name}, validation and test splits (n = {len(samples)} + {len(tested)})" if tested else ""
    with Bar(total=FOLDS, desc="fitting on the other folds") as bar:
        calibration = calibrate(
            ensemble,
            observations,
            f"{name}, validation split",
            more=more,
            more_data=both,
            progress=bar.advance,
        )
    schema.dump(calibration, folder / CALIBRATION)
    print(describe(calibration, ensemble.config.labels))


def _write_domain(options: argparse.Namespace, samples: Sequence[Sample], folder: Path) -> None:
    """domain.json, of the images of the training and validation splits; too few cases are said."""
    import numpy as np

    from medseg.data.splits import split_hash
    from medseg.hub.folders import DOMAIN
    from medseg.inference.domain_check import fit_domain
    from medseg.inference.image_features import features
    from medseg.inference.pipeline import mapped

    learnt = [sample for sample in samples if sample.split != "test"]
    rows = mapped(lambda sample: features(sample.read_image()), learnt)
    values = np.array(list(Bar(rows, total=len(learnt), desc="looking")))
    name = f"{options.data.resolve().name}, training and validation splits"
    try:
        domain = fit_domain(values, [sample.case for sample in learnt], name, split_hash(learnt))
    except InputError as error:
        print(f"note: {error} {DOMAIN} is not written.", file=sys.stderr)
        return
    schema.dump(domain, folder / DOMAIN)
    print(f"{folder / DOMAIN}: {domain.n} images of {domain.cases} cases; 95 % of such images suit it.")


def _check(options: argparse.Namespace, ensemble: Ensemble, calibration: Calibration) -> None:
    from medseg.calibration.check import check, report
    from medseg.data.samples import select

    samples, _ = read_for(options, ensemble, "test")
    samples = select(samples, "test")
    with Bar(total=len(samples), desc="predicting") as bar:
        figures = check(calibration, ensemble, samples, progress=bar.advance)
    cases = len({sample.case for sample in samples})
    print(f"Calibrated on {calibration.data}, n = {calibration.n}.")
    if calibration.trust_data:
        print(f"The predicted Dice was learnt on {calibration.trust_data}: on these its figures below flatter.")
    print(f"Checked on the test split of {options.data}, n = {len(samples)} images of {cases} cases.\n")
    print(report(figures))
