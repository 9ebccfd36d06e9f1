"""What is wrong with a data set, found before the first epoch and said with file names.

Training calls `require_sound(samples, labels)`, which stops at faults; evaluating, fitting and calibrating call
`check_split`, which stops at faults of the samples that are used and says the rest; `verify` gives all findings as a
list.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import numpy as np

from medseg.arrays import Masks
from medseg.data.left_out import counted
from medseg.data.manifest import SPLITS, Sample
from medseg.data.parts import Box, Polygon, stored_size
from medseg.data.splits import divided_cases
from medseg.errors import InputError, ReadError
from medseg.image import Image

Progress = Callable[[int, int], None]

_NAMED = 10
"""Findings that a refusal names; `medseg inspect` prints all."""

_LIKELY_WRONG = ("it is dark", "no finite numbers", "voxels early", "is a segmentation")
"""Words of the notes of reading that a data set repeats; windows and units are ordinary."""

_MOST = 0.9
"""Share of an image that a mask marks where it may be inverted."""


@dataclass(frozen=True)
class Finding:
    """What is wrong: the file (or split, or case) that has it, a sentence, and how far it goes.

    A fault makes a sample useless. A fault of the division makes training or its score useless. A doubt may be right:
    it is said, and nothing stops.
    """

    where: str
    sentence: str
    kind: Literal["fault", "division", "doubt"] = "fault"

    def __str__(self) -> str:
        return f"{self.where}: {self.sentence}"


@dataclass(frozen=True)
class Examined:
    """One sample after reading: (height, width), channels, marked pixels for each label, whether its mask covers the
    four corners, and its own findings.

    `size` is None where the sample cannot be, or was not read. `digest` is the hash of the image file's bytes, `notes`
    are those of reading it.
    """

    sample: Sample
    size: tuple[int, int] | None = None
    channels: int = 0
    marked: tuple[int, ...] = ()
    cornered: tuple[bool, ...] = ()
    digest: str = ""
    notes: tuple[str, ...] = ()
    findings: tuple[Finding, ...] = field(default=())


def _silent(done: int, total: int) -> None:
    """No report of progress."""


def verify(samples: Sequence[Sample], labels: Sequence[str], *, progress: Progress = _silent) -> list[Finding]:
    """Every fault of `samples`, [] where there is none. All files are read once.

    Faults of a sample: a file that is missing or cannot be read; a mask of another size than its image, with values
    that fit no label, or that marks every pixel; an annotation beyond the image, or for one of another size; a mask
    with nothing of it inside the bounding boxes given beside it; pixels that are no numbers. Faults of the division: a
    case in two splits; images of the same bytes in two splits; images of other channels than most; a split on which
    nothing is marked; a label that is never marked in train, or never at all. Doubts: masks that mark nine tenths of
    their image, or most of it and its corners, as inverted ones do; a turned photograph whose mask may be turned or
    not; a label that is marked in train and not in another split; no val or test split.
    An empty mask is no fault: it is an image without the finding.
    """
    return findings(examine(samples, labels, progress=progress), labels)


def require_sound(samples: Sequence[Sample], labels: Sequence[str], *, progress: Progress = _silent) -> list[Finding]:
    """The doubts about `samples`. Raises InputError that names the first faults that `verify` finds, their number, and
    doubts that may explain them."""
    all_findings = verify(samples, labels, progress=progress)
    _refuse([finding for finding in all_findings if finding.kind != "doubt"])
    return [finding for finding in all_findings if finding.kind == "doubt"]


def check_split(
    samples: Sequence[Sample], labels: Sequence[str], split: str, *, marked: bool = False, progress: Progress = _silent
) -> list[Finding]:
    """What is doubtful about scoring or fitting on `split` of `samples`; of the others the bytes alone are read.

    Raises InputError that names the faults of the split's own samples, which would be scored or learnt from, and where
    it must be `marked` and is not.
    """
    examined = examine(samples, labels, split=split, progress=progress)
    everything = findings(examined, labels)
    _refuse([finding for finding in everything if finding.kind == "fault"])
    if marked and not any(map(any, (entry.marked for entry in examined))):
        raise InputError(
            f"Nothing is marked in the split {split!r}: there is nothing to learn from. Choose other data."
        )
    return everything


def _refuse(faults: Sequence[Finding]) -> None:
    if faults:
        lines = grouped(faults)
        named = " ".join(f"({number}) {fault}" for number, fault in enumerate(lines[:_NAMED], start=1))
        more = f" And {len(lines) - _NAMED} more: medseg inspect lists them." if len(lines) > _NAMED else ""
        raise InputError(f"The data set has {counted(len(faults), 'fault')}. {named}{more}")


def grouped(all_findings: Sequence[Finding]) -> list[str]:
    """The findings as lines; what is said of more than three files is one line of the first that names two others."""
    files: dict[str, dict[str, None]] = {}
    for finding in all_findings:
        files.setdefault(finding.sentence, {})[finding.where] = None
    lines = []
    for sentence, names in files.items():
        first, *others = names
        if len(others) < 3:
            lines += [f"{name}: {sentence}" for name in names]
        else:
            lines.append(f"{first}: {sentence} (Also {', '.join(others[:2])} and {len(others) - 2} more.)")
    return lines


def examine(
    samples: Sequence[Sample], labels: Sequence[str], *, split: str | None = None, progress: Progress = _silent
) -> list[Examined]:
    """Every sample read once; what `findings` and `survey` reckon with. Of samples of other splits than `split` only
    the bytes of the image are read."""
    digests: dict[Path, str] = {}
    examined = []
    for done, sample in enumerate(samples, start=1):
        if split in (None, sample.split):
            examined.append(_examine(sample, labels, digests))
        elif sample.image.is_file():
            examined.append(Examined(sample, digest=_digest(sample.image, digests)))
        progress(done, len(samples))
    return examined


def findings(examined: Sequence[Examined], labels: Sequence[str]) -> list[Finding]:
    """The samples' own findings, then those of the whole."""
    own = [finding for entry in examined for finding in entry.findings]
    divided = [
        Finding(
            f"case {case}", f"stands in {' and '.join(splits)}: images of one patient belong to one split.", "division"
        )
        for case, splits in divided_cases(entry.sample for entry in examined).items()
    ]
    whole = [*_duplicates(examined), *_odd_channels(examined), *_empty(examined, labels), *_rare(examined, labels)]
    return [
        *own,
        *divided,
        *whole,
        *_inverted(examined, labels),
        *_absent(examined),
        *_noted(examined),
        *_stretched(examined),
    ]


