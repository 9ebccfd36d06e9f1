"""One labelled picture, and a data set of them as medseg's manifest, a JSON file

    {"labels": ["polyp"], "samples": [{"image": "a.png", "mask": "a_mask.png", "case": "p1", "split": "train"}, …]}

with paths relative to it. `case` is the patient or sequence: splits never divide one. `mask` is a binary mask file, a
label map, or a list of parts as in `medseg.data.parts`; `frame`, `boxes` and `size` are there where they say something.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from medseg.arrays import Masks
from medseg.data.parts import Box, MaskFile, Part, part_from_json, part_to_json, relative_to
from medseg.errors import InputError, ReadError
from medseg.image import Image
from medseg.reading.readers import read_image, read_masks

SPLITS = ("train", "val", "test")


@dataclass(frozen=True)
class Sample:
    """One labelled picture, not yet read.

    `mask` is a file (a binary mask, or a label map whose value k is label k), or the parts that make it up; no parts is
    a picture on which nothing is marked. `frame` is the slice of a volume. `boxes` are bounding boxes that the data set
    gives beside its masks: they are shown and checked against the mask, and nothing is trained on them. `size` is the
    (height, width) of the stored picture that the data set states, for `verify` to compare.
    """

    image: Path
    mask: Path | tuple[Part, ...]
    case: str
    split: str
    frame: int = 0
    boxes: tuple[Box, ...] = ()
    size: tuple[int, int] | None = None

    def read(self, labels: Sequence[str]) -> tuple[Image, Masks]:
        """The picture and its masks (K, H, W) on the same upright grid. Raises ReadError that names the file."""
        reading = self.image
        try:
            image = read_image(reading, frame=self.frame)
            if isinstance(self.mask, Path):
                reading = self.mask
                return image, read_masks(reading, labels, like=image)
            masks = np.zeros((len(labels), *image.size), dtype=bool)
            for part in self.mask:
                if part.label in labels:
                    reading = part.path if isinstance(part, MaskFile) else self.image
                    masks[list(labels).index(part.label)] |= part.read(image)
        except ReadError as error:
            raise ReadError(f"{reading.parent.name}/{reading.name}: {error}") from None
        return image, masks

    @property
    def files(self) -> list[Path]:
        """The picture and the mask files that reading it opens."""
        if isinstance(self.mask, Path):
            return [self.image, self.mask]
        return [self.image, *(part.path for part in self.mask if isinstance(part, MaskFile))]


@dataclass(frozen=True)
class DataSet:
    """What was found at a place: the name of the layout, the labels its masks may hold, the samples.

    `labels` are () where the files do not tell, as in a folder of pairs; the user names them then.
    """

    layout: str
    labels: tuple[str, ...]
    samples: list[Sample] = field(repr=False)


def read_manifest(path: Path) -> DataSet:
    """The data set that `write_manifest`, or a person, wrote. Raises InputError for what is no manifest."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        samples = [_from_entry(path.parent, entry) for entry in content["samples"]]
        labels = tuple(str(label) for label in content.get("labels", ()))
        _refuse_other_labels(samples, labels)
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise InputError(
            f"{path.name} is not a manifest ({error!r}): see the top of medseg/data/manifest.py."
        ) from None
    return DataSet("manifest", labels, samples)


def _refuse_other_labels(samples: Sequence[Sample], labels: tuple[str, ...]) -> None:
    for sample in samples if labels else ():
        for part in () if isinstance(sample.mask, Path) else sample.mask:
            if part.label not in labels:
                raise ValueError(f"{sample.image.name} has a part {part.label!r}, which is none of the labels")


def write_manifest(samples: Sequence[Sample], labels: Sequence[str], path: Path) -> None:
    """Write `samples` so that `read_manifest` gives them back, wherever the folder of `path` is moved to."""
    entries = [_to_entry(path.parent, sample) for sample in samples]
    text = json.dumps({"labels": list(labels), "samples": entries}, indent=1, ensure_ascii=False, allow_nan=False)
    path.write_text(text + "\n", encoding="utf-8")


def _from_entry(root: Path, entry: dict[str, Any]) -> Sample:
    image = root / entry["image"]
    split = entry.get("split") or ""
    if split and split not in SPLITS:
        raise ValueError(f"split {split!r}")
    case = entry.get("case")
    return Sample(
        image,
        root / mask if isinstance(mask := entry["mask"], str) else tuple(part_from_json(part, root) for part in mask),
        image.stem if case in (None, "") else str(case),  # 0 is a case
        split,
        int(entry.get("frame", 0)),
        tuple(_box(part_from_json(box, root)) for box in entry.get("boxes", ())),
        (int(size[0]), int(size[1])) if (size := entry.get("size")) else None,
    )


def _to_entry(root: Path, sample: Sample) -> dict[str, Any]:
    mask = sample.mask
    entry: dict[str, Any] = {
        "image": relative_to(sample.image, root),
        "mask": relative_to(mask, root) if isinstance(mask, Path) else [part_to_json(part, root) for part in mask],
        "case": sample.case,
        "split": sample.split,
    }
    if sample.frame:
        entry["frame"] = sample.frame
    if sample.boxes:
        entry["boxes"] = [part_to_json(box, root) for box in sample.boxes]
    if sample.size:
        entry["size"] = list(sample.size)
    return entry


def _box(part: Part) -> Box:
    if not isinstance(part, Box):
        raise TypeError("boxes are boxes")
    return part
