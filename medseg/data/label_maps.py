"""How the masks and label maps of others are read: by the data's own values where its labels carry values, by the
report that lies beside medseg's own, else as 1, 2, … in the order of the labels.

Where the values that are there fit two readings that differ, one is taken and said, or the masks are refused.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeAlias

from medseg.arrays import Masks
from medseg.data.manifest import Sample, naming, read_json
from medseg.data.parts import ANY, MaskFile
from medseg.errors import InputError, ReadError
from medseg.image import Image
from medseg.inference.record import NOTICE
from medseg.reading.marks import Value, ValuesError
from medseg.reading.readers import read_mask_file, read_one_mask, read_values, values_in
from medseg.schema import cut

MaskReader: TypeAlias = Callable[[Path, Image], Masks]
"""The masks (K, H, W) of a file for an image. Raises ReadError."""

_WHITE = frozenset({255, 65535})
_PEEKED = 3
_MOST_VALUES = 16
"""Values of a file that may be a label map, where nobody says which there are; a grey image has more."""

_HEAD_BYTES = 2048


@dataclass(frozen=True)
class Coding:
    """The values by which the data's label maps mark each label; `known` are all that they may hold, () for any."""

    values: Mapping[str, tuple[Value, ...]]
    known: tuple[Value, ...]

    @property
    def words(self) -> str:
        return ", ".join(f"{label} = {_either(values)}" for label, values in self.values.items())

    @property
    def marks(self) -> frozenset[Value]:
        """The values of any label."""
        return frozenset(value for values in self.values.values() for value in values)

    @property
    def is_coloured(self) -> bool:
        return any(isinstance(value, tuple) for value in self.marks)

    def covers(self, held: frozenset[float] | None) -> bool:
        """Whether a file that holds these values can only be one of the data's label maps."""
        return bool(self.known) and held is not None and held <= {0, *self.known}

    def read(self, path: Path, image: Image) -> Masks:
        """The masks of a label map with the data's values. Raises ReadError for others, and where they are not all
        known for what holds as many as a grey image, or white and none of the marks."""
        held = values_in(path, image.frame) if not self.known and not {*ANY} & self.marks else None
        if held and (len(held) > _MOST_VALUES or (held & _WHITE and not held & self.marks)):
            raise ValuesError(f"The mask holds {_some(held)}.", f"Save it with the data's values, {self.words}.")
        try:
            return read_values(path, [*self.values.values()], self.known, like=image)
        except ValuesError as error:
            raise ValuesError(error.held, f"Save it with the data's values, {self.words}.") from None


def coding_of(samples: Sequence[Sample], labels: Sequence[str]) -> Coding | None:
    """How the data's label maps mark the `labels`; None where a label is of no such map, or samples do not agree."""
    codings = {_of_sample(sample, labels) for sample in samples if sample.mask != ()}
    if len(codings) != 1 or (values := next(iter(codings))) is None:
        return None
    known = {part.known for sample in samples for part in sample.parts if isinstance(part, MaskFile)}
    coding = Coding(dict(zip(labels, values, strict=True)), known.pop() if len(known) == 1 else ())
    return Coding(coding.values, tuple(coding.marks)) if coding.is_coloured and not coding.known else coding


def _of_sample(sample: Sample, labels: Sequence[str]) -> tuple[tuple[Value, ...], ...] | None:
    """The values of each label; None where it is marked otherwise than by values."""
    parts = [part for part in sample.parts if part.label in labels]
    values = {label: set[Value]() for label in labels}
    for part in parts:
        if not isinstance(part, MaskFile) or not part.values:
            return None
        values[part.label] |= {*part.values}
    return tuple(tuple(sorted(values[label], key=str)) for label in labels) if all(values.values()) else None


