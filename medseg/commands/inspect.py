"""The command that looks at a data set, inspect; and how commands choose and check the data that they use."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from medseg.errors import InputError
from medseg.progress import Bar

if TYPE_CHECKING:
    from medseg.config import MemberConfig
    from medseg.data.manifest import DataSet, Sample
    from medseg.data.verify import Examined


def add(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    inspect = commands.add_parser("inspect", help="layout, counts, sizes and faults of a data set; a contact sheet")
    inspect.add_argument("data", type=Path, help="folder or zip of a known layout, or an annotation file")
    _add_reading(inspect)
    inspect.add_argument("--sheet", type=Path, help="write a contact sheet to this PNG file")
    inspect.add_argument("--write-splits", type=Path, metavar="FILE", help="deal the cases and write a splits.json")
    inspect.add_argument("--folds", type=int, metavar="K", help="write K folds instead of train, val and test")
    inspect.add_argument("--seed", type=int, default=0, help="of the dealing (default: 0)")
    inspect.add_argument("--write-masks", type=Path, metavar="FOLDER", help="write every mask as PNG, and a manifest")
    inspect.add_argument("--write-coco", type=Path, metavar="FILE", help="write the masks as COCO instances")
    inspect.set_defaults(run=_inspect)


def add_choice(parser: argparse.ArgumentParser) -> None:
    """The options with which a command chooses among a data set's classes and folds; `load_chosen` follows them."""
    _add_reading(parser)
    parser.add_argument("--fold", type=int, metavar="K", help="the fold that is tested, where the data come in folds")


def load_chosen(options: argparse.Namespace, **more: Any) -> DataSet:
    """The data set that the options name; `more` are further settings of `load_data`."""
    from medseg.data.samples import load_data

    chosen = {name: getattr(options, name) for name in ("layout", "images", "masks")}
    return load_data(options.data, labels=_labels(options.labels), **chosen, **more)


def read_checked(
    options: argparse.Namespace,
    labels: Sequence[str],
    trained: Sequence[MemberConfig],
    split: str,
    *,
    fitted: str = "",
    whole: bool = False,
) -> tuple[list[Sample], list[str]]:
    """The data set's samples for fitting to its val split or scoring its test split, and what is doubtful about it.

    A data set without splits is dealt as the members `trained`, or as the data with the hash `fitted`, to which their
    weights were fitted, if it was; else it is all of the test split (or where `whole`, of the `split`), as an external
    set, or dealt anew for any other.
    The doubts are printed too. Raises InputError for what makes the split's samples useless, for data without the
    labels, and for a val split on which nothing is marked.
    """
    from medseg.data.division import as_trained, unlike_trained, with_labels
    from medseg.data.splits import deal
    from medseg.data.verify import check_split

    loaded = with_labels(load_chosen(options, fold=options.fold, divide=False), labels)
    samples, doubts = loaded.samples, [str(entry) for entry in loaded.left_out]
    known = {fitted, *(member.training_data.split_sha256 for member in trained)} - {""}
    brings = any(sample.split for sample in samples)
    if not brings:
        dealt = as_trained(samples, known)
        brings = dealt is not None  # as weights were fitted, at least
        if dealt is None and (whole or split == "test"):
            used = "used" if whole else "scored"
            doubts.append(f"The data set brings no splits: all of its {len(samples)} samples are {used}.")
            dealt = [replace(sample, split=split) for sample in samples]
        elif dealt is None:
            dealt = deal(samples)
            part = f"{sum(sample.split == split for sample in dealt)} of its {len(dealt)} samples were dealt to {split}"
            unknown = ", and the members were not trained in the division dealt here" if known else ""
            doubts.append(f"The data set brings no splits: {part}{unknown}.")
        samples = dealt
    samples = deal(samples)
    doubts += unlike_trained(samples, trained, brings=brings)
    with Bar(total=len(samples), desc="checking") as bar:
        examined = check_split(samples, labels, split, marked=split == "val", progress=bar.advance)
    doubts += map(str, examined)
    for doubt in doubts[len(loaded.left_out) :]:  # what is left out was said when it was loaded
        print(f"note: {doubt}", file=sys.stderr)
    return samples, doubts


