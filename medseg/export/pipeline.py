"""An ensemble as one torch module, from the image to its probabilities, to be exported to other runtimes.

It repeats `medseg.preprocess`, `medseg.inference.blend` and `medseg.postprocess` in operators that every runtime has: a
resize is two products with matrices, whose entries Pillow's filter gives, so images of any size are taken.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import nn

from medseg.arrays import WORKING_SIDE, Threshold
from medseg.config import EnsembleConfig, MemberConfig, Preprocess, Task
from medseg.inference.blend import DECISION, NEAREST, normalise_weights

_LUMA = (0.299, 0.587, 0.114)
_LIT, _FEWEST_LIT, _MEDIAN, _FACTORS = 0.03, 200, 0.2, (0.4, 2.5)  # as medseg.preprocess evens intensities
_TIE = 1e-9


@dataclass(frozen=True)
class Axis:
    """`positions` (n,) 0, 1, … of a canvas' pixels along one side; what lies on it takes `size` of them from `start`
    on. All are float64, since both may depend on the image."""

    positions: torch.Tensor
    size: torch.Tensor
    start: torch.Tensor


Place = tuple[Axis, Axis]
"""Where an image lies on its canvas: rows, columns."""


def resampling(target: Axis, source: Axis) -> torch.Tensor:
    """The matrix (n of target, n of source) that resizes along one side: bilinear, antialiased where it shrinks, as
    `medseg.preprocess` does it; rows outside of the target are 0."""
    rows, columns = target.positions - target.start, source.positions - source.start
    step = source.size / target.size
    distance = (columns + 0.5 - (rows[:, None] + 0.5) * step).abs()
    weights = (1 - distance / step.clamp(min=1)).clamp(min=0)
    weights = weights * ((columns >= 0) & (columns < source.size))
    weights = weights * ((rows >= 0) & (rows < target.size))[:, None]
    return (weights / weights.sum(dim=1, keepdim=True).clamp(min=1e-12)).float()


def move(planes: torch.Tensor, source: Place, target: Place) -> torch.Tensor:
    """Planes (C, h, w) that lie at `source` on their canvas, at `target` on another."""
    rows, columns = (resampling(to, at) for to, at in zip(target, source, strict=True))
    return rows @ planes @ columns.T


def _whole(count: int) -> Axis:
    positions = torch.arange(count, dtype=torch.float64)
    return Axis(positions, positions[-1] + 1, torch.zeros((), dtype=torch.float64))


def _working(at: Place) -> Place:
    """The working grid in the corner of a canvas of WORKING_SIDE pixels a side."""
    scale = (WORKING_SIDE / torch.maximum(at[0].size, at[1].size)).clamp(max=1)
    rows, columns = (Axis(_whole(WORKING_SIDE).positions, (axis.size * scale).round().clamp(min=1), axis.start)
                     for axis in at)  # fmt: skip
    return rows, columns


def _placement(at: Place, preprocess: Preprocess) -> Place:
    """Where an image lies on the member's input grid."""
    rows, columns = _whole(preprocess.height), _whole(preprocess.width)
    if preprocess.resize == "stretch":
        return rows, columns
    scale = torch.minimum(rows.size / at[0].size, columns.size / at[1].size)
    sizes = [(axis.size * scale).round().clamp(min=1) for axis in at]
    placed = [
        Axis(side.positions, size, ((side.size - size) / 2).floor())
        for side, size in zip((rows, columns), sizes, strict=True)
    ]
    return placed[0], placed[1]


def _to_channels(planes: torch.Tensor, channels: int) -> torch.Tensor:
    """Planes (1 or 3, H, W) as grey repeated or colour's luma, where `channels` are wanted."""
    if planes.shape[0] == channels:
        return planes
    if channels == 1:
        return (planes * torch.tensor(_LUMA)[:, None, None]).sum(dim=0, keepdim=True)
    return planes.expand(channels, -1, -1)


def _evened(planes: torch.Tensor) -> torch.Tensor:
    """Each channel times the factor that brings the lower median of its lit pixels to a common value."""
    flat = planes.flatten(1)
    lit = flat > _LIT
    count = lit.sum(dim=1, keepdim=True)
    falling = torch.where(lit, flat, -1.0).sort(dim=1, descending=True).values
    middle = falling.gather(1, torch.div(count, 2, rounding_mode="floor").clamp(max=flat.shape[1] - 1))
    factors = torch.where(count >= _FEWEST_LIT, _MEDIAN / middle, 1.0).clamp(*_FACTORS)
    return (planes * factors[:, :, None]).clamp(0, 1)


class Model(nn.Module):
    """One member: planes (C, H, W) in [0, 1] at a place → probabilities (K, h, w) on the working grid's canvas."""

    mean: torch.Tensor
    std: torch.Tensor

    def __init__(self, network: nn.Module, member: MemberConfig) -> None:
        super().__init__()
        self.network, self.task, self.preprocess = network.eval(), member.task, member.preprocess
        self.register_buffer("mean", torch.tensor(member.preprocess.mean)[:, None, None])
        self.register_buffer("std", torch.tensor(member.preprocess.std)[:, None, None])

    def forward(self, planes: torch.Tensor, at: Place, working: Place) -> torch.Tensor:
        placed = _placement(at, self.preprocess)
        resized = move(_to_channels(planes, self.preprocess.channels), at, placed).clamp(0, 1)
        resized = _evened(resized) if self.preprocess.intensity == "evened" else resized
        logits = self.network(((resized - self.mean) / self.std)[None])[0]
        probabilities = logits.softmax(dim=0)[1:] if self.task == "multiclass" else logits.sigmoid()
        return move(probabilities, placed, working).half().float()  # as the members' probabilities are kept


