"""Which images are of one patient where no folder and no table says it: what their files tell, and what their names
make likely.

DICOM files of one Patient ID and Roboflow's copies of one image are one case. Names that only look like several images
of one patient, as patient001_frame01 and patient001_frame02, are no proof: they are said as a doubt.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path

from medseg.data.left_out import DOUBTFUL, LeftOut, left_out
from medseg.data.listing import stem_of, suffix_of
from medseg.data.manifest import Sample
from medseg.data.splits import divided_cases
from medseg.errors import InputError
from medseg.reading.readers import read_patients

_COPY = re.compile(r"(.+)\.rf\.[0-9A-Za-z]+")
"""Roboflow's name of a copy: a.png becomes a_png.rf.HASH.jpg, another HASH for each augmented copy."""

_FORMAT = re.compile(r"_(png|jpe?g|bmp|tiff?|webp)$", re.IGNORECASE)
_DATE = re.compile(r"(19|20)\d\d([01]\d([0-3]\d)?)?")
_UID = re.compile(r"\d+(\.\d+){3,}")
_PATIENT = "patient-"
_HASHED = re.compile(_PATIENT + "[0-9a-f]{16}")
_TABLE = "a csv file in the folder, with the columns image and patient, says whose they are"
_NO_TABLE = "a splits.json in the folder can keep each patient in one split, and a manifest name the cases"
_FEWEST = 3
"""Patients of several images that names must show."""

_MOST = 20
"""Images of one beginning that are many for a patient, but not for a clinic, a device or a class."""

_CLEARLY = 0.1
"""Share of the cases by which names must make them fewer; one beginning of all but this share is no patient."""


def own_name(path: Path) -> str:
    """What an image is called that is a case of its own: the stem of its file, for Roboflow's copies what stands before
    the hash."""
    stem = stem_of(path)
    return copy[1] if (copy := _COPY.fullmatch(stem)) else stem


def own_names(path: Path) -> tuple[str, str]:
    """What the case of an image may be called that is one of its own."""
    return stem_of(path), own_name(path)


def of_one_patient(samples: Sequence[Sample]) -> list[Sample]:
    """`samples` whose case was the stem of their file, with one case for all of one Patient ID, named by its hash, and
    for Roboflow's copies of one image. A patient or copy of one image alone keeps the stem."""
    own = {sample.image for sample in samples if sample.case == stem_of(sample.image)}
    patients = read_patients(sorted(path for path in own if suffix_of(path) in (".dcm", ".dicom", "")))
    count, copies = Counter(patients.values()), Counter(map(own_name, own))
    cases = {path: own_name(path) for path in own if copies[own_name(path)] > 1}
    cases |= {path: _PATIENT + patient for path, patient in patients.items() if count[patient] > 1}
    return [replace(sample, case=cases.get(sample.image, sample.case)) for sample in samples]


def refuse_divided_patients(samples: Sequence[Sample], tables: bool) -> None:
    """Raises InputError for DICOM images of one Patient ID in two splits; `tables` as for `doubtful_cases`."""
    for case, splits in divided_cases(samples).items():
        if _HASHED.fullmatch(case):
            first = [next(s.image for s in samples if (s.case, s.split) == (case, split)) for split in splits[:2]]
            names = " and ".join("/".join(path.parts[-3:]) for path in first)
            raise InputError(
                f"{names} have one Patient ID, and stand in {splits[0]} and {splits[1]}: images of one patient belong "
                f"to one split. Divide them anew; or where that ID is no patient's, {_TABLE if tables else _NO_TABLE}."
            )


def doubtful_cases(samples: Sequence[Sample], tables: bool) -> tuple[LeftOut, ...]:
    """What is doubtful about the cases of `samples`, whose splits are those that the data set brings, "" for none: all
    images have one Patient ID, Roboflow's copies of one name lie in several splits, or the names of many begin alike
    before a last counter. `tables` says whether a csv file would be followed."""
    images = {sample.image: sample for sample in samples}
    way_out = _TABLE if tables else _NO_TABLE
    if len(images) > 1 and len({sample.case for sample in samples}) == 1 and _HASHED.fullmatch(samples[0].case):
        what = "DICOM images that all have one Patient ID and so are one case, in one split; where it is no patient's"
        return (_doubt(f"{what}, {way_out}", images),)
    return _divided_copies(images.values()) + _named_alike(images.values(), way_out)


def _divided_copies(samples: Iterable[Sample]) -> tuple[LeftOut, ...]:
    copies: dict[str, list[Sample]] = {}
    for sample in samples:
        if _COPY.fullmatch(stem_of(sample.image)):
            copies.setdefault(own_name(sample.image), []).append(sample)
    divided = [name for name, group in copies.items() if len({sample.split for sample in group}) > 1]
    return left_out("names of which Roboflow's copies lie in several splits, taken for other images", divided, DOUBTFUL)


def _named_alike(samples: Iterable[Sample], way_out: str) -> tuple[LeftOut, ...]:
    samples = list(samples)
    cases = len({sample.case for sample in samples})
    groups = [group for group in _alike(samples) if 1 < len({s.case for s in group}) < max(_MOST, _CLEARLY * cases)]
    alike = [len({sample.case for sample in group}) for group in groups]
    fewer = sum(alike) - len(groups)
    if len(groups) < _FEWEST or fewer < _CLEARLY * cases or max(alike) > (1 - _CLEARLY) * cases:
        return ()
    if all(len({sample.split for sample in group}) == 1 and group[0].split for group in groups):
        return ()  # a division that somebody made, and that keeps them together
    what = (
        "images named like several of one patient, each of which is a case of its own here, so that those of one "
        f"patient may lie in train and in test: {way_out}"
    )
    return (_doubt(what, [sample.image for group in groups for sample in group]),)


def _doubt(what: str, images: Iterable[Path]) -> LeftOut:
    names = [path.name for path in images]
    return LeftOut(what, len(names), tuple(names[:3]), DOUBTFUL)


def _alike(samples: Iterable[Sample]) -> list[list[Sample]]:
    """The samples that are cases of their own, by how their names begin."""
    groups: dict[str, list[Sample]] = {}
    for sample in sorted(samples, key=lambda sample: sample.image):
        name = own_name(sample.image)
        if sample.case.rpartition("/")[2] in own_names(sample.image) and (beginning := _beginning(name)):
            groups.setdefault(beginning, []).append(sample)
    return list(groups.values())


def _beginning(name: str) -> str:
    """The part of a name that may be a patient: patient001 of patient001_frame01, P1 of P1_L_1. "" where there is no
    part after it, or no number in it, as in image_001, whose beginning is a word and no patient; nor is a UID
    one, or a name whose first number is a date or a year."""
    name = _FORMAT.sub("", name)
    pieces = [] if _UID.fullmatch(name) else [piece for piece in re.split(r"[ _.()-]+", name) if piece]
    del pieces[-1:]
    while pieces and not re.search(r"\d", pieces[-1]):
        del pieces[-1]
    numbered = [piece for piece in pieces if re.search(r"\d", piece)]
    if numbered and _DATE.fullmatch(numbered[0]):
        return ""
    return "_".join(pieces).casefold()
