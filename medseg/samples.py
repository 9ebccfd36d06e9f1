"""Any labelled data set as one list of samples: image, masks, case, split.

Read here: a folder of pairs, and medseg's manifest, a JSON file

    {"labels": ["polyp"], "samples": [{"image": "a.png", "mask": "a_mask.png", "case": "p1", "split": "train"}, …]}

with paths relative to it. `case` is the patient or sequence: splits never divide one.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from medseg.arrays import Masks
from medseg.errors import InputError, ReadError
from medseg.image import Image
from medseg.readers import read_image, read_masks

SPLITS = ("train", "val", "test")
_PAIR_FOLDERS = (("images", "masks"), ("train_images", "train_masks"), ("image", "mask"))
_SUFFIXES = {".png", ".jpg", ".jpeg", ".tif", ".tiff", ".dcm", ".nii", ".gz"}


@dataclass(frozen=True)
class Sample:
    """One labelled picture, not yet read. `mask` is a binary mask or a label map."""

    image: Path
    mask: Path
    case: str
    split: str

    def read(self, labels: Sequence[str]) -> tuple[Image, Masks]:
        """The picture and its masks (K, H, W) on the same upright grid. Raises ReadError that names the file."""
        reading = self.image
        try:
            image = read_image(reading)
            reading = self.mask
            return image, read_masks(reading, labels, like=image)
        except ReadError as error:
            raise ReadError(f"{reading.parent.name}/{reading.name}: {error}") from None


def load_samples(data: Path, *, seed: int = 0) -> list[Sample]:
    """All samples of a folder of pairs or a manifest, each with its split.

    A folder holds images/ and masks/ (or train_images/ and train_masks/, image/ and mask/) whose files pair up by
    stem; a `splits.json` there ({"train": [stems], "val": […], "test": […]}) is honoured. Without one, cases are dealt
    70 : 15 : 15 by a hash of (seed, case), so that adding cases moves no other case.
    Raises InputError that names the first files without a partner, or says what was looked for.
    """
    data = Path(data)
    samples = _read_manifest(data) if data.suffix == ".json" else _read_pairs(data)
    if not samples:
        raise InputError(f"{data.name} holds no samples: wanted at least one picture with a mask.")
    dealt = [s if s.split else replace(s, split=_deal(s.case, seed)) for s in samples]
    _refuse_divided_cases(dealt)
    return dealt


def select(samples: Iterable[Sample], split: str) -> list[Sample]:
    """The samples of one split. Raises InputError where there are none."""
    chosen = [sample for sample in samples if sample.split == split]
    if not chosen:
        raise InputError(f"No sample belongs to the split {split!r}; splits are {', '.join(SPLITS)}.")
    return chosen


def split_hash(samples: Iterable[Sample]) -> str:
    """sha256 over the sorted (case, file stem, split): two runs with the same hash used the same division."""
    lines = sorted(f"{s.case}\t{s.image.stem}\t{s.split}" for s in samples)
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()


def _read_manifest(path: Path) -> list[Sample]:
    try:
        entries = json.loads(path.read_text(encoding="utf-8"))["samples"]
        return [_from_entry(path.parent, entry) for entry in entries]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputError(f"{path.name} is not a manifest ({error!r}): see the top of medseg/samples.py.") from None


def _from_entry(root: Path, entry: dict[str, Any]) -> Sample:
    image = root / entry["image"]
    split = entry.get("split") or ""
    if split and split not in SPLITS:
        raise ValueError(f"split {split!r}")
    case = entry.get("case")
    return Sample(image, root / entry["mask"], image.stem if case in (None, "") else str(case), split)  # 0 is a case


def _read_pairs(root: Path) -> list[Sample]:
    for images, masks in _PAIR_FOLDERS:
        if (root / images).is_dir() and (root / masks).is_dir():
            return _pair_up(_by_stem(root / images), _by_stem(root / masks), _given_splits(root))
    wanted = " or ".join(f"{images}/ and {masks}/" for images, masks in _PAIR_FOLDERS)
    raise InputError(f"{root.name} is no folder of pairs: wanted {wanted} inside it, or a manifest .json.")


def _pair_up(images: dict[str, Path], masks: dict[str, Path], splits: dict[str, str]) -> list[Sample]:
    alone = sorted(images.keys() ^ masks.keys())
    if alone:
        raise InputError(
            f"{len(alone)} files have no partner of the same stem, the first: {', '.join(alone[:5])}. "
            "Every picture needs one mask."
        )
    missing = sorted(images.keys() - splits.keys()) if splits else []
    if missing:
        raise InputError(f"splits.json leaves out {len(missing)} pictures, the first: {', '.join(missing[:5])}.")
    return [Sample(images[stem], masks[stem], stem, splits.get(stem, "")) for stem in sorted(images)]


def _by_stem(folder: Path) -> dict[str, Path]:
    files: dict[str, Path] = {}
    for path in sorted(folder.iterdir()):
        if path.suffix.lower() not in _SUFFIXES:
            continue
        stem = path.name.removesuffix(".gz").rpartition(".")[0] if path.suffix == ".gz" else path.stem
        if stem in files:
            raise InputError(f"{folder.name}/ holds two files with the stem {stem}: keep one.")
        files[stem] = path
    return files


def _given_splits(root: Path) -> dict[str, str]:
    path = root / "splits.json"
    if not path.is_file():
        return {}
    try:
        given = json.loads(path.read_text(encoding="utf-8"))
        pairs = [(str(stem), split) for split in SPLITS for stem in given.get(split, [])]
    except (ValueError, AttributeError, TypeError):
        raise InputError('splits.json is not of the form {"train": [stems], "val": […], "test": […]}.') from None
    splits = dict(pairs)
    twice = sorted(stem for stem, split in pairs if splits[stem] != split)
    if twice:
        raise InputError(f"splits.json puts {', '.join(twice[:5])} into two splits: a picture belongs to one.")
    return splits


def _deal(case: str, seed: int) -> str:
    position = int.from_bytes(hashlib.sha256(f"{seed}\t{case}".encode()).digest()[:4], "big") / 2**32
    return "train" if position < 0.7 else "val" if position < 0.85 else "test"


def _refuse_divided_cases(samples: Sequence[Sample]) -> None:
    seen: dict[str, str] = {}
    for sample in samples:
        if seen.setdefault(sample.case, sample.split) != sample.split:
            raise InputError(
                f"The case {sample.case} stands in both {seen[sample.case]} and {sample.split}: "
                "pictures of one patient belong to one split."
            )
