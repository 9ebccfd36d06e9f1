"""The command that looks at a data set: inspect."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from tqdm import tqdm

from medseg.errors import InputError

if TYPE_CHECKING:
    from medseg.data.manifest import Sample


def add(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    inspect = commands.add_parser("inspect", help="counts, sizes and faults of a data set; a contact sheet")
    inspect.add_argument("data", type=Path, help="folder or zip of a known layout, or a .json file")
    inspect.add_argument("--layout", default="auto", help="name of the layout (default: found out)")
    _add_labels(inspect)
    inspect.add_argument("--sheet", type=Path, help="write a contact sheet to this PNG file")
    inspect.add_argument("--write-splits", type=Path, metavar="FILE", help="deal the cases and write a splits.json")
    inspect.add_argument("--folds", type=int, metavar="K", help="write K folds instead of train, val and test")
    inspect.add_argument("--seed", type=int, default=0, help="of the dealing (default: 0)")
    inspect.set_defaults(run=_inspect)


def add_choice(parser: argparse.ArgumentParser) -> None:
    """The options with which a command chooses among a data set's classes and folds; `read_chosen` follows them."""
    _add_labels(parser)
    parser.add_argument(
        "--fold", type=int, default=0, metavar="K", help="the fold that is tested, where the data come in folds"
    )


def read_chosen(options: argparse.Namespace) -> list[Sample]:
    """The samples of the data set, each with its split."""
    from medseg.data.samples import load_data

    return load_data(options.data, labels=_labels(options.labels), fold=options.fold).samples


def _add_labels(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--labels",
        nargs="+",
        default=[],
        metavar="LABEL",
        help="classes to look at; NAME=A,B unites some, NAME=* all",
    )


def _inspect(options: argparse.Namespace) -> None:
    """Report, sheet and splits; exit status 1 where something is wrong, so that a script can ask before it trains."""
    from PIL import Image

    from medseg.data.samples import load_data
    from medseg.data.survey import choose, describe, draw_sheet
    from medseg.data.verify import examine, findings

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
    from medseg.data.samples import given_splits

    if options.folds is not None and options.write_splits is None:
        raise InputError("--folds says how --write-splits divides the cases: name its file too.")
    if options.write_splits is None:
        return
    there = options.write_splits if options.write_splits.exists() else given_splits(options.data)
    if there:
        raise InputError(f"{there} is already there and says how the cases are divided: delete it to deal them anew.")


def _write_splits(options: argparse.Namespace, samples: Sequence[Sample]) -> None:
    from medseg.data.splits import deal_folds, write_folds, write_splits

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
