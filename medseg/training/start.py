"""A network that starts from a member's weights, as far as names and shapes match."""

from __future__ import annotations

from pathlib import Path
from typing import TypeAlias

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from timm.models import adapt_input_conv

from medseg.config import MemberConfig, StartedFrom
from medseg.errors import ConfigError, DamagedError
from medseg.hub.cache import has_digest
from medseg.inference.member import file_sha256
from medseg.training.donor import read_donor

Tensors: TypeAlias = dict[str, torch.Tensor]

_HEADS = ("segmentation_head.0.", "head.")
"""The layer whose output channels are the labels, in smp's networks and in `PlainUNet`."""


def take_over(network: torch.nn.Module, member: MemberConfig, folder: Path) -> StartedFrom:
    """Put the weights of the member in `folder` into `network`, which is built for `member`; returns the record of it.

    A tensor is taken where its name and shape match. A first layer for three channels is adapted to others
    (`timm.models.adapt_input_conv`). Of the last layer, the rows of labels of the same name are taken; a binary
    network's one row is taken whatever its label is called, since it parts something from everything else.
    Raises DamagedError for files that are not what member.json promises, ConfigError where less than half of the
    tensors could be taken: the rest would begin anew in a training that is set up for trained weights.
    """
    donor, target = read_donor(folder), network.state_dict()
    source = _read(folder, donor)
    taken = {key: value for key, value in source.items() if key in target and value.shape == target[key].shape}
    taken = {key: value for key, value in taken.items() if not key.startswith(_HEADS)} | _first(source, target)
    if 2 * len(taken) < len(target):
        raise ConfigError(
            f"init: {donor.name} has {len(taken)} of this network's {len(target)} tensors, too few to start from: "
            "leave out architecture, encoder and decoder, which then are the member's."
        )
    rows = _matching_rows(donor, member)
    head = _head(source, target, rows)
    taken |= head
    network.load_state_dict({**target, **{key: value.to(target[key].dtype) for key, value in taken.items()}})
    labels = tuple(label for label in member.labels if head and _outputs(member).index(label) in rows)
    digest = file_sha256(folder / "member.json")
    return StartedFrom(donor.name, digest, len(taken), len(target), labels, donor.training_data.name)


def describe(start: StartedFrom, member: MemberConfig) -> str:
    """The record in one sentence."""
    new = [label for label in member.labels if label not in start.labels]
    fresh = f"; the output for {', '.join(new)} begins anew" if new else ""
    return f"Starts from {start.name}: {start.taken} of {start.tensors} tensors taken over{fresh}."


def _read(folder: Path, donor: MemberConfig) -> Tensors:
    try:
        if all(has_digest(folder / name, digest) for name, digest in donor.files.items()):
            return dict(load_file(folder / "model.safetensors"))
    except (OSError, SafetensorError):
        pass
    raise DamagedError(f"init: the member {donor.name} is damaged: its files are not those that member.json promises.")


def _first(source: Tensors, target: Tensors) -> Tensors:
    """The first convolution (out, in, h, w), adapted where only the input channels differ."""
    key = next(iter(target))
    weights = source.get(key)
    if weights is None or weights.ndim != 4 or weights.shape[1] != 3:
        return {}
    adapted: torch.Tensor = adapt_input_conv(target[key].shape[1], weights.float())
    return {key: adapted} if adapted.shape == target[key].shape else {}


def _outputs(member: MemberConfig) -> tuple[str, ...]:
    """The names of the output channels, in order; the background, where there is one, has none."""
    return ("", *member.labels) if member.task == "multiclass" else member.labels


def _matching_rows(donor: MemberConfig, member: MemberConfig) -> dict[int, int]:
    """For each output of `member` that has one, the donor's output of the same name."""
    if donor.task == member.task == "binary":
        return {0: 0}
    known = _outputs(donor)
    return {row: known.index(name) for row, name in enumerate(_outputs(member)) if name in known}


def _head(source: Tensors, target: Tensors, rows: dict[int, int]) -> Tensors:
    """The last layer with the donor's `rows` in it; nothing where its inputs are others."""
    keys = [key for key in target if key.startswith(_HEADS) and key in source]
    if not rows or any(source[key].shape[1:] != target[key].shape[1:] for key in keys):
        return {}
    moved = {key: target[key].clone() for key in keys}
    for key in keys:
        for row, known in rows.items():
            moved[key][row] = source[key][known].to(moved[key].dtype)
    return moved
