"""Any labelled data set as one list of samples: image, masks, case, split.

    samples = load_data("Kvasir-SEG.zip").samples
    samples = load_data("chestx-det", labels=["Effusion", "Cardiomegaly"]).samples  # chosen classes
    samples = load_data("chestx-det", labels={"finding": ["*"]}).samples            # their union as one label

The layouts are those of `LAYOUTS`, each described where it is read, and medseg's own manifest (`medseg.data.manifest`).
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypeAlias, TypeVar

from medseg.data.coco import is_coco, read_coco
from medseg.data.layouts_folders import (
    PAIR_FOLDERS,
    is_class_folders,
    is_decathlon,
    is_kvasir,
    is_lgg,
    is_pairs,
    read_class_folders,
    read_decathlon,
    read_kvasir,
    read_lgg,
    read_pairs,
)
from medseg.data.layouts_tables import is_chestx_det, is_chestx_det_json, is_siim, read_chestx_det, read_siim
from medseg.data.manifest import SPLITS, DataSet, Sample, read_manifest, write_manifest
from medseg.data.parts import Box, Part
from medseg.data.splits import apply_splits, deal, refuse_divided_cases, split_hash
from medseg.errors import InputError
from medseg.reading.archive import unpack_zip

__all__ = [
    "LAYOUTS",
    "SPLITS",
    "DataSet",
    "Labels",
    "Sample",
    "given_splits",
    "load_data",
    "select",
    "split_hash",
    "write_manifest",
]

Labels: TypeAlias = Sequence[str] | Mapping[str, Sequence[str]]
"""Chosen classes, or the classes that each label unites; "*" is every class."""


AnyPart = TypeVar("AnyPart", Part, Box)


@dataclass(frozen=True)
class Layout:
    """How one public layout is told (`fits`, for folders) and read."""

    fits: Callable[[Path], bool]
    read: Callable[[Path], DataSet]


LAYOUTS = {
    "chestx-det": Layout(is_chestx_det, read_chestx_det),
    "siim-acr": Layout(is_siim, read_siim),
    "kvasir": Layout(is_kvasir, read_kvasir),
    "class-folders": Layout(is_class_folders, read_class_folders),
    "pairs": Layout(is_pairs, read_pairs),
    "decathlon": Layout(is_decathlon, read_decathlon),
    "lgg": Layout(is_lgg, read_lgg),
}
"""Folder layouts in the order tried: the narrower before the wider, of which "kvasir" is also "pairs"."""


def load_data(
    data: Path | str,
    *,
    labels: Labels | None = None,
    layout: str = "auto",
    splits: Path | None = None,
    fold: int = 0,
    seed: int = 0,
    boxes: bool = False,
    divide: bool = True,
) -> DataSet:
    """The data set at `data`, every sample with its split.

    `data` is a folder in one of the `LAYOUTS`, found out where `layout` is "auto"; a zip of one; or a JSON file, which
    may be a folder's only one: medseg's manifest, COCO instances, or ChestX-Det's annotations. `labels` chooses or
    unites classes of sets that name theirs. With `boxes` the bounding boxes, filled, are the masks.

    A splits.json in the folder (or `splits`, another file of that form) is honoured, of folds number `fold` as
    `splits.with_fold` says. Without one, cases are dealt 70 : 15 : 15 by a hash of (seed, case), so that adding cases
    moves no other case; where `divide` is False their split stays "". Raises InputError that says what was looked for,
    or which files, labels or cases do not fit.
    """
    place = unpack_zip(Path(data)) if Path(data).suffix.lower() == ".zip" else Path(data)
    found = _read(place, layout)
    if not found.samples:
        raise InputError(f"{place.name} holds no samples: wanted at least one picture with a mask.")
    if boxes:
        found = _with_boxes(found)
    if labels is not None:
        found = _relabelled(found, labels)
    path = splits or given_splits(place)
    given = apply_splits(found.samples, path, fold) if path else found.samples
    dealt = deal(given, seed) if divide else given
    refuse_divided_cases(dealt)
    return replace(found, samples=dealt)


def select(samples: Iterable[Sample], split: str) -> list[Sample]:
    """The samples of one split. Raises InputError where there are none."""
    chosen = [sample for sample in samples if sample.split == split]
    if not chosen:
        raise InputError(f"No sample belongs to the split {split!r}; splits are {', '.join(SPLITS)}.")
    return chosen


def _read(place: Path, layout: str) -> DataSet:
    if layout not in ("auto", *LAYOUTS):
        raise InputError(f"There is no layout {layout!r}; there are auto, {', '.join(LAYOUTS)}.")
    if place.suffix == ".json":
        return _read_json(place)
    if not place.is_dir():
        raise InputError(f"{place.name} is no folder: wanted the folder of a data set, its zip, or a manifest .json.")
    fitting = [name for name, known in LAYOUTS.items() if layout in ("auto", name) and known.fits(place)]
    if fitting:
        return LAYOUTS[fitting[0]].read(place)
    if layout == "auto" and (table := _only_json(place)):
        return _read_json(table)
    wanted = " or ".join(f"{images}/ and {masks}/" for images, masks in PAIR_FOLDERS)
    raise InputError(
        f"{place.name} is no folder of pairs: wanted {wanted} inside it, a folder as medseg/data/layouts_*.py describe "
        f"({', '.join(LAYOUTS)}), or a manifest .json."
    )


def _only_json(place: Path) -> Path | None:
    """A folder's one JSON file, as COCO's annotations/instances.json. Raises InputError where there are several."""
    tables = sorted(path for path in [*place.glob("*.json"), *place.glob("annotations/*.json")])
    tables = [path for path in tables if path.name != "splits.json"]
    if len(tables) > 1:
        raise InputError(f"{place.name} holds {len(tables)} JSON files: name the one that is meant.")
    return tables[0] if tables else None


def _read_json(path: Path) -> DataSet:
    """Told apart by content; what is no JSON is left to the manifest's reader, which says so."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        content = None
    if is_coco(content):
        return read_coco(path)
    return read_chestx_det(path) if is_chestx_det_json(content) else read_manifest(path)


def given_splits(place: Path) -> Path | None:
    """The division that the data set at `place` brings: splits.json in the folder, or beside LGG's kaggle_3m/."""
    folders = [place, place.parent] if place.name == "kaggle_3m" else [place]
    return next((folder / "splits.json" for folder in folders if (folder / "splits.json").is_file()), None)


def _with_boxes(found: DataSet) -> DataSet:
    if not any(sample.boxes for sample in found.samples):
        raise InputError(f"This data set ({found.layout}) holds no bounding boxes. Leave `boxes` out.")
    return replace(found, samples=[replace(sample, mask=sample.boxes) for sample in found.samples])


def _relabelled(found: DataSet, labels: Labels) -> DataSet:
    """`found` with the classes that `labels` chooses, under the names it gives them.

    Masks without names (a binary mask, a label map) are named in the order of their values, and can only be named.
    """
    chosen = labels if isinstance(labels, Mapping) else {label: [label] for label in labels}
    if all(isinstance(sample.mask, Path) for sample in found.samples):
        if isinstance(labels, Mapping):
            raise InputError("The masks of this data set do not name their classes: give a list of names, in order.")
        return replace(found, labels=tuple(labels))
    unknown = sorted({name for names in chosen.values() for name in names} - {*found.labels, "*"})
    if unknown:
        raise InputError(f"There is no class {', '.join(unknown)} here; there are {', '.join(found.labels)}.")
    return DataSet(found.layout, tuple(chosen), [_chosen(sample, chosen) for sample in found.samples])


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