def _add_reading(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--layout", default="auto", help="name of the layout (default: recognised)")
    parser.add_argument("--images", default="", metavar="PATTERN", help="the images, as 'scans/*.png', with --masks")
    parser.add_argument("--masks", default="", metavar="PATTERN", help="their masks, as 'truth/*_bin.png'")
    parser.add_argument(
        "--labels",
        nargs="+",
        default=[],
        metavar="LABEL",
        help="classes to look at; NAME=A,B unites some, NAME=* all; of masks without names: names in the order of "
        "their values, or NAME=1,2 for values",
    )


def _inspect(options: argparse.Namespace) -> None:
    """Report, sheet and files; exit status 1 where something is wrong, so that a script can ask before it trains."""
    from PIL import Image

    from medseg.data.survey import choose, describe, draw_sheet
    from medseg.data.verify import examine, findings, untrainable

    _check_splits_options(options)
    _refuse_inside(options)
    loaded = load_chosen(options, seed=options.seed, quiet=True)  # what is left out stands in the report
    labels = loaded.labels or ("marked",)  # pairs do not tell: taken for binary until --labels says otherwise
    with Bar(total=len(loaded.samples), desc="reading") as bar:
        examined = examine(loaded.samples, labels, progress=bar.advance)
    everything = [*findings(examined, labels), *untrainable(loaded.samples)]
    print(describe(loaded, labels, examined, options.data, everything))
    if options.sheet and (chosen := choose(examined)):
        Image.fromarray(draw_sheet(chosen, labels)).save(options.sheet, format="PNG")
    if options.write_splits:
        _write_splits(options, examined, labels)
    _write_annotations(options, loaded.samples, labels)
    if any(finding.kind != "doubt" for finding in everything):
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


def _refuse_inside(options: argparse.Namespace) -> None:
    """A data set that holds its own masks a second time could be read two ways, and a sheet is none of its images."""
    folder = options.data.resolve()
    for path in filter(None, (options.sheet, options.write_masks, options.write_coco)):
        if folder.is_dir() and path.resolve().is_relative_to(folder):
            raise InputError(
                f"{path} would lie in the data set itself, which could then not be read any more as it is: name a "
                f"place outside {options.data}, as {folder.parent / f'{folder.name}-{path.name}'}."
            )


def _write_splits(options: argparse.Namespace, examined: Sequence[Examined], labels: Sequence[str]) -> None:
    from medseg.data.splits import deal_folds, deal_rare, write_folds, write_splits

    samples = [entry.sample for entry in examined]
    if options.folds is not None:
        write_folds(samples, deal_folds(samples, options.folds, options.seed), options.write_splits)
    else:
        marked = [{label for label, count in zip(labels, entry.marked, strict=False) if count} for entry in examined]
        write_splits(deal_rare(samples, marked, options.seed), options.write_splits)
    print(f"wrote {options.write_splits}")


def _write_annotations(options: argparse.Namespace, samples: Sequence[Sample], labels: Sequence[str]) -> None:
    from medseg.data.coco import write_coco
    from medseg.data.mask_files import write_masks

    if options.write_masks:
        write_masks(samples, labels, options.write_masks)
        print(f"wrote {len(samples)} masks to {options.write_masks}")
    if options.write_coco:
        write_coco(samples, labels, options.write_coco)
        print(f"wrote {options.write_coco}")


def _labels(texts: Sequence[str]) -> list[str] | dict[str, list[str]] | None:
    """What `load_data` takes: None, names, or the classes that each name unites."""
    if not any("=" in text for text in texts):
        return list(texts) or None
    pairs = [text.partition("=") for text in texts]
    return {name: classes.split(",") if equals else [name] for name, equals, classes in pairs}