class Pipeline(nn.Module):
    """The ensemble: an image (H, W, C), float32 in [0, 1], of any size → probabilities (K, H, W) float32 and masks
    (K, H, W) bool, cut at its threshold and not cleaned up."""

    def __init__(self, settings: EnsembleConfig, models: Sequence[Model], stacker: Model | None) -> None:
        super().__init__()
        self.settings, self.models, self.stacker = settings, nn.ModuleList(models), stacker
        count, labels = len(models), len(settings.labels)
        shares = normalise_weights([member.weight for member in settings.members], count, labels)
        table = torch.tensor(shares, dtype=torch.float64).reshape(count, -1).expand(count, labels)
        self.shares: list[list[float]] = table.tolist()

    @property
    def channels(self) -> int:
        """The image's channels: colour where any network wants colour; the others take its luma."""
        with_image = self.stacker is not None and self.settings.stacker is not None and self.settings.stacker.with_image
        wanted = [model.preprocess.channels for model in self.models if isinstance(model, Model)]
        return max(*wanted, 3 if with_image else 1)

    def forward(self, image: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        planes = image.permute(2, 0, 1)
        at = (_whole(image.shape[0]), _whole(image.shape[1]))
        working = _working(at)
        used = range(len(self.models)) if self.stacker else [i for i, row in enumerate(self.shares) if any(row)]
        stack = torch.stack([self.models[i](planes, at, working) for i in used])
        if self.stacker is None:
            blended = blend(stack, [self.shares[i] for i in used], self.settings)
        else:
            channels = stack.flatten(0, 1)
            if self.settings.stacker is not None and self.settings.stacker.with_image:
                channels = torch.cat([channels, move(_to_channels(planes, 3), at, working)])
            blended = self.stacker(channels, working, working)
        probabilities = move(blended, working, at).clamp(0, 1)
        return probabilities, to_masks(probabilities, self.settings.threshold, self.settings.task)


def to_masks(probabilities: torch.Tensor, threshold: Threshold, task: Task) -> torch.Tensor:
    """As `medseg.postprocess.to_masks`."""
    cut = threshold if isinstance(threshold, float) else torch.tensor(threshold)[:, None, None]
    if task != "multiclass":
        return probabilities >= cut
    labels = torch.arange(probabilities.shape[0])[:, None, None]
    return (probabilities.argmax(dim=0) == labels) & (probabilities.sum(dim=0) >= cut)


def blend(stack: torch.Tensor, shares: list[list[float]], settings: EnsembleConfig) -> torch.Tensor:
    """As `medseg.inference.blend.blend`, for all blends but STAPLE: (K, h, w) of the stack (M, K, h, w)."""
    how, task = settings.blend, settings.task
    if how == "geometric" and task == "multiclass":
        return _pool(stack, shares)
    if how == "majority vote":
        stack = torch.stack([to_masks(member, DECISION, task).float() for member in stack])
    ways = {"geometric": _geometric, "median": _median}
    labels = [
        ways.get(how, _mean)(
            [stack[m, k] for m, row in enumerate(shares) if row[k]], [row[k] for row in shares if row[k]]
        )
        for k in range(stack.shape[1])
    ]
    blended = torch.stack(labels).clamp(0, 1)
    return blended / blended.sum(dim=0).clamp(min=1) if task == "multiclass" else blended


def _mean(planes: Sequence[torch.Tensor], shares: Sequence[float]) -> torch.Tensor:
    return torch.stack([share * plane for share, plane in zip(shares, planes, strict=True)]).sum(dim=0)


def _geometric(planes: Sequence[torch.Tensor], shares: Sequence[float]) -> torch.Tensor:
    clipped = [plane.clamp(NEAREST, 1 - NEAREST) for plane in planes]
    return _mean([(plane / (1 - plane)).log() for plane in clipped], shares).sigmoid()


def _pool(stack: torch.Tensor, shares: list[list[float]]) -> torch.Tensor:
    """The geometric blend of exclusive labels, with the background as one more, of a member's mean weight."""
    with_rest = torch.cat([stack, 1 - stack.sum(dim=1, keepdim=True)], dim=1).clamp(NEAREST, 1).log()
    weights = torch.tensor([[*row, sum(row) / len(row)] for row in shares], dtype=torch.float32)
    pooled = (with_rest * weights[:, :, None, None]).sum(dim=0).exp()
    return pooled[:-1] / pooled.sum(dim=0)


def _median(planes: Sequence[torch.Tensor], shares: Sequence[float]) -> torch.Tensor:
    """The mean of the lower and the upper weighted median."""
    values, order = torch.stack(list(planes)).sort(dim=0)
    weights = torch.tensor(shares, dtype=torch.float64)[order]
    below, above = torch.tensor([0.5 - _TIE, 0.5 + _TIE], dtype=torch.float64)  # a plain number becomes ONNX's float32
    lower = upper = values[0]
    reached = weights[0]
    for value, weight in zip(values[1:], weights[1:], strict=True):
        lower = torch.where(reached < below, value, lower)
        upper = torch.where(reached < above, value, upper)
        reached = reached + weight
    return (lower + upper) / 2
