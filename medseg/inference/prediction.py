"""One image's result: the members' probabilities, and the settings that blend them into masks."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from numbers import Real
from typing import Any, TypeAlias, get_args

import numpy as np
from jaxtyping import Float16, Float32

from medseg.arrays import Masks, Probabilities, Stack, Threshold, Weight
from medseg.config import Blend, Cleanup, EnsembleConfig
from medseg.errors import InputError
from medseg.image import Image
from medseg.inference.blend import blend, disagreement, normalise_weights
from medseg.inference.record import areas, masks_sha256, versions
from medseg.inference.tta import Augmentation
from medseg.postprocess import clean_up, to_masks
from medseg.preprocess import to_image_grid
from medseg.report.words import threshold_words

MemberProbabilities: TypeAlias = Float16[np.ndarray, "K h w"]
"""What one network says: probabilities on the working grid."""


@dataclass(frozen=True)
class Source:
    """Where an ensemble was opened: the name of its folder, or its Hub repository with the commit `revision`.

    `sha256` is that of its ensemble.json, or of its member.json where a member stands alone.
    """

    name: str
    revision: str | None
    sha256: str


@dataclass(frozen=True, eq=False)
class Prediction:
    """One image's result and the settings that made it.

    `members` (M, K, h, w) float16: every member's probabilities on the working grid. `probabilities` (K, H, W) float32
    and `masks` (K, H, W) bool lie on the image's own grid; so does `disagreement` (H, W), in [0, 1]. `weights` are
    normalised: one number for each member, or a tuple of one for each label. `blend` says how `members` become one
    prediction, or that the result is `stacked` (K, h, w) float16, the stacker's probabilities (None where there
    is no stacker). `tta` says what each member was averaged over, `cleanup` what is done to the masks, which may be
    other than `ensemble.cleanup`. `member_names` and `member_sha256` (of each member.json) say which models predicted,
    `left_out` which did not and why. `source` is None for an ensemble that was put together in memory.
    """

    image: Image
    labels: tuple[str, ...]
    members: Stack
    member_names: tuple[str, ...]
    member_sha256: tuple[str, ...]
    weights: tuple[Weight, ...]
    threshold: Threshold
    tta: Augmentation
    ensemble: EnsembleConfig
    cleanup: Cleanup
    left_out: tuple[str, ...] = ()
    blend: Blend = "weighted mean"
    stacked: MemberProbabilities | None = None
    source: Source | None = None

    @cached_property
    def probabilities(self) -> Probabilities:
        if self.blend == "stacking" and self.stacked is not None:
            return to_image_grid(self.stacked.astype(np.float32), self.image.size)
        blended = blend(self.members, self.blend, self.weights, self.ensemble.task)
        return to_image_grid(blended, self.image.size)

    @cached_property
    def masks(self) -> Masks:
        raw = to_masks(self.probabilities, self.threshold, self.ensemble.task)
        return clean_up(raw, self.cleanup, self.ensemble.task)

    @cached_property
    def disagreement(self) -> Float32[np.ndarray, "H W"]:
        on_working_grid = disagreement(self.members, self.weights)
        return np.asarray(to_image_grid(on_working_grid[np.newaxis], self.image.size)[0])

    def remix(self, *, weights: Sequence[Weight], threshold: Threshold, blend: Blend | None = None) -> Prediction:
        """The same probabilities blended anew, by this prediction's `blend` where None; no network runs. Raises
        InputError as `Ensemble.predict` does."""
        return dataclasses.replace(
            self,
            weights=normalise_weights(weights, len(self.members), len(self.labels)),
            threshold=checked_threshold(threshold, self.ensemble),
            blend=self.blend if blend is None else checked_blend(blend, self.ensemble),
        )

    def describe(self) -> str:
        """What made this result, in a line: blend, members with weights and the heads of their hashes, settings."""
        voices = zip(self.member_names, self.weights, self.member_sha256, strict=True)
        members = ", ".join(f"{name} × {_shares(weight)} ({sha256[:12]})" for name, weight, sha256 in voices)
        turns = f", over {self.tta}" if self.tta else ""
        return f"{self.ensemble.name}: {self.blend} of {members}{turns}; threshold {threshold_words(self.threshold)}."

    def report(self) -> dict[str, Any]:
        """What made this result, as plain values: models and hashes, weights, settings, input and output hash.

        It holds all that is needed to make the masks again: read frame and window of a file whose hash is that of
        `image`, open `source` (None where it was put together in memory), and predict under blend, weights, threshold
        and tta. The members' sources are those of ensemble.json.
        """
        return {
            "ensemble": self.ensemble.name,
            "source": dataclasses.asdict(self.source) if self.source else None,
            "task": self.ensemble.task,
            "members": [
                {
                    "name": name,
                    "source": reference.source,
                    "revision": reference.revision,
                    "sha256": sha256,
                    "weight": weight,
                }
                for name, reference, sha256, weight in zip(
                    self.member_names, self.ensemble.members, self.member_sha256, self.weights, strict=True
                )
            ],
            "left_out": list(self.left_out),
            "blend": self.blend,
            "stacker": self._stacker(),
            "threshold": self.threshold,
            "cleanup": dataclasses.asdict(self.cleanup),
            "tta": self.tta,
            "image": {
                "sha256": self.image.sha256,
                "file_sha256": self.image.file_sha256,
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
            "areas": areas(self.masks, self.labels, self.image),
            "masks_sha256": masks_sha256(self.masks),
            "versions": versions(),
        }

    def _stacker(self) -> dict[str, Any] | None:
        used = self.ensemble.stacker if self.blend == "stacking" else None
        return dataclasses.asdict(used) if used else None


def _shares(weight: Weight) -> str:
    return " / ".join(f"{share:.3g}" for share in (weight if isinstance(weight, tuple) else (weight,)))


def blends_of(settings: EnsembleConfig) -> tuple[Blend, ...]:
    """The blends that an ensemble of `settings` offers."""
    return tuple(blend for blend in get_args(Blend) if blend != "stacking" or settings.stacker)


def checked_blend(blend: Blend, settings: EnsembleConfig) -> Blend:
    """`blend`, where an ensemble of `settings` offers it; raises InputError otherwise."""
    blends = blends_of(settings)
    if blend not in blends:
        raise InputError(f"The ensemble {settings.name} can blend by {', '.join(blends)}, not by {blend!r:.80}.")
    return blend


def checked_threshold(threshold: Threshold, settings: EnsembleConfig | None = None) -> Threshold:
    """`threshold`, where it lies in (0, 1) or, for labels that `settings` decide alone, is a sequence of one such for
    each; raises InputError otherwise."""
    if settings and isinstance(threshold, list | tuple):
        labels, is_apart = settings.labels, settings.task == "multilabel"
        if not is_apart or len(threshold) != len(labels):
            each = f"or one for each of the {len(labels)} labels ({', '.join(labels)})"
            alone = "as its labels exclude each other" if len(labels) > 1 else f"as {labels[0]} is its only label"
            wanted = each if is_apart and len(labels) > 1 else alone
            raise InputError(f"The ensemble {settings.name} takes one threshold, {wanted}; got {len(threshold)}.")
        return tuple(float(checked_threshold(each)) for each in threshold)  # type: ignore[arg-type]
    if isinstance(threshold, bool) or not isinstance(threshold, Real):
        raise InputError(f"The threshold must be one number between 0 and 1, got {type(threshold).__name__}.")
    if not 0 < threshold < 1:
        raise InputError(f"The threshold must lie between 0 and 1, got {threshold:g}.")
    return float(threshold)
