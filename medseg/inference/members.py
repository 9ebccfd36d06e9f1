"""Several members on one image: after each other on a CPU, in batches with other threads' images on a GPU."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from medseg.arrays import Stack
from medseg.image import Image
from medseg.inference.member import LoadedMember
from medseg.inference.pipeline import AHEAD
from medseg.inference.runtime import count_threads
from medseg.inference.tta import Augmentation
from medseg.reading.workers import pool

if TYPE_CHECKING:
    from medseg.inference.runtime_torch import Batches

MOST_DECODERS = 8


class Members:
    """Members that run together; `at_once` is how many images are best in work at a time."""

    def __init__(self, members: Sequence[LoadedMember]) -> None:
        self.members = tuple(members)
        self._batches = _batches(self.members)
        self.at_once = self._batches.AT_ONCE if self._batches else AHEAD

    def stack(self, image: Image, tta: Augmentation = False) -> Stack:
        """Their probabilities (M, K, h, w) on the working grid. Raises as `LoadedMember.probabilities`."""
        if self._batches is None:
            return np.stack([member.probabilities(image, tta=tta) for member in self.members])
        inputs = [np.concatenate(list(member.inputs(image, tta))) for member in self.members]
        each = zip(self.members, self._batches.logits(inputs), strict=True)
        return np.stack([member.from_logits(turns[:, np.newaxis], image, tta) for member, turns in each])


def _batches(members: Sequence[LoadedMember]) -> Batches | None:
    """None where there is no GPU. Beside one, decoding is the slow part, so that more files may be decoded at once."""
    networks: list[Any] = [member.network for member in members if isinstance(member, LoadedMember)]
    on_gpu = [network for network in networks if network.runtime.startswith("torch on cuda")]
    if not members or len(on_gpu) < len(members):
        return None
    from medseg.inference.runtime_torch import Batches

    pool.allow(min(MOST_DECODERS, count_threads()))
    return Batches(on_gpu)
