"""Masks corrected by hand: strokes made on a screen's grid, brought to the image's own, and what they changed."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from medseg.arrays import Mask, Masks
from medseg.config import Task
from medseg.metrics import Confusion, confusion


@dataclass(frozen=True, eq=False)
class Correction:
    """`masks` (K, H, W) as they are corrected, and the `start` they were begun from, both on the image's own grid."""

    start: Masks
    masks: Masks
    task: Task

    def shown(self, label: int, size: tuple[int, int]) -> Mask:
        """What a screen's grid of `size` (h, w) shows of label number `label`."""
        return _to_grid(self.masks[label], size)

    def drawn(self, label: int, after: Mask) -> Correction:
        """With the strokes that turned what was `shown` of `label` into `after` (h, w).

        A pixel without a stroke stays as it was, however much smaller the screen's grid is; so the mask's own outline
        is not lost to it. multiclass: what is painted for one label leaves the others.
        """
        before = self.shown(label, (after.shape[0], after.shape[1]))
        height, width = self.masks.shape[1:]
        painted, erased = (_to_grid(strokes, (height, width)) for strokes in (after & ~before, before & ~after))
        masks = self.masks & ~painted if self.task == "multiclass" else self.masks.copy()
        masks[label] = (self.masks[label] | painted) & ~erased
        return replace(self, masks=masks)

    @property
    def changes(self) -> list[Confusion]:
        """Each label's corrected mask against its start: false positives were added, false negatives removed."""
        return [confusion(mask, start) for mask, start in zip(self.masks, self.start, strict=True)]


def begin(masks: Masks, task: Task) -> Correction:
    """A correction of `masks` (K, H, W) before the first stroke."""
    return Correction(masks, masks, task)


def _to_grid(mask: Mask, size: tuple[int, int]) -> Mask:
    """Each pixel of the other grid is the one at its centre: to a larger grid and back gives the same mask."""
    rows, columns = (
        ((np.arange(new) + 0.5) * old / new).astype(int) for new, old in zip(size, mask.shape, strict=True)
    )
    return np.asarray(mask[rows[:, None], columns])
