"""The plain U-Net, self-defined: no pretrained encoder, but a free choice of activation, normalisation and dropout."""

from __future__ import annotations

import json
import math
from itertools import pairwise
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from huggingface_hub import PyTorchModelHubMixin
from torch import nn

from medseg.errors import ConfigError

ACTIVATIONS = {"relu": nn.ReLU, "elu": nn.ELU, "selu": nn.SELU}
NORMS = {"batch": nn.BatchNorm2d, "instance": nn.InstanceNorm2d, "none": None}
MAX_DEPTH = 5
"""A member's sides are multiples of 32 = 2⁵: each level halves them."""


class PlainUNet(nn.Module, PyTorchModelHubMixin):
    """Logits (N, classes, H, W) of images (N, in_channels, H, W) whose sides are multiples of 2 ** depth.

    Each of the `depth` levels halves the sides and doubles the channels, `width` at the top; the way up joins what the
    way down saw. `norm` None chooses batch norm, and none for selu: its activations normalise themselves, if
    the weights begin as LeCun's (Klambauer et al., Self-Normalizing Neural Networks, NeurIPS 2017) and dropout
    is alpha dropout, which keeps mean and variance. relu and elu begin with He's weights. `dropout` is the share of
    activations dropped in each block while training.

    Raises ConfigError for a value out of range. A folder of it holds config.json and model.safetensors.
    """

    def __init__(
        self,
        in_channels: int = 3,
        classes: int = 1,
        *,
        depth: int = 4,
        width: int = 32,
        activation: str = "relu",
        norm: str | None = None,
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        norm = norm or ("none" if activation == "selu" else "batch")
        self.config: dict[str, Any] = {
            "in_channels": in_channels, "classes": classes, "depth": depth, "width": width,
            "activation": activation, "norm": norm, "dropout": dropout,
        }  # fmt: skip
        _check(self.config)
        widths = [width * 2**level for level in range(depth + 1)]
        rising = widths[::-1]
        self.down = nn.ModuleList(_block(a, b, activation, norm, dropout) for a, b in pairwise([in_channels, *widths]))
        self.rise = nn.ModuleList(nn.ConvTranspose2d(a, b, kernel_size=2, stride=2) for a, b in pairwise(rising))
        self.up = nn.ModuleList(_block(2 * b, b, activation, norm, dropout) for b in rising[1:])
        self.head = nn.Conv2d(width, classes, kernel_size=1)
        self._initialise(gain=1.0 if activation == "selu" else 2.0)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        levels = []
        for block in self.down[:-1]:
            x = block(x)
            levels.append(x)
            x = F.max_pool2d(x, 2)
        x = self.down[-1](x)
        for rise, block in zip(self.rise, self.up, strict=True):
            x = block(torch.cat([levels.pop(), rise(x)], dim=1))
        logits: torch.Tensor = self.head(x)
        return logits

    def _initialise(self, gain: float) -> None:
        """Normal weights of variance gain / (inputs to one output): 2 is He's choice, 1 is LeCun's.

        No activation follows the transposed convolutions and the head: theirs is 1 in any case.
        """
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                after = 1.0 if module is self.head else gain
                nn.init.normal_(module.weight, std=math.sqrt(after / module.weight[0].numel()))
            elif isinstance(module, nn.ConvTranspose2d):  # stride = kernel size: each output sees each channel once
                nn.init.normal_(module.weight, std=math.sqrt(1 / module.in_channels))
            if isinstance(module, nn.Conv2d | nn.ConvTranspose2d) and module.bias is not None:
                nn.init.zeros_(module.bias)

    def _save_pretrained(self, save_directory: Path) -> None:
        super()._save_pretrained(save_directory)
        settings = {"_model_class": type(self).__name__, **self.config}
        (save_directory / "config.json").write_text(json.dumps(settings, indent=2) + "\n", encoding="utf-8")


def _block(channels_in: int, channels_out: int, activation: str, norm: str, dropout: float) -> nn.Sequential:
    """Two 3 × 3 convolutions, each normalised and activated; dropout between them."""
    first = _convolution(channels_in, channels_out, activation, norm)
    second = _convolution(channels_out, channels_out, activation, norm)
    drop = (nn.AlphaDropout if activation == "selu" else nn.Dropout)(dropout)
    return nn.Sequential(*first, *([drop] if dropout else []), *second)


def _convolution(channels_in: int, channels_out: int, activation: str, norm: str) -> list[nn.Module]:
    normalisation = NORMS[norm]
    convolution = nn.Conv2d(channels_in, channels_out, kernel_size=3, padding=1, bias=normalisation is None)
    normalised = [normalisation(channels_out, affine=True)] if normalisation else []
    return [convolution, *normalised, ACTIVATIONS[activation]()]


def _check(settings: dict[str, Any]) -> None:
    for key, low, high in (
        ("in_channels", 1, 64), ("classes", 1, 65), ("depth", 1, MAX_DEPTH), ("width", 1, 256), ("dropout", 0.0, 0.9),
    ):  # fmt: skip
        value, kinds = settings[key], (float, int) if key == "dropout" else (int,)
        if type(value) not in kinds or not low <= value <= high:
            raise ConfigError(f"PlainUNet: {key} must lie in {low} to {high}, not be {str(value)[:80]!r}.")
    for key, known in (("activation", ACTIVATIONS), ("norm", NORMS)):
        if not isinstance(settings[key], str) or settings[key] not in known:
            raise ConfigError(f"PlainUNet: {key} must be one of {', '.join(known)}, not {str(settings[key])[:80]!r}.")
