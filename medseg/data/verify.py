"""What is wrong with a data set, found before the first epoch and said with file names.

Training calls `require_sound(samples, labels)`; `verify` gives the same findings as a list.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from medseg.arrays import Masks
from medseg.data.manifest import SPLITS, Sample
from medseg.data.parts import stored_size
from medseg.data.splits import divided_cases
from medseg.errors import InputError, ReadError
from medseg.image import Image

Progress = Callable[[int, int], None]

_NAMED = 10
"""Findings that a refusal names; `python -m medseg inspect` prints all."""


@dataclass(frozen=True)
class Finding:
    """One fault: the file (or split, or case) that has it, and a sentence."""

    where: str
    sentence: str

    def __str__(self) -> str:
        return f"{self.where}: {self.sentence}"


@dataclass(frozen=True)
class Examined:
    """One sample after reading: (height, width), channels, marked pixels for each label, and its own faults.

    `size` is None where the sample cannot be read. `digest` is the hash of the picture file's bytes.
    """

    sample: Sample
    size: tuple[int, int] | None = None
    channels: int = 0
    marked: tuple[int, ...] = ()
    digest: str = ""
    findings: tuple[Finding, ...] = field(default=())


def _silent(done: int, total: int) -> None:
    """No report of progress."""


def verify(samples: Sequence[Sample], labels: Sequence[str], *, progress: Progress = _silent) -> list[Finding]:
    """Every fault of `samples`, [] where there is none. All files are read once.

    Faults of a sample: a file that is missing or cannot be read; a mask of another size than its picture, with values
    that fit no label, or that marks every pixel; an annotation beyond the picture, or for one of another size; a mask
    with nothing of it inside the bounding boxes given beside it. Faults of the whole: a case in two splits; pictures of
    the same bytes in two splits; pictures of other channels than most; a split on which nothing is marked; a label that
    is never marked in train, or never at all.
    An empty mask is no fault: it is a picture without the finding.
    """
    return findings(examine(samples, labels, progress=progress), labels)


def require_sound(samples: Sequence[Sample], labels: Sequence[str], *, progress: Progress = _silent) -> None:
    """Raises InputError that names the first faults that `verify` finds, and their number."""
    found = verify(samples, labels, progress=progress)
    if found:
        named = " ".join(f"({number}) {finding}" for number, finding in enumerate(found[:_NAMED], start=1))
        more = f" And {len(found) - _NAMED} more: python -m medseg inspect lists them." if len(found) > _NAMED else ""
        raise InputError(f"The data set has {len(found)} faults. {named}{more}")


def examine(samples: Sequence[Sample], labels: Sequence[str], *, progress: Progress = _silent) -> list[Examined]:
    """Every sample read once; what `findings` and `survey` reckon with."""
    digests: dict[Path, str] = {}
    examined = []
    for done, sample in enumerate(samples, start=1):
        examined.append(_examine(sample, labels, digests))
        progress(done, len(samples))
    return examined


def findings(examined: Sequence[Examined], labels: Sequence[str]) -> list[Finding]:
    """The samples' own faults, then those of the whole."""
    own = [finding for one in examined for finding in one.findings]
    divided = [
        Finding(f"case {case}", f"stands in {' and '.join(splits)}: pictures of one patient belong to one split.")
        for case, splits in divided_cases(one.sample for one in examined).items()
    ]
    return [*own, *divided, *_duplicates(examined), *_odd_channels(examined), *_empty(examined, labels)]


def _examine(sample: Sample, labels: Sequence[str], digests: dict[Path, str]) -> Examined:
    missing = [Finding(_name(path), "the file is missing.") for path in sample.files if not path.is_file()]
    if missing:
        return Examined(sample, findings=tuple(missing))
    digest = ""
    try:
        digest = digests.get(sample.image) or digests.setdefault(sample.image, _digest(sample.image))
        image, masks = sample.read(labels)
    except OSError as error:
        return Examined(sample, findings=(Finding(_name(sample.image), f"cannot be opened: {error.strerror}."),))
    except ReadError as error:
        name, _, sentence = str(error).partition(": ")  # as `Sample.read` writes it
        return Examined(sample, digest=digest, findings=(Finding(name, sentence),))
    marked = tuple(int(mask.sum()) for mask in masks)
    faults = tuple(Finding(_name(sample.image), sentence) for sentence in _faults(sample, image, masks, labels))
    return Examined(sample, image.size, image.pixels.shape[2], marked, digest, faults)


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _faults(sample: Sample, image: Image, masks: Masks, labels: Sequence[str]) -> list[str]:
    """What is wrong with masks that could be read."""
    faults = [
        f"the mask marks every pixel as {label}: is it inverted, or no mask?"
        for label, mask in zip(labels, masks, strict=True)
        if mask.all()
    ]
    if sample.size not in (None, stored_size(image)):
        height, width = stored_size(image)
        stated = f"{sample.size[1]} × {sample.size[0]}"
        faults.append(f"the annotations are for {stated} pixels (width × height), the picture has {width} × {height}.")
    if any(box.right < box.left or box.bottom < box.top for box in sample.boxes):
        faults.append("a bounding box ends before it begins: are its corners exchanged?")
    inside = np.zeros(image.size, dtype=bool)
    try:
        for box in sample.boxes:
            inside |= box.read(image)
    except ReadError as error:
        return [*faults, str(error)]
    # Only where boxes and mask share nothing at all: public sets forget a box here and there.
    if inside.any() and not (masks & inside).any():
        faults.append("nothing is marked inside its bounding boxes: is it the mask of another picture?")
    return faults


def _duplicates(examined: Sequence[Examined]) -> list[Finding]:
    """Pictures of the same bytes (and slice) in different splits; within one split a copy does no harm."""
    first: dict[tuple[str, int], Sample] = {}
    found = []
    for one in examined:
        if not one.digest:
            continue
        other = first.setdefault((one.digest, one.sample.frame), one.sample)
        if other.split != one.sample.split:
            names = f"the same picture as {_name(other.image)}"
            found.append(
                Finding(_name(one.sample.image), f"{names}, which is in {other.split} and this in {one.sample.split}.")
            )
    return found


def _odd_channels(examined: Sequence[Examined]) -> list[Finding]:
    """Pictures of other channels than most; grey and colour are brought to each other, so they count as one."""
    kinds = [(one, "1 or 3" if one.channels in (1, 3) else str(one.channels)) for one in examined if one.channels]
    usual = max(Counter(kind for _, kind in kinds).items(), key=lambda item: item[1], default=("", 0))[0]
    sentence = f"channels, most pictures have {usual}: a model takes one number of them."
    return [Finding(_name(one.sample.image), f"has {kind} {sentence}") for one, kind in kinds if kind != usual]


def _empty(examined: Sequence[Examined], labels: Sequence[str]) -> list[Finding]:
    found = []
    readable = [one for one in examined if one.size]
    for split in SPLITS:
        inside = [one for one in readable if one.sample.split == split]
        if inside and not any(map(any, (one.marked for one in inside))):
            found.append(Finding(f"split {split}", f"all {len(inside)} masks are empty."))
    training = [one for one in readable if one.sample.split == "train"]
    for index, label in enumerate(labels):
        group, where = (training, "train") if training else (readable, "the data set")
        if group and any(map(any, (one.marked for one in group))) and not any(one.marked[index] for one in group):
            found.append(Finding(f"label {label}", f"none of the {len(group)} masks of {where} marks it."))
    return found


def _name(path: Path) -> str:
    """Folder and file: enough to find it, and no path of this machine in a report."""
    return f"{path.parent.name}/{path.name}"
