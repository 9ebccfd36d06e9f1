"""One hospital's observations as a file: what weights and threshold are chosen from, without images, masks or names.

Cases and images are numbered in the order of a hash of their own histograms, so neither their number nor their place
tells which patient they are of; images of one case have one number, which keeps cases whole in folds.
"""

from __future__ import annotations

import hashlib
import json
import math
import re
import zipfile
import zlib
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from itertools import accumulate, pairwise
from pathlib import Path
from typing import Any

import numpy as np

from medseg.config import Task
from medseg.errors import ConfigError, InputError, MedsegError
from medseg.fitting.baseline import PRIOR_SIDE
from medseg.fitting.histogram import Histogram
from medseg.fitting.observations import SEARCH_SIDE, Observations
from medseg.fitting.thresholds import THRESHOLDS
from medseg.schema import from_json, require
from medseg.writing import replacing

FORMAT = "medseg observations 1"
FEWEST_CASES = 10
"""The smallest group that is written: of fewer there is no interval either."""

MAX_BYTES = 2**29
"""Of a file's arrays, unpacked: some 8,000 images at the most bytes that one takes."""

_KINDS: dict[str, np.dtype[Any]] = {
    "about": np.dtype(np.uint8),
    "case": np.dtype(np.int32),
    "cells": np.dtype(np.int32),
    "probabilities": np.dtype(np.float16),
    "pixels": np.dtype(np.uint32),
    "marked": np.dtype(np.uint32),
    "prior": np.dtype(np.int64),
}
_HEADER = re.compile(
    rb"\x93NUMPY\x01\x00..\{'descr': '([^']{1,9})', 'fortran_order': False, 'shape': \(([\d, ]{0,99})\), \} *\n",
    re.DOTALL,
)
_Arrays = dict[str, np.ndarray]


@dataclass(frozen=True)
class About:
    """What a file says of itself: the task, and the names and hashes of the members, in the order of the weights."""

    format: str
    task: Task
    labels: tuple[str, ...]
    members: tuple[str, ...]
    sha256: tuple[str, ...]
    split: str

    def __post_init__(self) -> None:
        require(self.format == FORMAT, f"it is not of the format {FORMAT!r}")
        require(bool(self.labels) and bool(self.members), "it names no labels or no members")
        require(len(self.members) == len(self.sha256), "members and hashes differ in number")

    @property
    def groups(self) -> int:
        """Histograms of an image: one for each label, or of labels that are decided together one for all."""
        return 1 if self.task == "multiclass" else len(self.labels)


def refuse_few(cases: Sequence[str]) -> None:
    """Raises InputError for fewer than FEWEST_CASES cases, each named once or more."""
    if (number := len(set(cases))) < FEWEST_CASES:
        raise InputError(f"{number} cases are too few to leave a hospital: wanted {FEWEST_CASES} or more.")


def write_site(observations: Observations, about: About, path: Path) -> None:
    """Raises InputError for fewer than FEWEST_CASES cases."""
    refuse_few(observations.cases)
    order, case_of = _anonymous(observations)
    parts = [part for i in order for part in observations.histograms[i]]
    arrays: dict[str, Any] = {
        "about": np.frombuffer(json.dumps(asdict(about)).encode(), np.uint8),
        "case": [case_of[observations.cases[i]] for i in order],
        "cells": np.array([len(part.pixels) for part in parts]).reshape(len(order), -1),
        "probabilities": np.concatenate([part.probabilities for part in parts], axis=2),
        "pixels": np.concatenate([part.pixels for part in parts]),
        "marked": np.concatenate([part.marked for part in parts], axis=1),
        "prior": observations.prior[order],
    }
    typed = {name: np.ascontiguousarray(arrays[name], kind) for name, kind in _KINDS.items()}
    with replacing(path) as writing, writing.open("wb") as stream:
        np.savez_compressed(stream, allow_pickle=False, **typed)


def _anonymous(observations: Observations) -> tuple[list[int], dict[str, int]]:
    """The images in the order of their content, and a number for each case, in that of its own first image."""
    contents = [
        hashlib.sha256(b"".join(a.tobytes() for part in image for a in (part.probabilities, part.pixels, part.marked)))
        for image in observations.histograms
    ]
    order = sorted(range(len(contents)), key=lambda i: contents[i].digest())
    return order, {case: n for n, case in enumerate(dict.fromkeys(observations.cases[i] for i in order))}


