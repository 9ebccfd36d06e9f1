"""The command line: `python -m medseg inspect | fit | evaluate | calibrate | predict | card | push`."""

from __future__ import annotations

import argparse
import json
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from tqdm import tqdm

from medseg import schema
from medseg.config import Contender, EnsembleConfig, MemberReference
from medseg.errors import InputError, MedsegError

if TYPE_CHECKING:
    from medseg.ensemble import Ensemble
    from medseg.evaluate import Result
    from medseg.manifest import Sample
    from medseg.member import LoadedMember

_CONTENDERS: dict[str, Contender] = {"fitted": "fitted", "equal": "equal", "single": "best single"}


def main(arguments: Sequence[str] | None = None) -> None:
    """Run one command; a refusal is one sentence on stderr and exit status 1."""
    given = sys.argv[1:] if arguments is None else list(arguments)
    options = _parser().parse_args(given, argparse.Namespace(command=shlex.join(["python", "-m", "medseg", *given])))
    try:
        options.run(options)
    except (MedsegError, OSError) as error:  # OSError: a full disk, a folder that may not be written
        sys.exit(f"error: {error}")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m medseg", description=__doc__)
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    inspect = commands.add_parser("inspect", help="counts, sizes and faults of a data set; a contact sheet")
    inspect.add_argument("data", type=Path, help="folder or zip of a known layout, or a .json file")
    inspect.add_argument("--layout", default="auto", help="name of the layout (default: found out)")
    inspect.add_argument(
        "--labels",
        nargs="+",
        default=[],
        metavar="LABEL",
        help="classes to look at; NAME=A,B unites some, NAME=* all",
    )
    inspect.add_argument("--sheet", type=Path, help="write a contact sheet to this PNG file")
    inspect.add_argument("--write-splits", type=Path, metavar="FILE", help="deal the cases and write a splits.json")
    inspect.add_argument("--folds", type=int, metavar="K", help="write K folds instead of train, val and test")
    inspect.add_argument("--seed", type=int, default=0, help="of the dealing (default: 0)")
    inspect.set_defaults(run=_inspect)
    fit = commands.add_parser("fit", help="choose weights and threshold on the val split; write an ensemble folder")
    fit.add_argument("members", nargs="+", type=Path, help="member folders")
    fit.add_argument("--data", required=True, type=Path, help="folder of pairs or manifest .json")
    fit.add_argument("--output", required=True, type=Path, help="the ensemble folder to write, not yet there")
    fit.add_argument("--name", required=True, help="the ensemble's name")
    fit.add_argument("--metric", choices=("dice", "iou"), default="dice", help="what to maximise (default: dice)")
    fit.add_argument(
        "--average",
        choices=("image", "pooled"),
        default="image",
        help="mean of one value per image, or one value over the pixels of all images (default: image)",
    )
    fit.add_argument(
        "--method",
        choices=("grid", "greedy", "local"),
        default="grid",
        help="every weight in steps of 1/10 (more than five members: wider); greedy selection of members with "
        "replacement; or a climb from the best of equal, single and greedy (default: grid)",
    )
    fit.add_argument(
        "--choose",
        choices=tuple(_CONTENDERS),
        help="whose weights and threshold to write (default: those recommended, which are the fitted ones only where "
        "nested cross-validation puts them above both others)",
    )
    fit.set_defaults(run=_fit)
    evaluate = commands.add_parser("evaluate", help="score an ensemble, its members, blends and the floors")
    evaluate.add_argument("ensemble", help="ensemble or member folder, or its Hub id")
    evaluate.add_argument("data", type=Path, help="folder of pairs or manifest .json")
    evaluate.add_argument("--split", default="test", choices=("train", "val", "test"), help="default: test")
    evaluate.add_argument("--tta", action="store_true", help="score it averaged over flips too: five times the work")
    evaluate.add_argument(
        "--output", type=Path, help="folder for scores.json, scores.csv and report.html (default: print)"
    )
    evaluate.set_defaults(run=_evaluate)
    predict = commands.add_parser("predict", help="segment files, folders or patterns; continues where it was stopped")
    predict.add_argument("ensemble", help="ensemble or member folder, or its Hub id")
    predict.add_argument("inputs", nargs="+", metavar="INPUT", help="file, folder or pattern such as 'films/*.dcm'")
    predict.add_argument("--output", required=True, type=Path, help="folder for masks, reports and results.csv")
    predict.add_argument("--weights", nargs="+", type=float, metavar="W", help="one for each member (default: fitted)")
    predict.add_argument("--threshold", type=float, help="probability from which a pixel counts (default: fitted)")
    predict.add_argument("--blend", help="how the members are combined (default: the ensemble's)")
    predict.add_argument("--tta", action="store_true", help="average over flips: slower, often a little better")
    predict.set_defaults(run=_predict)
    calibrate = commands.add_parser("calibrate", help="learn what an ensemble's answers are worth, on the val split")
    calibrate.add_argument("ensemble", type=Path, help="ensemble folder, where calibration.json is written")
    calibrate.add_argument("data", type=Path, help="folder of pairs or manifest .json")
    calibrate.add_argument("--test", action="store_true", help="check the calibration.json there on the test split")
    calibrate.set_defaults(run=_calibrate)
    card = commands.add_parser("card", help="write README.md of an ensemble or member folder from its JSON")
    card.add_argument("ensemble", type=Path, help="ensemble or member folder")
    card.set_defaults(run=_card)
    push = commands.add_parser("push", help="push a member or ensemble folder to the Hugging Face Hub in one commit")
    push.add_argument("folder", type=Path, help="member or ensemble folder, with its README.md")
    push.add_argument("repository", help="owner/name")
    push.add_argument("--private", action="store_true", help="make the repository private where it is not there yet")
    push.set_defaults(run=_push)
    return parser


