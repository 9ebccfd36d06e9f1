"""Any labelled data set as one list of samples: image, masks, case, split.

    samples = load_data("Kvasir-SEG.zip").samples
    samples = load_data("chestx-det", labels=["Effusion", "Cardiomegaly"]).samples  # chosen classes
    samples = load_data("chestx-det", labels={"finding": ["*"]}).samples            # their union as one label

The layouts are those of `LAYOUTS`, each described where it is read, and medseg's own manifest (`medseg.data.manifest`).
What a data set holds and is not taken stands in its `left_out`, and is said as a MedsegWarning.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TypeAlias, TypeVar

from medseg.data.catalogue import LAYOUTS, follows_tables, read_place
from medseg.data.layouts.pairs import UNNAMED, read_patterns
from medseg.data.left_out import left_out, warn_left_out
from medseg.data.listing import no_files, printable
from medseg.data.lists import unfollowed
from medseg.data.manifest import SPLITS, DataSet, Sample, write_manifest
from medseg.data.named_splits import held_out_name, settle
from medseg.data.parts import ANY, Box, MaskFile, Part, relative_to
from medseg.data.patients import doubtful_cases, own_names, refuse_divided_patients
from medseg.data.splits import apply_splits, deal, folds_in, refuse_divided_cases, split_hash
from medseg.errors import InputError
from medseg.reading.archive import unpack_zip, without_wrapper

__all__ = [
    "LAYOUTS",
    "SPLITS",
    "DataSet",
    "Labels",
    "Sample",
    "count_folds",
    "given_splits",
    "load_data",
    "select",
    "split_hash",
    "write_manifest",
]

Labels: TypeAlias = Sequence[str] | Mapping[str, Sequence[str]]
"""Chosen classes, or the classes that each label unites; "*" is every class."""


AnyPart = TypeVar("AnyPart", Part, Box)


def load_data(
    data: Path | str,
    *,
    labels: Labels | None = None,
    layout: str = "auto",
    images: str = "",
    masks: str = "",
    splits: Path | None = None,
    fold: int | None = None,
    seed: int = 0,
    boxes: bool = False,
    divide: bool = True,
    quiet: bool = False,
) -> DataSet:
    """The data set at `data`, every sample with its split.

    `data` is a folder in one of the `LAYOUTS`, recognised where `layout` is "auto"; a zip of one; or an annotation
    file: medseg's manifest, COCO, VIA, Label Studio or ChestX-Det JSON, CVAT XML, YOLO's data.yaml, a MedSegBench .npz.
    The patterns `images` and `masks`, as 'scans/*.png' and 'truth/*_bin.png', say what belongs together in a folder of
    any other layout. `labels` chooses or unites classes of sets that name theirs; for masks without names it names
    their values in order, or says them: {"disc": ["1", "2"]}. With `boxes` the bounding boxes, filled, are the masks.

    A splits.json in the folder (or `splits`, another file of that form) is honoured, of folds number `fold` (else 0) as
    `splits.with_fold` says. Without one, cases are dealt 70 : 15 : 15 by a hash of (seed, case), as `splits.deal` says;
    where `divide` is False their split stays "". What is left out is a MedsegWarning each, unless `quiet`. Raises
    InputError that says what was looked for, or which files, labels or cases do not fit.
    """
    place = unpack_zip(Path(data)) if Path(data).suffix.lower() == ".zip" else Path(data)
    if bool(images) != bool(masks):
        raise InputError("Patterns come in pairs: name both the images and the masks.")
    try:
        loaded = read_patterns(place, images, masks) if images else read_place(place, layout)
    except InputError as error:  # a zip is known by its own name, not that of the folder it was unpacked to
        raise InputError(str(error).replace(place.name, Path(data).name)) from None
    loaded = _with_boxes(loaded) if boxes else _outlined(loaded)
    if not loaded.samples:
        said = " ".join(map(str, loaded.left_out))
        raise InputError(f"{Path(data).name} holds no samples: wanted at least one image with a mask. {said}".rstrip())
    _refuse_names(loaded.samples)
    if labels is not None:
        loaded = _relabelled(loaded, labels)
    path = splits or given_splits(place)
    samples = apply_splits(_apart(loaded.samples), path, fold) if path else _apart(settle(loaded, place))
    if fold is not None and (path is None or not folds_in(path)):
        raise InputError(f"{Path(data).name} comes in no folds, and fold {fold} is wanted. Leave the fold out.")
    dealt = deal(samples, seed) if divide else samples
    strays = left_out("links to nothing, pipes and devices", no_files(place))
    entries = (*loaded.left_out, *strays, *held_out_name(samples, place), *(() if path else unfollowed(dealt, place)))
    entries += doubtful_cases(samples, follows_tables(loaded, place))
    if not quiet:
        warn_left_out(entries)
    refuse_divided_patients(dealt, follows_tables(loaded, place))
    refuse_divided_cases(dealt)
    return replace(loaded, samples=dealt, left_out=entries)


def _refuse_names(samples: Sequence[Sample]) -> None:
    """Raises InputError for the name of an image that is not UTF-8: neither table nor report could hold it."""
    for sample in samples:
        name = printable(sample.image.name)
        if name != sample.image.name:
            raise InputError(f"The name of {name} (? for what cannot be read) is not UTF-8: rename the file.")


def select(samples: Sequence[Sample], split: str) -> list[Sample]:
    """The samples of one split. Raises InputError where there are none."""
    chosen = [sample for sample in samples if sample.split == split]
    if not chosen:
        counts = ", ".join(f"{name} {sum(sample.split == name for sample in samples)}" for name in SPLITS)
        raise InputError(
            f"No sample belongs to the split {split!r} (there are {counts}): add images of other cases, or say the "
            "division in a splits.json."
        )
    return chosen


def _apart(samples: Sequence[Sample]) -> list[Sample]:
    """`samples` with a case each for different images of one stem, as train/1.png and test/1.png are, where nothing
    but the stem says what case they are."""
    images: dict[str, set[Path]] = {}
    for sample in samples:
        images.setdefault(sample.case, set()).add(sample.image)
    alike = {
        case for case, paths in images.items() if len(paths) > 1 and all(case in own_names(path) for path in paths)
    }
    if not alike:
        return list(samples)
    root = Path(os.path.commonpath([sample.image.parent for sample in samples]))
    return [
        replace(sample, case=relative_to(sample.image.with_name(sample.case), root)) if sample.case in alike else sample
        for sample in samples
    ]


def count_folds(data: Path) -> int:
    """How many folds the splits.json of the data set has; 0 without one, or where it has none."""
    path = given_splits(unpack_zip(data) if data.suffix.lower() == ".zip" else data)
    return folds_in(path) if path else 0


def given_splits(place: Path) -> Path | None:
    """The division that the data set at `place` brings: splits.json in the folder, or beside LGG's kaggle_3m/."""
    folders = [place, place.parent] if place.name == "kaggle_3m" else [place]
    while place.is_dir() and (inside := without_wrapper(place)) != place:
        folders.append(place := inside)
    return next((folder / "splits.json" for folder in folders if (folder / "splits.json").is_file()), None)