@dataclass(frozen=True)
class Own:
    """What medseg's report says of the mask beside it: the labels in the order of the mask's values 1, 2, …, and the
    pixels of each; `frame` of the file with that hash is the image."""

    pixels: Mapping[str, float]
    frame: int
    file_sha256: str | None

    def read(self, path: Path, labels: Sequence[str], image: Image) -> Masks:
        """The masks of `labels`. Raises ReadError for labels of other names, where the mask lacks pixels, and for a
        slice of another volume."""
        image = self._shown(image)
        if len(self.pixels) == len(labels) == 1:
            return read_mask_file(path, labels, like=image)
        theirs, names = [*self.pixels], cut(", ".join(self.pixels))
        if absent := [label for label in labels if label not in theirs]:
            raise ReadError(
                f"medseg's report beside it names the labels {names}, and {', '.join(absent)} is wanted. "
                "Name the data's labels alike, with --labels."
            )
        masks = read_values(path, [(theirs.index(label) + 1,) for label in labels], like=image)
        for label, mask in zip(labels, masks, strict=True):
            if mask.sum() < self.pixels[label]:
                raise ReadError(
                    f"It has {mask.sum()} pixels of {label} where medseg's report beside it counts "
                    f"{self.pixels[label]:g}: a PNG holds one label a pixel, and here they overlap, or it was changed. "
                    "Evaluate the ensemble itself."
                )
        return masks

    def _shown(self, image: Image) -> Image:
        """A slice without its affine, which a PNG cannot have: the mask lies as the slice of that file is shown."""
        if image.affine is None or image.frames == 1:
            return image
        if (image.file_sha256, image.frame) != (self.file_sha256, self.frame):
            raise ReadError(
                "medseg's report beside it is of another file than this image, and a PNG does not say how it lies in "
                "the patient. Predict this image's file anew."
            )
        return replace(image, affine=None)


def own_report(path: Path) -> Own | None:
    """What medseg's report beside a mask says; None where there is none, and for other programs' JSON."""
    report = path.with_suffix(".json")
    if path.suffix.lower() != ".png" or not report.is_file():  # a pipe has no end
        return None
    try:
        content: Any = read_json(report)
        if not isinstance(content["masks_sha256"], str):
            return None
        pixels = {str(label): float(area["px"]) for label, area in content["areas"].items()}
        return Own(pixels, int(content["image"]["frame"]), content["image"]["file_sha256"])
    except (OSError, ValueError, OverflowError, KeyError, TypeError, AttributeError):
        return None


def _is_own_map(path: Path) -> bool:
    """Whether the file is a label map as `medseg.export.png` writes it: a PNG with a palette and the notice."""
    with path.open("rb") as file:
        head = file.read(_HEAD_BYTES)
    return head.startswith(b"\x89PNG") and b"PLTE" in head and NOTICE.encode() in head


def mask_reader(
    paired: Mapping[int, Path], samples: Sequence[Sample], labels: Sequence[str], coding: Coding | None
) -> tuple[MaskReader, list[str]]:
    """What reads the masks that are `paired` with samples by their index, and what is to be said of how it does.

    Raises InputError where nothing tells which label the values mark.
    """
    others = {index: path for index, path in paired.items() if own_report(path) is None}
    read, notes = _of_others(others, samples, labels, coding) if others else (_in_order(labels), [])
    if any(map(_is_own_map, others.values())):
        notes = [
            *notes,
            "medseg wrote label maps whose reports are not beside them: the ensemble may order labels otherwise",
        ]

    def read_either(path: Path, image: Image) -> Masks:
        own = own_report(path)
        with naming(path):
            return own.read(path, labels, image) if own else read(path, image)

    return read_either, notes


def _of_others(
    paired: Mapping[int, Path], samples: Sequence[Sample], labels: Sequence[str], coding: Coding | None
) -> tuple[MaskReader, list[str]]:
    masks = [sample.mask for sample in samples if sample.mask != ()]
    if masks and all(isinstance(mask, Path) for mask in masks):
        return _in_order(labels), []  # the data's masks are read so themselves
    if coding is None or coding.is_coloured:
        return _uncoded(paired, samples, labels, coding)
    if len(labels) == 1:
        return _alone(paired, samples, labels[0], coding)
    _refuse_without(coding, _held(paired, samples))
    return coding.read, _said(coding)


def _uncoded(
    paired: Mapping[int, Path], samples: Sequence[Sample], labels: Sequence[str], coding: Coding | None
) -> tuple[MaskReader, list[str]]:
    """Data without label maps, or with those of colours: maps of numbers are read in the order of the labels."""
    ordered = ", ".join(f"{number} = {label}" for number, label in enumerate(labels, start=1))
    read, notes = _in_order(labels), [f"label maps are read as {ordered}"]
    if len(labels) == 1:
        read = _one_of(labels[0])
        first = sorted(paired, key=lambda index: -paired[index].stat().st_size)[:_PEEKED]
        peeked = _held({index: paired[index] for index in first}, samples)
        notes = notes if any(held and held - {0} == {1} for held in peeked) else []
    if coding:
        notes = [f"{note}, those of colours by the data's colours" for note in notes]
        return _first_of(coding.read, read), notes
    return read, notes


