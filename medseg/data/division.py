"""A data set as an ensemble is fitted to or scored on it: its labels, and the division that training kept to."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path

from medseg.config import MemberConfig
from medseg.data.layouts.pairs import UNNAMED
from medseg.data.manifest import DataSet, Sample
from medseg.data.parts import MaskFile
from medseg.data.splits import deal, split_hash
from medseg.errors import InputError

_SEEDS = 10
"""Seeds of training whose dealing is tried: a recipe's seed deals its data."""


def with_labels(loaded: DataSet, labels: Sequence[str]) -> DataSet:
    """`loaded`, whose masks must have the `labels`: of one label that the data set does not name, the name is theirs.

    Raises InputError where parts have other names: nothing would be marked, and every score be wrong.
    """
    whole = all(isinstance(sample.mask, Path) for sample in loaded.samples)
    if whole and tuple(loaded.labels) in ((), tuple(labels)):
        return loaded
    if {*labels} <= {*loaded.labels}:
        return replace(loaded, samples=[_by_value(sample, loaded.labels) for sample in loaded.samples])
    if loaded.labels == (UNNAMED,) and len(labels) == 1:
        return replace(loaded, labels=tuple(labels), samples=[_renamed(sample, labels[0]) for sample in loaded.samples])
    absent = [label for label in labels if label not in loaded.labels]
    if whole:  # the masks name nothing, so that the names are the user's
        raise InputError(
            f"The masks name no labels; --labels calls them {', '.join(loaded.labels)}, and {', '.join(labels)} is "
            f"wanted. Say --labels {' '.join(labels)}, or the masks' values too, as in --labels {labels[0]}=1,2."
        )
    raise InputError(
        f"The data set has the labels {', '.join(loaded.labels)}, and {', '.join(absent)} is wanted. Say which it is: "
        f"--labels {absent[0]}={loaded.labels[0] if loaded.labels else 'NAME'}."
    )


def as_trained(samples: Sequence[Sample], recorded: Iterable[str]) -> list[Sample] | None:
    """`samples` without splits, dealt as the training or the fit that recorded one of these hashes dealt them: that of
    all samples, or of the val split. None where none of the first seeds gives such a hash, so that nothing was learnt
    from these data, or in another division."""
    known = {digest for digest in recorded if digest}
    for least, seed in itertools.product((2, 1), range(_SEEDS if known else 0)):  # as now, and as older versions dealt
        dealt = deal(samples, seed, least=least)
        if {split_hash(dealt), split_hash([sample for sample in dealt if sample.split == "val"])} & known:
            return dealt
    return None


def unlike_trained(samples: Sequence[Sample], trained: Sequence[MemberConfig], *, brings: bool) -> list[str]:
    """What is doubtful where the members `trained` kept to other divisions than that of `samples`, which the data set
    `brings` or not; members that record none are passed over."""
    recorded = {member.name: member.training_data.split_sha256 for member in trained}
    recorded = {name: digest for name, digest in recorded.items() if digest}
    own = split_hash(samples)
    if own not in recorded.values() and len({*recorded.values()}) < 2:
        doubt = "No member says that it was trained in this division. If these are data that one learnt from, images "
        doubt += "that it has seen may be among those used here; if not, they are new to all."
        return [doubt] if recorded and brings else []
    common = own if own in recorded.values() else next(iter(recorded.values()))
    other = ", ".join(name for name, digest in recorded.items() if digest != common)
    images = "images that it has seen may be among those used here. Train all members with the same --data and --seed."
    return [f"Trained in another division of the data than the others: {other}; {images}"] if other else []


def otherwise_divided(samples: Sequence[Sample], trained: Sequence[MemberConfig]) -> list[str]:
    """What is doubtful where members were `trained` on these very `samples`, dealt by another seed."""
    own, whole = split_hash(samples), [replace(sample, split="") for sample in samples]
    digests = {member.name: member.training_data.split_sha256 for member in trained}
    other = ", ".join(name for name, each in digests.items() if each not in ("", own) and as_trained(whole, [each]))
    images = "images that validate or are tested here may be among those it has seen. Give that training's --seed."
    return [f"Trained on these data in another division: {other}; {images}"] if other else []


def _by_value(sample: Sample, names: Sequence[str]) -> Sample:
    """Of a label map whose values 1, 2, … are `names`, in whatever order these are wanted."""
    if not isinstance(sample.mask, Path):
        return sample
    known = tuple(range(1, len(names) + 1))
    parts = (MaskFile(name, sample.mask, (value,), known) for value, name in zip(known, names, strict=True))
    return replace(sample, mask=tuple(parts))


def _renamed(sample: Sample, label: str) -> Sample:
    return replace(sample, mask=tuple(replace(part, label=label) for part in sample.parts))