def read_site(path: Path) -> tuple[Observations, About]:
    """The observations that `write_site` wrote, their cases named by their numbers.

    Raises InputError for any other file: a stranger may have made it.
    """
    try:
        arrays = _arrays(path)
        about = from_json(About, json.loads(arrays["about"].tobytes()))
        _check(arrays, about)
    except (OSError, ValueError, RecursionError, RuntimeError, zipfile.BadZipFile, zlib.error, ConfigError) as error:
        why = str(error) if isinstance(error, MedsegError) else f"it cannot be read ({type(error).__name__})"
        raise InputError(f"{path.name} is not what `medseg observe` writes: {why.removesuffix('.')}.") from None
    cells = arrays["cells"]
    ends = pairwise(accumulate(cells.ravel().tolist(), initial=0))
    parts = [
        Histogram(arrays["probabilities"][..., a:b], arrays["pixels"][a:b], arrays["marked"][:, a:b]) for a, b in ends
    ]
    histograms = tuple(tuple(parts[i : i + about.groups]) for i in range(0, len(parts), about.groups))
    cases = tuple(str(number) for number in arrays["case"])
    return Observations(histograms, arrays["prior"], cases, about.split, about.task), about


def _arrays(path: Path) -> _Arrays:
    """The arrays of the file, each of its kind; nothing is unpacked that says to be too large."""
    require(path.is_file(), "there is no such file")
    with zipfile.ZipFile(path) as archive:
        entries = archive.infolist()
        require(sorted(entry.filename for entry in entries) == sorted(f"{name}.npy" for name in _KINDS), "other arrays")
        require(sum(entry.file_size for entry in entries) <= MAX_BYTES, f"it unpacks to more than {MAX_BYTES} bytes")
        return {name: _array(archive.read(f"{name}.npy"), kind, name) for name, kind in _KINDS.items()}


def _array(content: bytes, kind: np.dtype[Any], name: str) -> np.ndarray:
    """An array of NumPy's format 1.0, whose size its header does not decide alone; NumPy's own reader evaluates it."""
    header = _HEADER.match(content)
    if header is None or header[1] != kind.str.encode():
        raise ConfigError(f"{name} is no array of {kind}")
    shape, rest = [int(length) for length in header[2].replace(b",", b" ").split()], content[header.end() :]
    require(math.prod(shape) * kind.itemsize == len(rest), f"{name} has another size")
    return np.frombuffer(rest, kind).reshape(shape)


def _check(arrays: _Arrays, about: About) -> None:
    """Raises ConfigError for arrays that do not fit each other, and for numbers that no image gives."""
    images, total = len(arrays["case"]), len(arrays["pixels"])
    labels, together = len(about.labels), len(about.labels) // about.groups
    shapes: dict[str, Sequence[int]] = {
        "case": (images,),
        "cells": (images, about.groups),
        "probabilities": (len(about.members), together, total),
        "pixels": (total,),
        "marked": (together, total),
        "prior": (images, labels, len(THRESHOLDS), 3),
    }
    for name, shape in shapes.items():
        require(arrays[name].shape == tuple(shape), f"{name} is of the shape {arrays[name].shape}, wanted {shape}")
    cases, cells, pixels = arrays["case"], arrays["cells"], arrays["pixels"]
    numbers = np.unique(cases)
    require(np.array_equal(numbers, np.arange(len(numbers))), "its cases are not numbered from 0 on")
    require(len(numbers) >= FEWEST_CASES, f"it holds {len(numbers)} cases, wanted {FEWEST_CASES} or more")
    require(cells.min() >= 1 and int(cells.sum(dtype=np.int64)) == total, "its cells do not add up")
    values = arrays["probabilities"]
    require(bool(((values >= 0) & (values <= 1)).all()), "it holds values that are no probabilities")
    require(pixels.min() >= 1 and bool((arrays["marked"] <= pixels).all()), "it marks more pixels than there are")
    starts = np.concatenate([[0], np.cumsum(cells.ravel(), dtype=np.int64)[:-1]])
    sizes = np.add.reduceat(pixels.astype(np.int64), starts).reshape(cells.shape)
    require(sizes.max() <= SEARCH_SIDE**2 and bool((sizes == sizes[:, :1]).all()), "its images have no one size")
    both, predicted, true = np.moveaxis(arrays["prior"], -1, 0)
    fits = (both >= 0) & (both <= predicted) & (both <= true) & (predicted <= PRIOR_SIDE**2) & (true <= PRIOR_SIDE**2)
    require(bool(fits.all()), "the counts of its mean mask are impossible")