def _examine(sample: Sample, labels: Sequence[str], digests: dict[Path, str]) -> Examined:
    missing = [Finding(_name(path), "the file is missing.") for path in sample.files if not path.is_file()]
    if missing:
        return Examined(sample, findings=tuple(missing))
    digest = ""
    try:
        digest = _digest(sample.image, digests)
        image, masks = sample.read(labels)
        own = (*_faults(sample, image, masks, labels), *_doubts(sample, image, masks, labels))
    except OSError as error:
        return Examined(sample, findings=(Finding(_name(sample.image), f"cannot be opened: {error.strerror}."),))
    except ReadError as error:
        name, _, sentence = str(error).partition(": ")  # as `Sample.read` writes it
        return Examined(sample, digest=digest, findings=(Finding(name, sentence),))
    marked = tuple(int(mask.sum()) for mask in masks)
    cornered = tuple(bool(mask[0, 0] and mask[0, -1] and mask[-1, 0] and mask[-1, -1]) for mask in masks)
    return Examined(sample, image.size, image.pixels.shape[2], marked, cornered, digest, image.notes, own)


def _digest(path: Path, known: dict[Path, str]) -> str:
    if path not in known:
        with path.open("rb") as file:
            known[path] = hashlib.file_digest(file, "sha256").hexdigest()
    return known[path]


