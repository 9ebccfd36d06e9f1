"""A drawing by hand: the masks it was begun with, and what the strokes made of them."""

from __future__ import annotations

import dataclasses
import uuid
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from medseg.arrays import Masks
    from medseg.correct import Correction

BEGINNINGS = {"ensemble": "the ensemble's mask", "nothing": "an empty mask", "truth": "the truth that was there"}


@dataclasses.dataclass(frozen=True, eq=False)
class Editing:
    """A drawing. `base` is the correction before the first stroke, `now` has the strokes, which the browser sends whole
    with the `token` of what they were made on. `labels` and `where` (opening and frame) say what it is of; `before` is
    the truth, and its source, that it stands in the place of."""

    where: tuple[int, int]
    labels: tuple[str, ...]
    beginning: str
    base: Correction
    now: Correction
    before: tuple[Masks | None, str | None]
    token: str = dataclasses.field(default_factory=lambda: uuid.uuid4().hex)
