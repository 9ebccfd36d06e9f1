"""The ensemble: members loaded once, networks run once per image, everything else from the cached stack."""

from __future__ import annotations

import dataclasses
import threading
import warnings
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float16, Float32

from medseg import config, export, hub, runtime
from medseg.arrays import Masks, Probabilities, Stack
from medseg.blend import disagreement, normalise_weights, weighted_mean
from medseg.config import EnsembleConfig, MemberReference
from medseg.download import Cancelled
from medseg.errors import DamagedError, InputError, MedsegError, MedsegWarning
from medseg.image import Image
from medseg.member import LoadedMember, load_member
from medseg.postprocess import clean_up, to_masks
from medseg.preprocess import to_image_grid

MIN_SIDE = 16
"""Shortest side in pixels that is segmented: below it there is nothing for a network to see."""

CACHE_BYTES = 512 * 2**20


@dataclass(frozen=True, eq=False)
class Prediction:
    """One image's result and the settings that made it.

    `members` (M, K, h, w) float16: every member's probabilities on the working grid. `probabilities` (K, H, W) float32
    and `masks` (K, H, W) bool lie on the image's own grid; so does `disagreement` (H, W), in [0, 1]. `weights` are
    normalised. `member_names` and `member_sha256` (of each member.json) say which models answered, `left_out` which
    did not and why.
    """

    image: Image
    labels: tuple[str, ...]
    members: Stack
    member_names: tuple[str, ...]
    member_sha256: tuple[str, ...]
    weights: tuple[float, ...]
    threshold: float
    tta: bool
    ensemble: EnsembleConfig
    left_out: tuple[str, ...] = ()

    @cached_property
    def probabilities(self) -> Probabilities:
        return to_image_grid(weighted_mean(self.members, self.weights), self.image.size)

    @cached_property
    def masks(self) -> Masks:
        found = to_masks(self.probabilities, self.threshold, self.ensemble.task)
        return clean_up(found, self.ensemble.cleanup, self.ensemble.task)

    @cached_property
    def disagreement(self) -> Float32[np.ndarray, "H W"]:
        on_working_grid = disagreement(self.members, self.weights)
        return np.asarray(to_image_grid(on_working_grid[np.newaxis], self.image.size)[0])

    def remix(self, *, weights: Sequence[float], threshold: float) -> Prediction:
        """The same answers blended anew; no network runs. Raises InputError as `Ensemble.predict` does."""
        chosen = normalise_weights(weights, len(self.members))
        return dataclasses.replace(self, weights=chosen, threshold=_checked_threshold(threshold))

    def report(self) -> dict[str, Any]:
        """What made this result, as plain values: models and hashes, weights, settings, input and output hash."""
        return {
            "ensemble": self.ensemble.name,
            "task": self.ensemble.task,
            "members": [
                {"name": name, "sha256": sha256, "weight": weight}
                for name, sha256, weight in zip(self.member_names, self.member_sha256, self.weights, strict=True)
            ],
            "left_out": list(self.left_out),
            "threshold": self.threshold,
            "cleanup": dataclasses.asdict(self.ensemble.cleanup),
            "tta": self.tta,
            "image": {
                "sha256": self.image.sha256,
                "height": self.image.size[0],
                "width": self.image.size[1],
                "orientation": self.image.orientation,
                "modality": self.image.modality,
                "frame": self.image.frame,
                "frames": self.image.frames,
                "window": self.image.window,
                "spacing_mm": self.image.spacing_mm,
                "notes": list(self.image.notes),
            },
            "areas": export.areas(self.masks, self.labels, self.image),
            "masks_sha256": export.masks_sha256(self.masks),
            "versions": export.versions(),
        }


