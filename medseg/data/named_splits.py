"""What the names of folders say of the division: settled, and refused where they say it by halves.

Held-out images must not be trained on because their folder has a name that medseg does not know.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path

from medseg.data.left_out import DOUBTFUL, LeftOut, left_out
from medseg.data.listing import IMAGE_WORDS, MASK_WORDS, seems_split, split_of, stem_of, words
from medseg.data.manifest import DataSet, Sample
from medseg.data.parts import relative_to
from medseg.errors import InputError

_BY_NAMES = ("pairs", "patterns", "class-folders", "labelme", "yolo", "cvat", "coco", "isic", "voc", "drive")
"""Layouts in which names of folders, files or subsets say each image's split; elsewhere "" is the publishers' train."""

_WAY_OUT = 'Rename them to train, val and test, or put a splits.json {"train": [names], "val": [], "test": []} there.'


def settle(loaded: DataSet, place: Path) -> list[Sample]:
    """The samples of `loaded`, read from `place`, with the splits that are to stand; "" is dealt later.

    Where folders say train and no val, what is train is dealt into train and val, beside a test that is given, or into
    all three. Raises InputError where names say the split of some images only, and for folders whose names look like
    the parts of a division and say none that medseg knows.
    """
    samples = loaded.samples
    if loaded.layout not in _BY_NAMES:
        return samples
    divided = sorted({sample.split for sample in samples} - {""})
    others = [relative_to(sample.image, place) for sample in samples if not sample.split]
    roles = IMAGE_WORDS | MASK_WORDS
    strange = any(not {*words(part)} & roles for name in others for part in Path(name).parts[:-1])
    if divided and others and (strange or divided != ["test"]):  # images/ beside test/images/ are not for testing
        raise InputError(
            f"In {place.name} names say of some images that they are {' or '.join(divided)}, and of {len(others)} "
            f"others nothing, the first: {others[0]}. {_WAY_OUT}"
        )
    parts = dict.fromkeys(part for name in others for part in Path(name).parts[:-1])
    refuse_unknown(place, [f"{part}/" for part in parts if seems_split(part)])
    if loaded.layout == "coco" or "val" in divided:
        return samples
    return [replace(sample, split="") if sample.split == "train" else sample for sample in samples]


def refuse_unknown(place: Path, names: Sequence[str]) -> None:
    """Raises InputError that says the `names` of what looks like the parts of a division."""
    if names:
        raise InputError(
            f"{' and '.join(sorted(names)[:4])} in {place.name} look like parts of a division, and which is which is "
            f"not known. {_WAY_OUT}"
        )


def held_out_name(samples: Iterable[Sample], place: Path) -> tuple[LeftOut, ...]:
    """What is to be said of samples that are about to be dealt although their folder or their name says val or test."""
    telling = {*words(place.name)} - {"set", "data", "dataset", "images", "part", "split"}
    if len(telling) == 1 and split_of(place.name) in ("val", "test") and any(not sample.split for sample in samples):
        return left_out("folders called for one split, whose images are dealt into all", [place.name], DOUBTFUL)
    named = {sample.image.name: split_of(stem_of(sample.image)) for sample in samples if not sample.split}
    if len({*named.values()} - {""}) > 1:  # train_1.png and test_1.png, not test_1.png alone
        held = [name for name, split in named.items() if split in ("val", "test")]
        return left_out("images called for val or test that are dealt into all", held, DOUBTFUL)
    return ()