def _with_boxes(loaded: DataSet) -> DataSet:
    if not any(sample.boxes for sample in loaded.samples):
        raise InputError(f"This data set ({loaded.layout}) holds no bounding boxes. Leave `boxes` out.")
    return replace(loaded, samples=[replace(sample, mask=sample.boxes) for sample in loaded.samples])


def _outlined(loaded: DataSet) -> DataSet:
    """`loaded` without images that have bounding boxes alone: they show something, and no mask says what."""
    boxed = {sample.image for sample in loaded.samples if sample.boxes and not (sample.mask)}
    samples = [sample for sample in loaded.samples if sample.image not in boxed]
    entries = left_out("images with bounding boxes and no outline", [path.name for path in boxed])
    return replace(loaded, samples=samples, left_out=(*loaded.left_out, *entries))


def _relabelled(loaded: DataSet, labels: Labels) -> DataSet:
    """`loaded` with the classes that `labels` chooses, under the names it gives them.

    Masks without names (a binary mask, a label map) are named in the order of their values, or by their values.
    """
    chosen = labels if isinstance(labels, Mapping) else {label: [label] for label in labels}
    if len(chosen) < len(labels):
        raise InputError(f"A label stands twice among {', '.join(labels)}. Name each once.")
    if all(isinstance(sample.mask, Path) for sample in loaded.samples):
        if isinstance(labels, Mapping):
            return _by_values(loaded, labels)
        return replace(loaded, labels=tuple(labels))
    if loaded.labels == (UNNAMED,) and len(chosen) == 1 and UNNAMED not in chosen:
        chosen = {label: ["*"] for label in chosen}
    unknown = sorted({name for names in chosen.values() for name in names} - {*loaded.labels, "*"})
    if unknown:
        raise InputError(f"There is no class {', '.join(unknown)} here; there are {', '.join(loaded.labels)}.")
    return replace(loaded, labels=tuple(chosen), samples=[_chosen(sample, chosen) for sample in loaded.samples])


def _by_values(loaded: DataSet, labels: Mapping[str, Sequence[str]]) -> DataSet:
    """Masks without names, whose values `labels` names: {"disc": ["0", "128"]}, or ["*"] for all but 0."""
    for name, values in labels.items():
        if not all(re.fullmatch(r"\*|\d+", value) for value in values):
            raise InputError(
                f"The masks of this data set do not name their classes, so {name} needs values: {name}=1,2 or "
                f"{name}=*; or give a list of names, in the order of the values."
            )
    groups = {name: () if "*" in values else tuple(map(int, values)) for name, values in labels.items()}
    samples = [
        replace(sample, mask=tuple(MaskFile(name, Path(sample.mask), values or ANY) for name, values in groups.items()))
        for sample in loaded.samples
        if isinstance(sample.mask, Path)
    ]
    return replace(loaded, labels=tuple(labels), samples=samples)


def _chosen(sample: Sample, chosen: Mapping[str, Sequence[str]]) -> Sample:
    if isinstance(sample.mask, Path):
        return sample

    def under_new_names(parts: tuple[AnyPart, ...]) -> tuple[AnyPart, ...]:
        return tuple(
            replace(part, label=label)
            for label, names in chosen.items()
            for part in parts
            if part.label in names or "*" in names
        )

    return replace(sample, mask=under_new_names(sample.mask), boxes=under_new_names(sample.boxes))
