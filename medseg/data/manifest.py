"""One labelled image, and a data set of them as medseg's manifest, a JSON file

    {"labels": ["polyp"], "samples": [{"image": "a.png", "mask": "a_mask.png", "case": "p1", "split": "train"}, …]}

with paths relative to it. `case` is the patient or sequence: splits never divide one. `mask` is a binary mask file, a
label map, or a list of parts as in `medseg.data.parts`; `frame`, `channels`, `boxes`, `size` and `upright` are there
where they say something.
"""

from __future__ import annotations

import json
import os
from collections.abc import Container, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from medseg.arrays import Mask, Masks
from medseg.config import TrainingData
from medseg.data.left_out import LeftOut, left_out
from medseg.data.listing import images_in
from medseg.data.parts import (
    Box,
    Drawn,
    MaskFile,
    Part,
    draw_upright,
    lies_upright,
    part_from_json,
    part_to_json,
    relative_to,
)
from medseg.errors import InputError, ReadError
from medseg.image import Image
from medseg.reading.marks import lie_alike
from medseg.reading.readers import read_file_or_series, read_mask_file, read_values

SPLITS = ("train", "val", "test")


@dataclass(frozen=True)
class Sample:
    """One labelled image, not yet read.

    `mask` is a file (a binary mask, or a label map whose value k is label k), or the parts that make it up; no parts is
    an image on which nothing is marked. `frame` is the slice of a volume. `boxes` are bounding boxes that the data set
    gives beside its masks: they are shown and checked against the mask, and nothing is trained on them. `size` is the
    (height, width) that the data set states for its annotations, which `verify` compares. `upright` says whether
    coordinates are those of the upright image (else of the file as stored), None where nothing says so. `channels` are
    further files whose channels follow those of `image`.
    """

    image: Path
    mask: Path | tuple[Part, ...]
    case: str
    split: str
    frame: int = 0
    boxes: tuple[Box, ...] = ()
    size: tuple[int, int] | None = None
    upright: bool | None = None
    channels: tuple[Path, ...] = ()

    def read(self, labels: Sequence[str]) -> tuple[Image, Masks]:
        """The image and its masks (K, H, W) on the same upright grid. Raises ReadError that names the file."""
        image = self.read_image()
        return image, self.masks_on(image, labels)

    def masks_on(self, image: Image, labels: Sequence[str]) -> Masks:
        """The masks (K, H, W) on the upright grid of this sample's `image`. Raises ReadError that names the file."""
        if isinstance(self.mask, Path):
            with naming(self.mask):
                return read_mask_file(self.mask, labels, like=image)
        masks = np.zeros((len(labels), *image.size), dtype=bool)
        place = {label: index for index, label in enumerate(labels)}
        for part in self.mask:
            if isinstance(part, MaskFile) and part.label in place and not part.values:
                with naming(part.path):
                    masks[place[part.label]] |= read_mask_file(part.path, [part.label], like=image)[0]
            elif not isinstance(part, MaskFile) and part.label in place:
                masks[place[part.label]] |= self.draw(part, image)
        for path, parts in self._label_maps(labels).items():
            with naming(path):
                marked = read_values(path, [part.values for part in parts], parts[0].known, like=image)
            for part, mask in zip(parts, marked, strict=True):
                masks[place[part.label]] |= mask
        return masks

    def draw(self, part: Drawn, image: Image) -> Mask:
        """`part` on the upright grid of this sample's `image`. Raises ReadError that names the file."""
        with naming(self.image):
            return draw_upright(part, image, upright=self.annotated_upright(image))

    def annotated_upright(self, image: Image) -> bool:
        """Whether the annotations of this sample's `image` lie on its upright grid. Raises ReadError."""
        return lies_upright(image, self.upright, self.size)

    def read_image(self) -> Image:
        """The upright image, of all its channels. Raises ReadError that names the file."""
        with naming(self.image):
            image = read_file_or_series(self.image, frame=self.frame)
        planes = [image.pixels]
        for path in self.channels:
            with naming(path):
                further = read_file_or_series(path, frame=self.frame)
                if further.pixels.shape[:2] != image.size or further.frames != image.frames:
                    raise ReadError(
                        "This channel has another size than the first. Save the channels of one image alike."
                    )
                if not lie_alike(further, image):
                    raise ReadError(
                        "This channel's affine is not that of the first, so one of them lies elsewhere in the patient "
                        "or mirrored. Save the channels of one image with one affine."
                    )
            planes.append(further.pixels)
        return replace(image, pixels=np.concatenate(planes, axis=-1)) if self.channels else image

    def _label_maps(self, labels: Sequence[str]) -> dict[Path, list[MaskFile]]:
        """The parts that are values of label maps, by file: each is decoded once."""
        maps: dict[Path, list[MaskFile]] = {}
        for part in self.parts:
            if isinstance(part, MaskFile) and part.values and part.label in labels:
                maps.setdefault(part.path, []).append(part)
        return maps

    @property
    def parts(self) -> tuple[Part, ...]:
        """What makes up the mask; () where it is a file as a whole."""
        return () if isinstance(self.mask, Path) else self.mask

    @property
    def files(self) -> list[Path]:
        """The image and mask files that reading it opens."""
        if isinstance(self.mask, Path):
            return [self.image, *self.channels, self.mask]
        parts = dict.fromkeys(part.path for part in self.parts if isinstance(part, MaskFile))
        return [self.image, *self.channels, *parts]


