"""The stacker: a network in a member's form whose image is the members' probabilities.

Source of the idea: Wolpert, Stacked generalization, Neural Networks 1992.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from medseg.arrays import Stack
from medseg.config import EnsembleConfig
from medseg.errors import InputError
from medseg.image import Image
from medseg.inference.member import LoadedMember, load_member
from medseg.preprocess import to_channels, to_image_grid


def stack_image(members: Stack, image: Image | None = None) -> Image:
    """The stacker's image on the working grid (h, w): the probabilities of `members` (M, K, h, w), member by member
    and label by label, and after them the three channels of `image` where it is given.

    Raises InputError for an image that is neither grey nor colour.
    """
    grid = (members.shape[2], members.shape[3])
    planes = [members.reshape(-1, *grid).astype(np.float32)]
    if image is not None:
        colours = to_channels(image.pixels, 3).transpose(2, 0, 1)
        planes.append(to_image_grid(colours, grid))
    return Image(np.concatenate(planes).transpose(1, 2, 0))


def count_channels(members: int, labels: int, with_image: bool) -> int:
    """The channels of `stack_image`'s image."""
    return members * labels + 3 * with_image


def open_stacker(folder: Path, settings: EnsembleConfig, members: int, device: str) -> LoadedMember:
    """The stacker that `settings` name in `folder`, for an ensemble of which `members` could be opened.

    Raises DamagedError and ConfigError as `load_member` does, InputError where a member is missing, since the stacker
    was trained on the probabilities of all, or where the stacker is one for other labels or members.
    """
    reference = settings.stacker
    if reference is None:
        raise InputError(f"The ensemble {settings.name} has no stacker: blend it by weights.")
    if members < len(settings.members):
        raise InputError(
            f"The stacker {reference.source} needs the probabilities of all {len(settings.members)} members."
        )
    stacker = load_member(folder / reference.source, sha256=reference.sha256, device=device)
    config, channels = stacker.config, count_channels(members, len(settings.labels), reference.with_image)
    if (config.task, config.labels, config.preprocess.channels) != (settings.task, settings.labels, channels):
        raise InputError(
            f"The stacker {reference.source} predicts {config.task} {', '.join(config.labels)} from "
            f"{config.preprocess.channels} channels, the ensemble asks for {settings.task} "
            f"{', '.join(settings.labels)} from {channels}."
        )
    return stacker