def _inspect(options: argparse.Namespace) -> None:
    """Report, sheet and splits; exit status 1 where something is wrong, so that a script can ask before it trains."""
    from PIL import Image

    from medseg.samples import load_data
    from medseg.survey import choose, describe, draw_sheet
    from medseg.verify import examine, findings

    _check_splits_options(options)
    found = load_data(options.data, labels=_labels(options.labels), layout=options.layout, seed=options.seed)
    labels = found.labels or ("marked",)  # pairs do not tell: taken for binary until --labels says otherwise
    with tqdm(total=len(found.samples), desc="reading") as bar:
        examined = examine(found.samples, labels, progress=lambda done, total: bar.update())
    faults = findings(examined, labels)
    print(describe(found, labels, examined, faults))
    if options.sheet and (chosen := choose(examined)):
        Image.fromarray(draw_sheet(chosen, labels)).save(options.sheet, format="PNG")
    if options.write_splits:
        _write_splits(options, found.samples)
    if faults:
        sys.exit(1)


def _check_splits_options(options: argparse.Namespace) -> None:
    from medseg.samples import given_splits

    if options.folds is not None and options.write_splits is None:
        raise InputError("--folds says how --write-splits divides the cases: name its file too.")
    if options.write_splits is None:
        return
    there = options.write_splits if options.write_splits.exists() else given_splits(options.data)
    if there:
        raise InputError(f"{there} is already there and says how the cases are divided: delete it to deal them anew.")


def _write_splits(options: argparse.Namespace, samples: Sequence[Sample]) -> None:
    from medseg.splits import deal_folds, write_folds, write_splits

    if options.folds is not None:
        write_folds(samples, deal_folds(samples, options.folds, options.seed), options.write_splits)
    else:
        write_splits(samples, options.write_splits)
    print(f"wrote {options.write_splits}")


def _labels(texts: Sequence[str]) -> list[str] | dict[str, list[str]] | None:
    """What `load_data` takes: None, names, or the classes that each name unites."""
    if not any("=" in text for text in texts):
        return list(texts) or None
    pairs = [text.partition("=") for text in texts]
    return {name: classes.split(",") if equals else [name] for name, equals, classes in pairs}


def _fit(options: argparse.Namespace) -> None:
    from medseg.cards import write_cards
    from medseg.fit import fit, table
    from medseg.member import copy_member
    from medseg.samples import load_samples, select

    if options.output.exists():
        raise InputError(f"{options.output} is already there: name another --output, or delete it.")
    members = _members(options.members)
    names = [member.config.name for member in members]
    samples = select(load_samples(options.data), "val")
    with tqdm(total=len(samples), desc="predicting") as bar:
        found = fit(
            members,
            samples,
            metric=options.metric,
            average="pooled" if options.average == "pooled" else "per image",
            method=options.method,
            progress=lambda done, total: bar.update(),
        )
    contender = _CONTENDERS[options.choose] if options.choose else found.recommended
    chosen = found.choice(contender)
    first = members[0].config
    settings = EnsembleConfig(
        options.name,
        first.task,
        first.labels,
        tuple(
            MemberReference(name, member.sha256, round(weight, 4))
            for name, member, weight in zip(names, members, chosen.weights, strict=True)
        ),
        threshold=chosen.threshold,
        fitted=found.record(names, samples, f"{first.training_data.name}, validation split", contender),
    )
    for name, folder in zip(names, options.members, strict=True):
        copy_member(folder, options.output / name)
    schema.dump(settings, options.output / "ensemble.json")
    write_cards(options.output)
    print(table(found, names))
    print(f"{options.output / 'ensemble.json'} has the {contender} weights; recommended: {found.recommended}.")


