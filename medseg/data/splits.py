"""Which case goes where: dealt by a hash, in k folds, or as a given splits.json says; always by case, always hashed.

A case is a patient or a sequence; images of one case never stand in two splits. Several seeds give several divisions:
`deal(samples, seed)` for each. A splits.json is

    {"train": [names], "val": [names], "test": [names]}      or      {"folds": [[names], [names], …]}

where a name is an image's stem, its file name, or its case. What `write_splits` and `write_folds` write also holds the
hash of the division, and is refused for data that it was not made for.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from medseg.data.manifest import SPLITS, Sample, read_json
from medseg.errors import InputError

_FORM = 'is not of the form {"train": [stems], "val": […], "test": […]} or {"folds": [[stems], […]]}.'


def deal(samples: Sequence[Sample], seed: int = 0, *, least: int = 2) -> list[Sample]:
    """`samples` with a split for each that has none, 70 : 15 : 15 by a hash of (seed, case).

    Adding cases moves no other case, but where there are so few that a split would be empty, or of ten cases or more
    would hold fewer than `least` (1 in older versions): val and test then get 15 % each, one case at least. Where some
    samples are "test" already, as in sets published with a test part, the others are dealt 85 : 15 into train and val.
    """
    tested = any(sample.split == "test" for sample in samples)
    splits = _deal_cases({sample.case for sample in samples if not sample.split}, seed, tested, least)
    return [sample if sample.split else replace(sample, split=splits[sample.case]) for sample in samples]


def deal_rare(samples: Sequence[Sample], marked: Sequence[set[str]], seed: int = 0) -> list[Sample]:
    """`deal`, with regard to rare labels: of a label that three cases show, val, test and train get one each.

    `marked` are the labels that each sample shows. For each label that a split lacks, the rarest first, one case that
    shows it changes places with a case of that split whose labels the split has elsewhere too.
    """
    dealt = deal(samples, seed)
    shown: dict[str, set[str]] = {}
    for sample, labels in zip(dealt, marked, strict=True):
        shown.setdefault(sample.case, set()).update(labels)
    splits = {sample.case: sample.split for sample in dealt}
    for label in sorted(set().union(*shown.values()), key=lambda name: _cases_of(name, shown)):
        for split in SPLITS:
            _exchange(label, split, splits, shown, seed)
    return [replace(sample, split=splits[sample.case]) for sample in dealt]


def _cases_of(label: str, shown: dict[str, set[str]]) -> tuple[int, str]:
    return sum(label in labels for labels in shown.values()), label


def _exchange(label: str, split: str, splits: dict[str, str], shown: dict[str, set[str]], seed: int) -> None:
    """Give `split` a case with `label` for one that it can spare, where it has none and another split has two."""
    order = sorted(splits, key=lambda case: _position(case, seed))
    counts = {name: [case for case in order if splits[case] == name and label in shown[case]] for name in SPLITS}
    if counts[split] or split not in splits.values():
        return
    giver = max(SPLITS, key=lambda name: len(counts[name]))
    if len(counts[giver]) < 2:
        return
    inside = [case for case in order if splits[case] == split]
    needed = {
        case: {name for name in shown[case] if sum(name in shown[other] for other in inside) == 1} for case in inside
    }
    spared = min(inside, key=lambda case: len(needed[case]))
    if not needed[spared]:
        splits[counts[giver][0]], splits[spared] = split, giver


def deal_folds(samples: Iterable[Sample], count: int, seed: int = 0) -> list[list[str]]:
    """The cases of `samples` in `count` folds, as `deal_cases` deals them."""
    return deal_cases([sample.case for sample in samples], count, seed)


def deal_cases(cases: Iterable[str], count: int, seed: int = 0) -> list[list[str]]:
    """`cases`, each named once or more, in `count` folds of the same number of cases, give or take one, in an order by
    hash.

    Raises InputError for fewer than three folds, which leave nothing to train on, or more than there are cases.
    """
    order = sorted(set(cases), key=lambda case: _position(case, seed))
    if len(order) < 3:
        raise InputError(f"{len(order)} cases are too few to learn from some and check on others: wanted 3 or more.")
    if not 3 <= count <= len(order):
        raise InputError(f"{len(order)} cases cannot be dealt into {count} folds: wanted at least 3, each with a case.")
    return [sorted(order[fold::count]) for fold in range(count)]


def with_fold(samples: Sequence[Sample], folds: Sequence[Sequence[str]], fold: int) -> list[Sample]:
    """`samples` with fold number `fold` as test, the next one (the first after the last) as val, the others as train.

    The test parts of all folds together are the whole data set once: what cross-fitted predictions need. Fewer than
    three folds leave nothing to train on. Raises InputError.
    """
    if len(folds) < 3 or not 0 <= fold < len(folds):
        raise InputError(f"Fold {fold} of {len(folds)} cannot be chosen: wanted at least 3 folds, counted from 0.")
    roles = {fold: "test", (fold + 1) % len(folds): "val"}
    return _assigned(samples, {name: roles.get(i, "train") for i, names in enumerate(folds) for name in names})


def split_hash(samples: Iterable[Sample]) -> str:
    """sha256 over the sorted (case, file stem, split): two runs with the same hash used the same division."""
    lines = sorted(f"{s.case}\t{s.image.stem}\t{s.split}" + (f"\t{s.frame}" if s.frame else "") for s in samples)
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()


def write_splits(samples: Sequence[Sample], path: Path) -> None:
    """Write the splits that `samples` have, by case, with `split_hash`. Inverse of `apply_splits`."""
    cases = {split: sorted({s.case for s in samples if s.split == split}) for split in SPLITS}
    _dump({"unit": "case", **cases, "sha256": split_hash(samples)}, path)


def write_folds(samples: Sequence[Sample], folds: Sequence[Sequence[str]], path: Path) -> None:
    """Write `folds` of cases with their hash. `apply_splits` reads them."""
    _dump({"unit": "case", "folds": [list(fold) for fold in folds], "sha256": _folds_hash(samples, folds)}, path)


def folds_in(path: Path) -> int:
    """How many folds the splits file `path` holds; 0 where it says train, val and test."""
    groups, folded, _ = _read(path)
    return len(groups) if folded else 0


def apply_splits(samples: Sequence[Sample], path: Path, fold: int | None = None) -> list[Sample]:
    """`samples` with the splits of the file `path`; of folds, as `with_fold` says.

    A sample that the file leaves out keeps the split it has. Raises InputError for a file of another form, a name in
    two splits or of nothing that is here, samples left out that have no split, or a hash that is not that of these
    samples.
    """
    groups, folded, written = _read(path)
    if folded:
        done, digest = with_fold(samples, groups, fold or 0), _folds_hash(samples, groups)
    else:
        done = _assigned(samples, {name: split for split, names in zip(SPLITS, groups, strict=True) for name in names})
        digest = split_hash(done)
    if written not in (None, digest):
        raise InputError(f"{path.name} was written for other samples: its hash is not theirs. Write it again.")
    return done


def refuse_divided_cases(samples: Sequence[Sample]) -> None:
    """Raises InputError that names the first case standing in two splits."""
    for case, splits in divided_cases(samples).items():
        raise InputError(
            f"The case {case} stands in both {splits[0]} and {splits[1]}: images of one patient belong to one split."
        )


def divided_cases(samples: Iterable[Sample]) -> dict[str, list[str]]:
    """The cases that stand in more than one split, with those splits in the order met."""
    splits_of: dict[str, dict[str, None]] = {}
    for sample in samples:
        splits_of.setdefault(sample.case, {})[sample.split] = None
    return {case: list(splits) for case, splits in splits_of.items() if len(splits) > 1}


def _deal_cases(cases: Iterable[str], seed: int, tested: bool, least: int) -> dict[str, str]:
    """Case → split. Splits take the cases in the order of their hashes: train the lowest, then val, then test."""
    ordered = sorted(cases, key=lambda case: _position(case, seed))
    wanted = ("train", "val") if tested else SPLITS
    splits = [_deal(_position(case, seed), tested) for case in ordered]
    if len(ordered) >= len(wanted) and min(map(splits.count, wanted)) < (least if len(ordered) >= 10 else 1):
        few = max(1, round(0.15 * len(ordered)))
        others = [split for split in wanted[1:] for _ in range(few)]
        splits = ["train"] * (len(ordered) - len(others)) + others
    return dict(zip(ordered, splits, strict=True))


def _deal(position: float, tested: bool) -> str:
    if tested:
        return "train" if position < 0.85 else "val"
    return "train" if position < 0.7 else "val" if position < 0.85 else "test"


def _position(case: str, seed: int) -> float:
    """A number in [0, 1) that looks random and depends on nothing else."""
    return int.from_bytes(hashlib.sha256(f"{seed}\t{case}".encode()).digest()[:4], "big") / 2**32


def _assigned(samples: Sequence[Sample], splits: dict[str, str]) -> list[Sample]:
    def names(sample: Sample) -> tuple[str, str, str]:
        return sample.image.stem, sample.image.name, sample.case

    def of(sample: Sample) -> str:
        return next((splits[name] for name in names(sample) if name in splits), sample.split)

    absent = sorted(splits.keys() - {name for sample in samples for name in names(sample)})
    if absent:
        raise InputError(
            f"splits.json names {len(absent)} images or cases that are not here, the first: {', '.join(absent[:5])}."
        )
    done = [replace(sample, split=of(sample)) for sample in samples]
    missing = sorted({sample.image.stem for sample in done if not sample.split})
    if missing:
        raise InputError(f"splits.json leaves out {len(missing)} images, the first: {', '.join(missing[:5])}.")
    return done


def _read(path: Path) -> tuple[list[list[str]], bool, str | None]:
    """The lists of names, whether they are folds (else one list a split), and the hash written beside them."""
    try:
        content = read_json(path)
        folded, written = "folds" in content, content.get("sha256")
        lists = content["folds"] if folded else [content.get(split, []) for split in SPLITS]
        groups = [[str(name) for name in names] for names in lists]
    except (OSError, ValueError, AttributeError, TypeError):
        raise InputError(f"splits.json {_FORM}") from None
    numbers = {name: number for number, names in enumerate(groups) for name in names}
    twice = sorted(name for number, names in enumerate(groups) for name in names if numbers[name] != number)
    if twice:
        raise InputError(f"splits.json puts {', '.join(twice[:5])} into two splits: an image belongs to one.")
    return groups, folded, written


def _folds_hash(samples: Sequence[Sample], folds: Sequence[Sequence[str]]) -> str:
    return split_hash(_assigned(samples, {name: f"fold {i}" for i, names in enumerate(folds) for name in names}))


def _dump(content: dict[str, Any], path: Path) -> None:
    path.write_text(json.dumps(content, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
