"""Masks of any data set as PNG files, with a manifest that names them."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import PIL.Image

from medseg.arrays import Mask
from medseg.data.listing import stem_of
from medseg.data.manifest import Sample, write_manifest
from medseg.data.parts import MaskFile
from medseg.errors import InputError
from medseg.image import to_stored


def write_masks(samples: Sequence[Sample], labels: Sequence[str], folder: Path) -> None:
    """Write each label's mask as `folder`/LABEL/STEM.png, 0 and 255, on the stored grid of its image, and
    `folder`/manifest.json, which names images and masks and is itself a data set. Where images share a stem, as in
    folders of patients, their folders stand before it.

    Raises InputError for a folder that is there, or images of one name; ReadError as reading the samples does.
    """
    if folder.exists():
        raise InputError(f"{folder} is already there: name another folder for the masks.")
    names = _names(samples)
    written = []
    for sample, name in zip(samples, names, strict=True):
        image, masks = sample.read(labels)
        stored = to_stored(masks, image.orientation)
        parts = tuple(
            MaskFile(label, _write(mask, folder / label / f"{name}.png"))
            for label, mask in zip(labels, stored, strict=True)
        )
        written.append(replace(sample, mask=parts, upright=None))
    write_manifest(written, labels, folder / "manifest.json")


def _names(samples: Sequence[Sample]) -> list[str]:
    """A name for each sample's mask: the stem of its image, or its path below the folder of all where stems repeat."""
    root = Path(os.path.commonpath([sample.image.parent for sample in samples]))
    frames = [f"_{sample.frame:03d}" if sample.frame else "" for sample in samples]
    for places in (
        [stem_of(sample.image) for sample in samples],
        [sample.image.with_name(stem_of(sample.image)).relative_to(root).as_posix() for sample in samples],
    ):
        names = [place + frame for place, frame in zip(places, frames, strict=True)]
        twice = [name for name, count in Counter(names).items() if count > 1]
        if not twice:
            return names
    raise InputError(f"{len(twice)} images have the name of another, the first: {min(twice)}. Rename them.")


def _write(mask: Mask, path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    PIL.Image.fromarray(mask * np.uint8(255)).save(path)
    return path