def _faults(sample: Sample, image: Image, masks: Masks, labels: Sequence[str]) -> list[Finding]:
    """What is wrong with masks that could be read."""
    where = _name(sample.image)
    faults = [
        f"the mask marks every pixel as {label}: is it inverted, or no mask?"
        for label, mask in zip(labels, masks, strict=True)
        if mask.all()
    ]
    if not np.isfinite(image.pixels).all():
        faults.append("some pixels are no numbers (NaN or infinite). Save the image without them.")
    stated = sample.size
    height, width = image.size if stated and sample.annotated_upright(image) else stored_size(image)
    if stated not in (None, (height, width)):
        sides = f"{stated[1]} × {stated[0]}"
        faults.append(f"the annotations are for {sides} pixels (width × height), the image has {width} × {height}.")
    if any(box.right < box.left or box.bottom < box.top for box in sample.boxes):
        faults.append("a bounding box ends before it begins: are its corners exchanged?")
    inside = np.zeros(image.size, dtype=bool)
    try:
        for box in sample.boxes:
            inside |= sample.draw(box, image)
    except ReadError as error:
        return [Finding(where, sentence) for sentence in (*faults, str(error).partition(": ")[2])]
    # Only where boxes and mask share nothing at all: public sets forget a box here and there.
    if inside.any() and not (masks & inside).any():
        faults.append("nothing is marked inside its bounding boxes: is it the mask of another image?")
    return [Finding(where, sentence) for sentence in faults]


def _doubts(sample: Sample, image: Image, masks: Masks, labels: Sequence[str]) -> list[Finding]:
    """What may be right, and is wrong more often."""
    doubts = [
        f"the mask marks {mask.mean():.0%} of the image as {label}: is it inverted?"
        for label, mask in zip(labels, masks, strict=True)
        if _MOST <= mask.mean() < 1
    ]
    if any(isinstance(part, Polygon | Box) and part.label in labels for part in sample.parts) and not masks.any():
        doubts.append("its annotations are so small that no pixel is marked.")
    if image.orientation != 1 and len(sample.files) > 1 and _is_ambiguous(image):
        doubts.append(
            f"the photograph is turned by its EXIF orientation ({image.orientation}), and its mask may lie on the "
            "image as stored, as it is taken here, or upright. Save the photograph upright."
        )
    return [Finding(_name(sample.image), sentence, "doubt") for sentence in doubts]


def _is_ambiguous(image: Image) -> bool:
    """Whether the stored and the upright grid have one size."""
    return stored_size(image) == image.size


def _duplicates(examined: Sequence[Examined]) -> list[Finding]:
    """Images of the same bytes (and slice) in different splits; within one split a copy does no harm."""
    first: dict[tuple[str, int], Sample] = {}
    doubles = []
    for entry in examined:
        if not entry.digest:
            continue
        other = first.setdefault((entry.digest, entry.sample.frame), entry.sample)
        if other.split != entry.sample.split:
            names = f"the same picture as {_name(other.image)}"
            sentence = f"{names}, which is in {other.split} and this in {entry.sample.split}."
            doubles.append(Finding(_name(entry.sample.image), sentence, "division"))
    return doubles


def _odd_channels(examined: Sequence[Examined]) -> list[Finding]:
    """Images of other channels than most; grey and colour are brought to each other, so they count as one."""
    kinds = [
        (entry, "1 or 3" if entry.channels in (1, 3) else str(entry.channels)) for entry in examined if entry.channels
    ]
    usual = max(Counter(kind for _, kind in kinds).items(), key=lambda item: item[1], default=("", 0))[0]
    sentence = f"channels, most images have {usual}: a model takes one number of them."
    return [Finding(_name(entry.sample.image), f"has {kind} {sentence}") for entry, kind in kinds if kind != usual]


def _empty(examined: Sequence[Examined], labels: Sequence[str]) -> list[Finding]:
    empty = []
    readable = [entry for entry in examined if entry.size]
    for split in SPLITS:
        inside = [entry for entry in readable if entry.sample.split == split]
        if inside and not any(map(any, (entry.marked for entry in inside))):
            empty.append(Finding(f"split {split}", f"all {len(inside)} masks are empty.", "division"))
    training = [entry for entry in readable if entry.sample.split == "train"]
    for index, label in enumerate(labels):
        group, where = (training, "train") if training else (readable, "the data set")
        if (
            group
            and any(map(any, (entry.marked for entry in group)))
            and not any(entry.marked[index] for entry in group)
        ):
            sentence = f"none of the {len(group)} masks of {where} marks it."
            empty.append(Finding(f"label {label}", sentence, "division"))
    return empty