def _alone(
    paired: Mapping[int, Path], samples: Sequence[Sample], label: str, coding: Coding
) -> tuple[MaskReader, list[str]]:
    """One label of the data's label maps: the files may be such maps, or masks of that label alone."""
    marks, either = coding.marks, _first_of(coding.read, _one_of(label))
    if ANY[0] in marks:
        return either, _said(coding)
    if coding.known and {*coding.known} - {0} <= marks - {0} and 0 not in marks:
        return either, []  # what is marked is this label, in both readings
    values: set[float] = set()
    for held in _held(paired, samples):
        if held is None or not (coding.covers(held) or not coding.known):
            continue
        values |= held - {0}
        shown = bool(values & marks) and (0 not in marks or len(values) > 1)
        if shown or (coding.known and len(values) > 1):
            return coding.read, _said(coding)
    if not values and 0 not in marks:
        return _one_of(label), []
    if values <= _WHITE and values and not coding.known and 0 not in marks:
        return _one_of(label), [
            f"masks of 0 and 255 are read as {label}, though label maps of the data have {coding.words}"
        ]
    white = not _WHITE & {*coding.known, *marks} and 0 not in marks
    remedy = "masks of 0 and 255" if white else ".npy arrays of 0 and 1"
    raise InputError(
        f"The masks hold {_some({0, *values})} alone, and in the data's label maps {coding.words}: nothing says "
        f"whether they mark {label}. Save label maps with the data's values, or {remedy}."
    )


def _refuse_without(coding: Coding, files: Iterator[frozenset[float] | None]) -> None:
    """Raises InputError where no file holds a value of the data's labels, and nothing says what it holds instead."""
    if coding.known or {*ANY, 0} & coding.marks:
        return
    values: set[float] = set()
    for held in files:
        values |= (held or frozenset()) - {0}
        if values & coding.marks:
            return
    if values:
        raise InputError(
            f"The label maps hold {_some(values)} and none of the data's values, {coding.words}. Save them with these."
        )


def _held(paired: Mapping[int, Path], samples: Sequence[Sample]) -> Iterator[frozenset[float] | None]:
    """The values of each file that can be read."""
    for index, path in paired.items():
        try:
            yield values_in(path, samples[index].frame)
        except ReadError:
            continue  # said when it is its turn


def _in_order(labels: Sequence[str]) -> MaskReader:
    """1, 2, … are the labels in their order; of one label all but 0 is marked."""
    ordered = ", ".join(f"{number} = {label}" for number, label in enumerate(labels, start=1))
    wanted = (
        f"Label maps are read as {ordered}" if len(labels) > 1 else f"Masks of {labels[0]} hold 0 and 1, or 0 and 255"
    )

    def read(path: Path, image: Image) -> Masks:
        try:
            return read_mask_file(path, labels, like=image)
        except ValuesError as error:
            raise ValuesError(error.held, f"{wanted}: save it so.") from None

    return read


def _one_of(label: str) -> MaskReader:
    """Masks of one label of several: a mark of another number than 1 or white may be another label's."""

    def read(path: Path, image: Image) -> Masks:
        wanted = f"Masks of {label} hold 0 and 1, or 0 and 255: save it so."
        try:
            masks, held = read_one_mask(path, like=image)
        except ValuesError as error:
            raise ValuesError(error.held, wanted) from None
        marked = (held or frozenset()) - {0}
        if len(marked) == 1 and not marked <= {1, *_WHITE}:
            raise ValuesError(f"The mask holds the value {_some(marked)}.", wanted)
        return masks

    return read


def _first_of(read: MaskReader, other: MaskReader) -> MaskReader:
    """`read`, or `other` for files of other values, and for JPEG, whose values are no data's."""

    def read_either(path: Path, image: Image) -> Masks:
        try:
            return read(path, image)
        except ReadError as error:
            try:
                return other(path, image)
            except ValuesError:
                raise
            except ReadError:
                raise error from None

    return read_either


def _said(coding: Coding) -> list[str]:
    """What is said where the data's values are others than the order of the labels."""
    in_order = all(values == (number,) for number, values in enumerate(coding.values.values(), start=1))
    return [] if in_order else [f"label maps are read by the data's values: {coding.words}"]


def _either(values: Sequence[Value]) -> str:
    return "all but 0" if ANY[0] in values else " or ".join(map(str, values))


def _some(values: set[float] | frozenset[float]) -> str:
    return ", ".join(f"{value:g}" for value in sorted(values)[:8])
