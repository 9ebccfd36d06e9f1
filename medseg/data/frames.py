"""Volumes, TIFF stacks and cines as one sample a frame."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from medseg.data.left_out import LeftOut, left_out
from medseg.data.listing import STACKS, suffix_of
from medseg.data.manifest import Sample
from medseg.errors import ReadError
from medseg.reading.readers import count_frames


def by_frame(samples: Iterable[Sample]) -> tuple[list[Sample], tuple[LeftOut, ...]]:
    """Every frame of every sample's image. Files that cannot be read, and those whose mask has another number of
    frames, stay as they are, for `verify` to name.

    Left out are images of several frames with masks of one: nothing says which frame they belong to.
    """
    done: list[Sample] = []
    uneven: list[str] = []
    for sample in samples:
        files = [path for path in sample.files if suffix_of(path) in STACKS]
        try:
            counts = {path: count_frames(path) for path in files if path.is_file()}
        except ReadError:
            done.append(sample)
            continue
        frames = counts.get(sample.image, 1)
        others = {counts.get(path, 1) for path in sample.files}
        if others == {1, frames} and frames > 1:
            uneven.append(f"{sample.image.name} of {frames}")
        elif others == {frames}:
            done += [replace(sample, frame=frame) if frame else sample for frame in range(frames)]
        else:
            done.append(sample)
    return done, left_out("images of several frames whose masks have one", uneven)