def _rare(examined: Sequence[Examined], labels: Sequence[str]) -> list[Finding]:
    """Labels that train has and another split, on which something else is marked, has not."""
    rare = []
    for index, label in enumerate(labels):
        counts = {
            split: [entry.marked[index] > 0 for entry in examined if entry.size and entry.sample.split == split]
            for split in SPLITS
        }
        missing = [split for split in ("val", "test") if counts[split] and not any(counts[split])]
        if len(labels) > 1 and any(counts["train"]) and missing:
            sentence = f"marked on {sum(counts['train'])} images of train and on none of {' and '.join(missing)}"
            rare.append(
                Finding(f"label {label}", f"{sentence}: inspect --write-splits deals with regard to it.", "doubt")
            )
    return rare


def _inverted(examined: Sequence[Examined], labels: Sequence[str]) -> list[Finding]:
    """A label whose masks cover most of nearly every image and its corners: lesions do not, inverted masks do."""
    doubts = []
    for index, label in enumerate(labels):
        marked = [entry for entry in examined if entry.size and entry.marked[index]]
        wide = [
            entry
            for entry in marked
            if entry.size and entry.cornered[index] and 2 * entry.marked[index] > entry.size[0] * entry.size[1]
        ]
        if len(marked) > 1 and len(wide) >= _MOST * len(marked):
            sentence = f"{len(wide)} of {len(marked)} masks mark more than half of the image and its corners: inverted?"
            doubts.append(Finding(f"label {label}", sentence, "doubt"))
    return doubts


def _noted(examined: Sequence[Examined]) -> list[Finding]:
    """What reading said of pixel values that are likely wrong: each kind once, of its first image, and of how many."""
    doubts = []
    for words in _LIKELY_WRONG:
        noted = [(entry, note) for entry in examined for note in entry.notes if words in note]
        if noted:
            entry, note = noted[0]
            sentence = f"{note} (So of {len(noted)} of {len(examined)} samples.)" if len(noted) > 1 else note
            doubts.append(Finding(_name(entry.sample.image), sentence, "doubt"))
    return doubts


def _stretched(examined: Sequence[Examined]) -> list[Finding]:
    """Files that name neither white nor window, and whose darkest and brightest values are not the same."""
    notes = {
        entry.sample.image: note for entry in examined for note in entry.notes if "are shown black to white" in note
    }
    if len({*notes.values()}) < 2:
        return []
    first, note = next(iter(notes.items()))
    sentence = (
        f"{note} So of {len(notes)} files, each by its own ends: the same value is another grey in each. Where values "
        "can be compared, as in CT or slices of one series, save them with a window, as 16 bits or as one volume."
    )
    return [Finding(_name(first), sentence, "doubt")]


def _absent(examined: Sequence[Examined]) -> list[Finding]:
    """Splits without a sample, where the data are divided and not all for testing."""
    splits = {entry.sample.split for entry in examined}
    if not splits <= {*SPLITS} or len(splits) == 1:
        return []  # undivided, or meant for one thing
    return [
        Finding(f"split {split}", "no sample belongs to it: with three cases or more each split gets one.", "doubt")
        for split in SPLITS
        if split not in splits
    ]


def untrainable(samples: Sequence[Sample]) -> list[Finding]:
    """What training will refuse of samples that are not all for testing: too few of train, none of val; and a doubt
    about a split that has one of ten cases or more."""
    counts = Counter(sample.split for sample in samples)
    if counts.keys() <= {"val", "test"}:
        return []
    least = {"train": (2, "a step of training needs two samples"), "val": (1, "training needs one to stop at its best")}
    cases = {(sample.split, sample.case) for sample in samples}
    sole = [split for split in ("val", "test") if len(cases) >= 10 and sum(part == split for part, _ in cases) == 1]
    few = f"holds 1 of {len(cases)} cases, whose figures say little: inspect --seed N --write-splits deals anew."
    return [Finding(f"split {split}", few, "doubt") for split in sole] + [
        Finding(f"split {split}", f"{why}, and it holds {counts[split]}. Add cases, or divide them anew.", "division")
        for split, (count, why) in least.items()
        if counts[split] < count
    ]


def _name(path: Path) -> str:
    """Folder and file: enough to find it, and no path of this machine in a report."""
    return f"{path.parent.name}/{path.name}"
