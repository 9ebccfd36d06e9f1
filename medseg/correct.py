"""Masks corrected by hand: strokes made on a screen's grid, brought to the image's own, and what they changed."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from medseg.arrays import Mask, Masks
from medseg.config import Task
from medseg.metrics import Confusion, confusion


def to_grid(mask: Mask, size: tuple[int, int]) -> Mask:
    """`mask` on a grid of `size` (h, w), each pixel the one at its centre: to a larger grid and back is the same."""
    rows, columns = (
        ((np.arange(new) + 0.5) * old / new).astype(int) for new, old in zip(size, mask.shape, strict=True)
    )
    return np.asarray(mask[rows[:, None], columns])


@dataclass(frozen=True, eq=False)
class Correction:
    """`masks` (K, H, W) as they are corrected, and the `start` they were begun from, both on the image's own grid."""

    start: Masks
    masks: Masks
    task: Task

    def drawn(self, label: int, painted: Mask, erased: Mask) -> Correction:
        """With strokes on a screen's grid, `painted` and `erased` (h, w), in the mask of label number `label`.

        A pixel without a stroke stays as it is, however much smaller the screen's grid is, so the mask's own outline is
        not lost to it. multiclass: what is painted for one label leaves the others.
        """
        mask = self.masks[label]
        size = (mask.shape[0], mask.shape[1])
        painted, erased = to_grid(painted, size), to_grid(erased, size)
        masks = self.masks & ~painted if self.task == "multiclass" else self.masks.copy()
        masks[label] = (mask | painted) & ~erased
        return replace(self, masks=masks)

    @property
    def changes(self) -> list[Confusion]:
        """Each label's corrected mask against its start: false positives were added, false negatives removed."""
        return [confusion(mask, start) for mask, start in zip(self.masks, self.start, strict=True)]


def begin(masks: Masks, task: Task) -> Correction:
    """A correction of `masks` (K, H, W) before the first stroke."""
    return Correction(masks, masks, task)