def _members(folders: Sequence[Path]) -> list[LoadedMember]:
    from medseg.member import load_member

    members = [load_member(folder) for folder in folders]
    names = [member.config.name for member in members]
    answers = {(member.config.task, member.config.labels) for member in members}
    if len(answers) > 1 or len(set(names)) < len(names):
        raise InputError("The members of an ensemble need one task, the same labels, and names of their own.")
    for name, member in zip(names, members, strict=True):
        MemberReference(name, member.sha256, 1.0)  # refuses a name that cannot be a folder before hours of predicting
    return members


def _evaluate(options: argparse.Namespace) -> None:
    from medseg.ensemble import Ensemble
    from medseg.evaluate import evaluate
    from medseg.samples import load_samples, select
    from medseg.tables import table

    ensemble = Ensemble.from_pretrained(options.ensemble)
    samples = load_samples(options.data)
    chosen = select(samples, options.split)
    training = select(samples, "train")
    with tqdm(total=len(chosen), desc="evaluating") as bar:
        found = evaluate(ensemble, chosen, training, tta=options.tta, progress=lambda done, total: bar.update())
    for label in ensemble.config.labels:
        print(f"\n{label}, {options.split} split, n = {len(chosen)}\n\n{table(found.report, label)}")
    print(f"\nProtocol: {found.report['protocol']}")
    if options.output:
        _write_evaluation(options, ensemble, chosen, found)


def _write_evaluation(
    options: argparse.Namespace, ensemble: Ensemble, samples: Sequence[Sample], found: Result
) -> None:
    from medseg.report_html import page
    from medseg.report_pictures import show
    from medseg.tables import write_csv

    options.output.mkdir(parents=True, exist_ok=True)
    text = json.dumps(found.report, indent=1, ensure_ascii=False, allow_nan=False)
    (options.output / "scores.json").write_text(text + "\n", encoding="utf-8")
    write_csv(found.scores, samples, options.output / "scores.csv")
    facts = {"Data": options.data.resolve().name, "Command": options.command}
    html = page(found.report, show(ensemble, samples, found.scores), facts)
    (options.output / "report.html").write_text(html, encoding="utf-8")


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


def _calibrate(options: argparse.Namespace) -> None:
    from medseg.calibrate import calibrate, describe, load_calibration
    from medseg.check import check, report
    from medseg.crossfit import FOLDS, observe
    from medseg.ensemble import Ensemble
    from medseg.folders import CALIBRATION
    from medseg.samples import load_samples, select

    ensemble = Ensemble.from_pretrained(options.ensemble)
    found = load_calibration(options.ensemble, ensemble) if options.test else None
    samples = select(load_samples(options.data), "test" if options.test else "val")
    with tqdm(total=len(samples), desc="predicting") as bar:
        seen = observe(ensemble, samples, progress=lambda done, total: bar.update())
    if found is not None:
        cases = len({one.case for one in seen})
        print(f"Calibrated on {found.data}, n = {found.n}.")
        print(f"Checked on the test split of {options.data}, n = {len(seen)} images of {cases} cases.\n")
        print(report(check(found, seen)))
        return
    name = f"{options.data.resolve().name}, validation split"
    with tqdm(total=FOLDS, desc="fitting on the other folds") as bar:
        found = calibrate(ensemble, seen, name, progress=lambda done, total: bar.update())
    schema.dump(found, options.ensemble / CALIBRATION)
    print(describe(found, ensemble.config.labels))


def _card(options: argparse.Namespace) -> None:
    from medseg.cards import write_cards

    write_cards(options.ensemble)


def _push(options: argparse.Namespace) -> None:
    from medseg.hub import push

    print(push(options.folder, options.repository, private=options.private))


if __name__ == "__main__":
    main()
