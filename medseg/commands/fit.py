"""The command that makes an ensemble of members: fit."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from medseg import schema
from medseg.commands.evaluate import data_labels, split_predictions
from medseg.commands.inspect import add_choice, read_checked
from medseg.data.left_out import left_out
from medseg.errors import InputError
from medseg.places import shipped
from medseg.progress import Bar

if TYPE_CHECKING:
    from medseg.config import MemberConfig
    from medseg.fitting.fit import Fit
    from medseg.inference.member import LoadedMember
    from medseg.scores import Average, Contender, Fitted

_CONTENDERS: dict[str, Contender] = {
    "fitted": "fitted",
    "equal": "equal",
    "single": "best single",
    "per-label": "per label",
}


def add(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    fit = commands.add_parser("fit", help="choose weights and threshold on the val split; write an ensemble folder")
    members = fit.add_argument("members", nargs="+", type=Path, help="member folders; not with --predictions")
    members.required = False
    fit.add_argument(
        "--predictions",
        nargs="+",
        action="extend",
        default=[],
        metavar="NAME=FOLDER",
        help="fit these models' "
        "probabilities (as `evaluate --predictions` reads them) instead, and write the blend's masks",
    )
    fit.add_argument(
        "--observations",
        nargs="+",
        type=Path,
        default=[],
        metavar="SITE.npz",
        help="fit the members to what `medseg observe` wrote at these sites, in place of --data",
    )
    fit.add_argument("--data", type=Path, help="folder of pairs or manifest .json")
    add_choice(fit)
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
        help="every weight in steps of 1/10 (more than five members: wider; under 60 cases equal weights over every "
        "subset); greedy selection of members with "
        "replacement; or a climb from the best of equal, single and greedy (default: grid)",
    )
    fit.add_argument(
        "--choose",
        choices=tuple(_CONTENDERS),
        help="whose weights and threshold to write; per-label: weights of its own for each of several labels that may "
        "overlap (default: those recommended by nested cross-validation)",
    )
    fit.set_defaults(run=_fit)


def _fit(options: argparse.Namespace) -> None:
    from medseg.data.samples import select
    from medseg.fitting.fit import fit
    from medseg.fitting.fit_table import table
    from medseg.fitting.observations import Observations, observe

    if bool(options.data) == bool(options.observations):
        raise InputError("Wanted --data DATA, or --observations SITE.npz … in its place.")
    if options.output.exists():
        raise InputError(f"{options.output} is already there: name another --output, or delete it.")
    if options.predictions:
        _fit_predictions(options)
        return
    if not options.members:
        raise InputError("Wanted member folders, or --predictions NAME=FOLDER …")
    members = _members(options.members)
    first, names = members[0].config, [member.config.name for member in members]
    _refuse_per_label(options, first)  # before hours of predicting
    if options.observations:
        _fit_sites(options, members)
        return
    trained = [member.config for member in members]
    samples = select(read_checked(options, first.labels, trained, "val")[0], "val")
    with Bar(total=len(samples), desc="predicting") as bar:
        observations = Observations.of(observe(members, samples, progress=bar.advance))
    result = fit(observations, **_settings(options))
    record = result.record(names, samples, _data_name(options), _contender(options, result))
    _write(options, members, result, record)
    print(table(result, names, first.labels))
    _say_whose(options, record)


def _settings(options: argparse.Namespace) -> dict[str, Any]:
    average: Average = "pooled" if options.average == "pooled" else "per image"
    return {"metric": options.metric, "average": average, "method": options.method}


def _data_name(options: argparse.Namespace) -> str:
    """The data that weights are fitted to, which need not be those that the members were trained on."""
    return f"{options.data.resolve().name}, validation split"


def _contender(options: argparse.Namespace, result: Fit) -> Contender:
    return _CONTENDERS[options.choose] if options.choose else result.recommended


def _say_whose(options: argparse.Namespace, record: Fitted) -> None:
    print(f"{options.output / 'ensemble.json'} has the {record.chosen} weights; recommended: {record.recommended}.")


def _refuse_per_label(options: argparse.Namespace, first: MemberConfig) -> None:
    from medseg.fitting.labels import NOT_APART, are_apart

    if options.choose == "per-label" and not are_apart(first.task, len(first.labels)):
        raise InputError(NOT_APART)


def _write(options: argparse.Namespace, members: Sequence[LoadedMember], result: Fit, record: Fitted) -> None:
    """The ensemble's folder: the members' folders, ensemble.json, cards."""
    from medseg.cards.folder import write_cards
    from medseg.config import EnsembleConfig, MemberReference
    from medseg.inference.member import copy_member

    chosen, first = result.choice(record.chosen), members[0].config
    settings = EnsembleConfig(
        options.name,
        first.task,
        first.labels,
        tuple(
            MemberReference(member.config.name, member.sha256, weight)
            for member, weight in zip(members, chosen.written, strict=True)
        ),
        threshold=chosen.threshold,
        fitted=record,
    )
    for member, folder in zip(members, options.members, strict=True):
        copy_member(folder, options.output / member.config.name)
    schema.dump(settings, options.output / "ensemble.json")
    write_cards(options.output)


def _fit_sites(options: argparse.Namespace, members: Sequence[LoadedMember]) -> None:
    from medseg.fitting.fit import fit
    from medseg.fitting.fit_table import table
    from medseg.fitting.sites import join, read_sites, site_reports, site_table

    first = members[0].config
    sites, sha256 = read_sites(options.observations, [m.sha256 for m in members], first.labels, first.task)
    joined, settings = join(sites), _settings(options)
    result = fit(joined, **settings)
    names = [member.config.name for member in members]
    data = f"observations of {len(sites)} sites: {', '.join(sites)}"
    record = result.record_of(
        names, joined.cases, joined.split, data=data, sha256=sha256, chosen=_contender(options, result)
    )
    _write(options, members, result, record)
    print(table(result, names, first.labels))
    reports = site_reports(sites, result, result.choice(record.chosen), **settings)
    print(f"\nAt each site, with 95 % intervals by case; elsewhere: without its images:\n\n{site_table(reports)}\n")
    _say_whose(options, record)


def _fit_predictions(options: argparse.Namespace) -> None:
    from medseg.data.predictions import open_predictions
    from medseg.fitting.fit import fit
    from medseg.fitting.fit_table import table
    from medseg.fitting.foreign import Blend, has_all, observe_predictions, refuse_odd_labels, task_of, write_blends
    from medseg.fitting.observations import Observations

    named, places = split_predictions(options.predictions)
    if options.members or options.observations or places or len(named) < 2:
        raise InputError("Wanted --predictions with two models or more, NAME=FOLDER each, and no member folders.")
    labels = data_labels(options)
    refuse_odd_labels(labels)
    samples, _ = read_checked(options, labels, (), "val", whole=True)
    opened = [open_predictions(name, place, samples, labels, options.data) for name, place in named.items()]
    for note in (note for model in opened for note in model.notes):
        print(f"note: {note}", file=sys.stderr)
    chosen = [i for i, sample in enumerate(samples) if sample.split == "val" and has_all(opened, i)]
    if not chosen:
        raise InputError("No image of the val split has a prediction of every model: predict these first.")
    of_val, of_all = [samples[i] for i in chosen], [model.only(chosen) for model in opened]
    unread: dict[int, str] = {}
    with Bar(total=len(chosen), desc="reading") as bar:
        each = observe_predictions(of_all, of_val, labels, unread, progress=bar.advance)
        observations = Observations.of(each)
    absent = [of_val[i].image.name for i in unread]
    for entry in left_out("images of the val split with a prediction that cannot be read", absent):
        print(f"note: {entry}", file=sys.stderr)
    learnt = [sample for i, sample in enumerate(of_val) if i not in unread]
    fitted = fit(observations, **_settings(options))
    contender = _contender(options, fitted)
    choice = fitted.choice(contender)
    record = fitted.record([*named], learnt, _data_name(options), contender)
    forms = tuple(model.form for model in opened)
    options.output.mkdir(parents=True)
    blend = Blend(options.name, task_of(labels), labels, (*named,), forms, choice.written, choice.threshold, record)
    schema.dump(blend, options.output / "blend.json")
    with Bar(total=len(samples), desc="blending") as bar:
        written, refused = write_blends(opened, samples, labels, choice, options.output, progress=bar.advance)
    for sentence in refused:
        print(f"note: Left out: {sentence}", file=sys.stderr)
    print(table(fitted, [*named], labels))
    print(f"{options.output / 'blend.json'} has the {contender} weights; recommended: {fitted.recommended}.")
    print(
        f"{written} of {len(samples)} images blended. Score them on images that had no part in it, beside the models:"
    )
    rest = options.data if any(sample.split == "test" for sample in samples) else "OTHER-DATA"
    print(f"medseg evaluate --predictions {options.name}={options.output / 'masks'} … {rest}")


def _refuse_no_member(folder: Path) -> None:
    """Raises InputError for what is no member's folder: that is not a damaged one."""
    if (folder / "member.json").is_file():
        return
    if (folder / "ensemble.json").is_file() or (shipped("assets/ensembles") / folder / "ensemble.json").is_file():
        came = "is an ensemble: name the folders of its members"
    elif (folder / "member" / "member.json").is_file():
        came = f"is a run's output, its member lies in {folder / 'member'}"
    else:
        came = "has no member.json" if folder.is_dir() else "is no folder"
    raise InputError(f"{folder} {came}. Wanted members' folders, as training writes them.")


def _members(folders: Sequence[Path]) -> list[LoadedMember]:
    from medseg.config import MemberReference
    from medseg.inference.member import load_member

    for folder in folders:
        _refuse_no_member(folder)
    members = [load_member(folder) for folder in folders]
    names = [member.config.name for member in members]
    kinds = {(member.config.task, member.config.labels) for member in members}
    if len(kinds) > 1 or len(set(names)) < len(names):
        raise InputError("The members of an ensemble need one task, the same labels, and names of their own.")
    for name, member in zip(names, members, strict=True):
        MemberReference(name, member.sha256, 1.0)  # refuses a name that cannot be a folder before hours of predicting
    return members