class Ensemble:
    """Members with one task and the same labels, their weights, and how probabilities become masks.

    `quarantined` says, a sentence each, which members of ensemble.json could not be trusted and were left out; the
    weights of the others are used as they stand.
    """

    def __init__(
        self, settings: EnsembleConfig, members: Sequence[LoadedMember], quarantined: Sequence[str] = ()
    ) -> None:
        if len(members) != len(settings.members):
            raise InputError(f"{settings.name} names {len(settings.members)} members, got {len(members)}.")
        self.config = settings
        self.members = tuple(members)
        self.quarantined = tuple(quarantined)
        self._running = threading.Lock()

    @classmethod
    def from_pretrained(
        cls,
        folder_or_repo: str | Path,
        *,
        revision: str | None = None,
        device: str | None = None,
        progress: hub.Progress | None = None,
        cancelled: Cancelled | None = None,
    ) -> Ensemble:
        """Open an ensemble: ensemble.json and one folder per member, all hashes checked. A member by itself is an
        ensemble of one.

        `folder_or_repo` is a folder, or a repository on the Hub (`owner/name`, or `owner/name@revision`) that is
        fetched as `medseg.hub.fetch` says, with `revision`, `progress` and `cancelled`. `device` is chosen by itself
        where None. A member that is damaged, or whose own repository cannot be fetched, is left out with a
        MedsegWarning and named in `quarantined`. Raises ConfigError where ensemble.json breaks its schema, HubError
        where it cannot be fetched, DamagedError where no member with weight is left, InputError for a device that is
        not there.
        """
        chosen = runtime.choose_device(device)
        fetcher = hub.Fetcher(progress, cancelled)
        settings, root = config.load_ensemble(fetcher.fetch(folder_or_repo, revision))
        kept: list[tuple[MemberReference, LoadedMember]] = []
        quarantined = []
        for reference in settings.members:
            try:
                folder = _member_folder(root, reference, fetcher)
                kept.append((reference, _open_member(folder, reference, settings, chosen)))
            except MedsegError as error:
                if cancelled is not None and cancelled():
                    raise
                quarantined.append(str(error))
                warnings.warn(f"{error} The ensemble goes on without it.", MedsegWarning, stacklevel=2)
        if not any(reference.weight > 0 for reference, _ in kept):
            raise DamagedError(f"The ensemble {settings.name} has no usable member: {' '.join(quarantined)}")
        settings = dataclasses.replace(settings, members=tuple(reference for reference, _ in kept))
        return cls(settings, [member for _, member in kept], quarantined)

    @property
    def names(self) -> tuple[str, ...]:
        """The members' names, in the order of every weight vector."""
        return tuple(member.config.name for member in self.members)

    @property
    def weights(self) -> tuple[float, ...]:
        """The weights of ensemble.json, normalised over the members that are loaded."""
        return normalise_weights([reference.weight for reference in self.config.members], len(self.members))

    def predict(
        self,
        image: Image,
        *,
        weights: Sequence[float] | None = None,
        threshold: float | None = None,
        tta: bool = False,
    ) -> Prediction:
        """Segment one image.

        `weights` (one per member, >= 0, normalised here) and `threshold` (in (0, 1)) default to those of ensemble.json.
        The networks run once per image: another call with other weights or threshold starts from their cached answers.
        `tta` averages each member over the four flips. Raises InputError for settings out of range or an image with a
        side under MIN_SIDE.
        """
        if min(image.size) < MIN_SIDE:
            height, width = image.size
            raise InputError(f"The picture is {width} × {height} pixels; at least {MIN_SIDE} × {MIN_SIDE} are needed.")
        threshold = _checked_threshold(self.config.threshold if threshold is None else threshold)
        chosen = normalise_weights(self.weights if weights is None else weights, len(self.members))
        return Prediction(
            image=image,
            labels=self.config.labels,
            members=self._stack(image, tta),
            member_names=self.names,
            member_sha256=tuple(member.sha256 for member in self.members),
            weights=chosen,
            threshold=threshold,
            tta=tta,
            ensemble=self.config,
            left_out=self.quarantined,
        )

    def solo(self, index: int) -> tuple[float, ...]:
        """The weights that leave only the member `index`."""
        return tuple(float(position == index) for position in range(len(self.members)))

    def _stack(self, image: Image, tta: bool) -> Stack:
        with self._running:  # one image at a time: two askers of the same image run its networks once
            return np.stack([self._answer(member, image, tta) for member in self.members])

    def _answer(self, member: LoadedMember, image: Image, tta: bool) -> Float16[np.ndarray, "K h w"]:
        key = (image.sha256, member.sha256, tta)
        answer = _answers.get(key)
        if answer is None:
            answer = member.probabilities(image, tta=tta)
            _answers.put(key, answer)
        return answer


def _checked_threshold(threshold: float) -> float:
    if not 0 < threshold < 1:
        raise InputError(f"The threshold must lie between 0 and 1, got {threshold:g}.")
    return float(threshold)


def _member_folder(root: Path, reference: MemberReference, fetcher: hub.Fetcher) -> Path:
    if reference.revision is None:
        return root / reference.source
    return fetcher.pull(reference.source, reference.revision)


def _open_member(
    folder: Path, reference: MemberReference, settings: EnsembleConfig, device: torch.device
) -> LoadedMember:
    member = load_member(folder, sha256=reference.sha256, device=device)
    if (member.config.task, member.config.labels) != (settings.task, settings.labels):
        raise InputError(
            f"The member {reference.source} answers {member.config.task} {', '.join(member.config.labels)}, "
            f"the ensemble asks for {settings.task} {', '.join(settings.labels)}."
        )
    return member


class _Answers:
    """Members' answers of the last images, in memory, at most `limit` bytes; the longest unused goes first."""

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self._kept: OrderedDict[tuple[str, str, bool], np.ndarray] = OrderedDict()
        self._bytes = 0
        self._lock = threading.Lock()

    def get(self, key: tuple[str, str, bool]) -> np.ndarray | None:
        with self._lock:
            if key in self._kept:
                self._kept.move_to_end(key)
            return self._kept.get(key)

    def put(self, key: tuple[str, str, bool], answer: np.ndarray) -> None:
        with self._lock:
            if key in self._kept or answer.nbytes > self.limit:
                return
            self._kept[key] = answer
            self._bytes += answer.nbytes
            while self._bytes > self.limit:
                self._bytes -= self._kept.popitem(last=False)[1].nbytes


_answers = _Answers(CACHE_BYTES)  # one for the process: every visitor and every ensemble shares the bound
