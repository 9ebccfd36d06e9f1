"""The layouts that medseg knows, and which of them a folder or file has."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from medseg.data.cases import with_cases
from medseg.data.coco import read_coco, read_coco_files
from medseg.data.json_kinds import json_kind, tables_of
from medseg.data.layouts.busi import is_busi, read_busi
from medseg.data.layouts.chest_tb import is_montgomery, is_shenzhen, read_montgomery, read_shenzhen
from medseg.data.layouts.chestx_det import is_chestx_det, read_chestx_det
from medseg.data.layouts.cvat import is_cvat, read_cvat
from medseg.data.layouts.drive import is_drive, read_drive
from medseg.data.layouts.isic import is_isic, read_isic
from medseg.data.layouts.kvasir import is_kvasir, read_kvasir
from medseg.data.layouts.label_studio import read_label_studio
from medseg.data.layouts.labelme import is_labelme, read_labelme
from medseg.data.layouts.lgg import is_lgg, read_lgg
from medseg.data.layouts.medsegbench import is_medsegbench, read_medsegbench
from medseg.data.layouts.nnunet import is_nnunet, read_nnunet
from medseg.data.layouts.pairs import is_class_folders, is_pairs, of_numbered_folders, read_class_folders, read_pairs
from medseg.data.layouts.siim import is_siim, read_siim
from medseg.data.layouts.via import read_via
from medseg.data.layouts.voc import is_voc, read_voc
from medseg.data.layouts.yolo import is_yolo, read_yolo
from medseg.data.left_out import left_out
from medseg.data.listing import files_in, is_image, names_below, split_of, suffix_of, unread, walk
from medseg.data.manifest import DataSet, read_manifest
from medseg.data.patients import of_one_patient
from medseg.errors import InputError
from medseg.reading.archive import without_wrapper

_WAY_OUT = "name what belongs together with --images PATTERN --masks PATTERN, or write a manifest .json"


@dataclass(frozen=True)
class Layout:
    """How one layout is told (`fits`, for folders) and read. Of `wider` layouts it is a special case."""

    fits: Callable[[Path], bool]
    read: Callable[[Path], DataSet]
    wider: tuple[str, ...] = ()


def _of_json(kind: str, read: Callable[[Path], DataSet]) -> Layout:
    """The layout of a folder that holds JSON of that kind, in one file, or for COCO in several."""

    def read_folder(root: Path) -> DataSet:
        paths = tables_of(root, kind)
        if len(paths) > 1 and kind == "coco":
            return read_coco_files(paths)
        if len(paths) > 1:
            raise InputError(f"{root.name} holds {len(paths)} JSON files of annotations: name the one that is meant.")
        return read(paths[0])

    return Layout(lambda root: bool(tables_of(root, kind)), read_folder)


LAYOUTS = {
    "pairs": Layout(is_pairs, read_pairs),
    "class-folders": Layout(is_class_folders, read_class_folders),
    "kvasir": Layout(is_kvasir, read_kvasir, wider=("pairs",)),
    "lgg": Layout(is_lgg, read_lgg, wider=("pairs",)),
    "busi": Layout(is_busi, read_busi, wider=("pairs",)),
    "isic": Layout(is_isic, read_isic, wider=("pairs",)),
    "drive": Layout(is_drive, read_drive, wider=("pairs",)),
    "montgomery": Layout(is_montgomery, read_montgomery, wider=("pairs", "class-folders")),
    "shenzhen": Layout(is_shenzhen, read_shenzhen, wider=("pairs",)),
    "decathlon": Layout(is_nnunet, read_nnunet, wider=("pairs", "class-folders")),
    "voc": Layout(is_voc, read_voc, wider=("pairs",)),
    "chestx-det": Layout(is_chestx_det, read_chestx_det),
    "siim-acr": Layout(is_siim, read_siim),
    "coco": _of_json("coco", read_coco),
    "labelme": Layout(is_labelme, read_labelme),
    "cvat": Layout(is_cvat, read_cvat),
    "label-studio": _of_json("label-studio", read_label_studio),
    "via": _of_json("via", read_via),
    "yolo": Layout(is_yolo, read_yolo),
    "medsegbench": Layout(is_medsegbench, read_medsegbench),
    "manifest": _of_json("manifest", read_manifest),
}
"""Every layout of a folder; each is described where it is read."""

_COUNTING = ("pairs", "kvasir", "decathlon", "labelme", "siim-acr", "chestx-det", "medsegbench")
"""Layouts whose readers look at every image below the folder, or at one archive."""

_CASELESS = ("isic", "voc", "coco", "labelme", "cvat", "label-studio", "via", "yolo")

_TABLED = (*_CASELESS, "pairs", "patterns", "kvasir", "class-folders")

_FILES: dict[str, Callable[[Path], DataSet]] = {
    "coco": read_coco,
    "chestx-det": read_chestx_det,
    "via": read_via,
    "label-studio": read_label_studio,
}


def read_place(place: Path, layout: str = "auto") -> DataSet:
    """The data set at `place`, a folder or an annotation file, whose splits are those that it brings ("" for none).

    Raises InputError for a place of no known layout, or of two: both are named.
    """
    if layout not in ("auto", *LAYOUTS):
        raise InputError(f"There is no layout {layout!r}; there are auto, {', '.join(LAYOUTS)}.")
    if place.is_file():
        loaded = _read_file(place)
        return replace(loaded, samples=of_one_patient(loaded.samples)) if loaded.layout in _CASELESS else loaded
    if not place.is_dir():
        raise InputError(f"{place.name} is not there: wanted the folder of a data set, its zip, or an annotation file.")
    split = ""
    while (inside := without_wrapper(place)) != place:  # as archives are unpacked: one folder around all
        place, split = inside, split_of(inside.name)
    fitting = [name for name, known in LAYOUTS.items() if layout in ("auto", name) and known.fits(place)]
    wider = {name for chosen in fitting for name in LAYOUTS[chosen].wider}
    narrow = [name for name in fitting if name not in wider]
    if len(narrow) > 1:
        raise InputError(
            f"{place.name} can be read as {' and as '.join(narrow)}: name the one that is meant with --layout, or "
            "keep one of them in the folder."
        )
    if narrow:
        return _of_split(_of_patients(_with_unused(LAYOUTS[narrow[0]].read(place), place), place), split)
    if layout == "auto" and len(unknown := _unknown_json(place)) == 1:
        return _read_file(unknown[0])  # which says what is wrong with it
    raise InputError(f"{place.name} is in no layout that medseg knows. {_contents(place)} {_wanted(layout)}")


def _with_unused(loaded: DataSet, place: Path) -> DataSet:
    """`loaded` with the images counted that lie in folders of which no sample is, for layouts that count none."""
    if loaded.layout in _COUNTING:
        return loaded
    homes = {os.path.abspath(path.parent) for sample in loaded.samples for path in sample.files}
    aside = [path for path in walk(place) if is_image(path) and os.path.abspath(path.parent) not in homes]
    entries = left_out("images in folders that the layout has no use for", names_below(place, aside))
    entries += left_out("files whose format medseg does not read", unread(place, place))
    return replace(loaded, left_out=(*loaded.left_out, *entries))


def follows_tables(loaded: DataSet, place: Path) -> bool:
    """Whether a csv file in `place` says the cases of `loaded`."""
    return place.is_dir() and loaded.layout in _TABLED


def _of_patients(loaded: DataSet, place: Path) -> DataSet:
    """`loaded` with the cases that folders and tables say, for layouts that name no cases of their own."""
    if loaded.layout not in _CASELESS:
        return loaded
    samples, entries = with_cases(of_numbered_folders(loaded.samples, place), place)
    return replace(loaded, samples=samples, left_out=(*loaded.left_out, *entries))


def _of_split(loaded: DataSet, split: str) -> DataSet:
    """`loaded` from a folder that is alone in the place and called val or test: its images are of that split."""
    if split not in ("val", "test"):
        return loaded
    return replace(loaded, samples=[replace(sample, split=sample.split or split) for sample in loaded.samples])


def _read_file(path: Path) -> DataSet:
    if path.suffix.lower() == ".xml":
        return read_cvat(path)
    if path.suffix.lower() == ".npz":
        return read_medsegbench(path)
    if path.suffix.lower() in (".yaml", ".yml"):
        return read_yolo(path)
    kind = json_kind(path)
    if not kind and path.suffix.lower() != ".json":
        raise InputError(
            f"{path.name} is no data set: wanted its folder, its zip, or its annotation file (JSON, CVAT's .xml, "
            "YOLO's data.yaml, MedSegBench's .npz)."
        )
    return _FILES.get(kind, read_manifest)(path)


def _unknown_json(place: Path) -> list[Path]:
    tables = files_in(place, "*.json", "annotations/*.json")
    return [path for path in tables if not json_kind(path) and path.name not in ("splits.json", "dataset.json")]


def _contents(place: Path) -> str:
    """What lies there, so that the user sees what was looked at."""
    counts = Counter(f"{path.parent.relative_to(place).as_posix()}/*{suffix_of(path)}" for path in walk(place))
    named = ", ".join(f"{count} {name.removeprefix('./')}" for name, count in counts.most_common(6))
    return f"It holds {named}." if named else "It is empty."


def _wanted(layout: str) -> str:
    known = f"images/ and masks/ or another of the layouts ({', '.join(LAYOUTS)})" if layout == "auto" else layout
    return f"Wanted {known}; or {_WAY_OUT}."