@contextmanager
def naming(path: Path) -> Iterator[None]:
    """Put the file's folder and name before the sentence of a ReadError."""
    try:
        yield
    except ReadError as error:
        raise ReadError(f"{path.parent.name}/{path.name}: {error}") from None


@dataclass(frozen=True)
class DataSet:
    """What lies at a place: the name of the layout, the labels its masks may hold, the samples.

    `labels` are () where the files do not tell, as in a folder of pairs; the user names them then. `taken` says what is
    taken as what, `left_out` what is not taken. `source` is the provenance that the layout knows, None where it knows
    none.
    """

    layout: str
    labels: tuple[str, ...]
    samples: list[Sample] = field(repr=False)
    left_out: tuple[LeftOut, ...] = ()
    taken: str = ""
    source: TrainingData | None = None


def without_spoiled(samples: Sequence[Sample], spoiled: Container[Path]) -> tuple[list[Sample], tuple[LeftOut, ...]]:
    """`samples` without the `spoiled` images: somebody marked more on them than can be used, and what is left would
    teach that there is nothing where there is something."""
    gone = [sample.image.name for sample in samples if sample.image in spoiled]
    entries = left_out("images with an annotation that cannot be used, without which the others are incomplete", gone)
    return [sample for sample in samples if sample.image not in spoiled], entries


def unlisted(
    images: Iterable[Path], masks: Iterable[Path] = (), file: str = "the annotation file"
) -> tuple[LeftOut, ...]:
    """The images that lie beside the `images` which an annotation `file` names, and that it does not name either as
    such or as `masks`."""
    named = {Path(os.path.abspath(image)) for image in images}
    beside = (path for folder in {path.parent for path in named} if folder.is_dir() for path in images_in(folder))
    named |= {Path(os.path.abspath(mask)) for mask in masks}
    return left_out(f"images that {file} does not name", [p.name for p in beside if p not in named])


def read_json(path: Path) -> Any:
    """The content of a JSON file, with or without a byte order mark. Raises ValueError or OSError."""
    try:
        return json.loads(path.read_text(encoding="utf-8-sig"))
    except RecursionError:
        raise ValueError("it is nested too deeply") from None


def read_manifest(path: Path) -> DataSet:
    """The data set that `write_manifest`, or a person, wrote. Raises InputError for what is no manifest."""
    try:
        content = read_json(path)
    except (OSError, ValueError) as error:
        why = "its bytes are no text" if isinstance(error, UnicodeDecodeError) else str(error)
        raise InputError(f"{path.name} is no JSON file ({why}). Write or export it again.") from None
    try:
        samples = [_from_entry(path.parent, entry) for entry in content["samples"]]
        labels = tuple(str(label) for label in content.get("labels", ()))
        _refuse_other_labels(samples, labels)
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise InputError(
            f'{path.name} is no annotation file that medseg knows ({error!r}). Wanted {{"labels": [names], "samples": '
            '[{"image": file, "mask": file, "case": patient, "split": "train"}, …]}, or COCO, VIA, Label Studio or '
            "labelme JSON."
        ) from None
    files = (path for sample in samples for path in sample.files)
    entries = unlisted((sample.image for sample in samples), files, path.name)  # a study's own samples.json, too
    return DataSet("manifest", labels, samples, entries, "images and masks as the file names them")


def _refuse_other_labels(samples: Sequence[Sample], labels: tuple[str, ...]) -> None:
    for sample in samples if labels else ():
        for part in sample.parts:
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
        None if (upright := entry.get("upright")) is None else bool(upright),
        tuple(root / channel for channel in entry.get("channels", ())),
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
    if sample.upright is not None:
        entry["upright"] = sample.upright
    if sample.channels:
        entry["channels"] = [relative_to(path, root) for path in sample.channels]
    return entry


def _box(part: Part) -> Box:
    if not isinstance(part, Box):
        raise TypeError("boxes are boxes")
    return part
