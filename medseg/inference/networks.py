"""The torch networks that a config.json may describe: built by name, filled with verified weights.

Only what trains, runs on a GPU or has no `graph.onnx` comes here: this is where torch, smp and timm are imported.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Mapping
from typing import Any

import safetensors.torch
import segmentation_models_pytorch as smp
import timm
import torch
from torch.overrides import TorchFunctionMode

from medseg.config import MemberConfig, Task
from medseg.errors import ConfigError
from medseg.inference.unet import PlainUNet
from medseg.inference.weights import Slot

ARCHITECTURES = {
    cls.__name__: cls
    for cls in (
        smp.Unet, smp.UnetPlusPlus, smp.MAnet, smp.Linknet, smp.FPN, smp.PSPNet,
        smp.PAN, smp.DeepLabV3, smp.DeepLabV3Plus, smp.UPerNet, smp.Segformer, PlainUNet,
    )
}  # fmt: skip
MAX_PARAMETERS = 200_000_000
_PRUNED = "feature_cls"
"""timm's argument that smp hands on: with "getter" a `tu-` encoder is built without the stages past `encoder_depth`."""


def to_probabilities(logits: torch.Tensor, task: Task) -> torch.Tensor:
    """As `medseg.inference.member.to_probabilities`, for the tensors of training and of comparisons."""
    return logits.softmax(dim=1)[:, 1:] if task == "multiclass" else logits.sigmoid()


def build_network(settings: dict[str, Any], member: MemberConfig) -> torch.nn.Module:
    """The network that a config.json describes, with random weights: never a download, never a local path.

    Raises ConfigError for an architecture or encoder that is not known, an unknown or ill-typed setting, more than
    MAX_PARAMETERS, or a network that does not turn `member`'s input into logits of its labels on the same grid (both
    found out on the meta device, before any memory is taken).
    """
    architecture, checked, _ = check_settings(settings, member)
    network: torch.nn.Module = architecture(**checked)
    return network


def fill_network(
    settings: dict[str, Any], member: MemberConfig, content: bytes, slots: Mapping[str, Slot]
) -> torch.nn.Module:
    """As `build_network`, with the weights of the safetensors file `content`, in float32.

    Raises ValueError where their names and shapes are not the network's, before any memory is taken.
    """
    architecture, checked, sketch = check_settings(settings, member)
    wanted = {name: tuple(tensor.shape) for name, tensor in sketch.state_dict().items()}
    for name in sorted(wanted.keys() | slots.keys()):
        present = slots[name].shape if name in slots else None
        if present != wanted.get(name):
            sides = [list(shape) if shape is not None else "nothing" for shape in (present, wanted.get(name))]
            raise ValueError(f"{name[:80]!r} is {sides[0]}, wanted {sides[1]}")
    weights = {name: _single(tensor) for name, tensor in safetensors.torch.load(content).items()}
    sketch.load_state_dict(weights, assign=True)  # of the sketch, all that was missing
    if _is_whole(sketch):
        return sketch.train()
    network: torch.nn.Module = architecture(**checked)
    network.load_state_dict(weights)
    return network


def _single(tensor: torch.Tensor) -> torch.Tensor:
    return tensor.float() if tensor.is_floating_point() else tensor


def _is_whole(network: torch.nn.Module) -> bool:
    """Whether nothing is left on the meta device: some networks hold tables that are in no weights file."""
    tensors = (
        value
        for module in network.modules()
        for value in (*module._parameters.values(), *module._buffers.values(), *vars(module).values())
    )
    return not any(isinstance(value, torch.Tensor) and value.is_meta for value in tensors)


def check_settings(
    settings: dict[str, Any], member: MemberConfig
) -> tuple[Callable[..., torch.nn.Module], dict[str, Any], torch.nn.Module]:
    """The architecture that `settings` name, its arguments, and the network on the meta device; refused as
    `build_network` says."""
    settings = dict(settings)
    name = settings.pop("_model_class", None)
    if not isinstance(name, str) or name not in ARCHITECTURES:
        raise ConfigError(f"config.json: architecture {str(name)[:80]!r} is not one of {', '.join(ARCHITECTURES)}.")
    architecture = ARCHITECTURES[name]
    _check_settings(architecture, settings, member)
    if architecture is not PlainUNet:
        _check_smp(settings)
    try:
        with torch.device("meta"), _CountingOnTheCpu():
            sketch = architecture(**settings).eval()
            _check_sketch(sketch, member)
    except (ValueError, TypeError, KeyError, RuntimeError, AssertionError, IndexError, ArithmeticError) as error:
        raise ConfigError(f"config.json does not describe a network that can be built: {error}") from None
    return architecture, settings, sketch


class _CountingOnTheCpu(TorchFunctionMode):
    """Keeps `torch.linspace` on the CPU: smp's mit_b0 to mit_b5 count their drop path with it, and read the numbers,
    which the meta device does not hold."""

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        return func(*args, **{**(kwargs or {}), **({"device": "cpu"} if func is torch.linspace else {})})


def _check_settings(architecture: type, settings: dict[str, Any], member: MemberConfig) -> None:
    allowed = set(inspect.signature(architecture).parameters) - {"kwargs"}
    allowed |= {_PRUNED} if "encoder_name" in allowed else set()
    unknown = sorted(set(settings) - allowed)
    if unknown:
        raise ConfigError(f"config.json: unknown key {unknown[0][:80]!r} for {architecture.__name__}.")
    for key, value in settings.items():
        if not _is_plain(value):
            raise ConfigError(f"config.json: {key} must be a number, a word or a list of small numbers.")
    wanted = {"in_channels": member.preprocess.channels, "classes": member.channels_out}
    for (key, want), default in zip(wanted.items(), (3, 1), strict=True):  # smp's defaults
        if settings.get(key, default) != want:
            raise ConfigError(f"config.json: {key} must be {want}, as member.json has it.")


def _check_smp(settings: dict[str, Any]) -> None:
    if settings.get("activation") not in (None, "identity"):
        raise ConfigError("config.json: activation must be null, since a member's network gives logits.")
    name = settings.get("encoder_name", "resnet34")
    _check_encoder(name)
    if _PRUNED in settings and (settings[_PRUNED] != "getter" or not name.startswith("tu-")):
        raise ConfigError(f'config.json: {_PRUNED} must be "getter", and the encoder one of timm (tu-…).')
    settings["encoder_weights"] = None  # anything else makes smp ask the Hub


def _check_sketch(network: torch.nn.Module, member: MemberConfig) -> None:
    """Refuse a network on the meta device that is too large or has another output grid or other channels."""
    parameters = sum(p.numel() for p in network.parameters())
    if parameters > MAX_PARAMETERS:
        raise ConfigError(f"config.json: {parameters:,} parameters are over the limit of {MAX_PARAMETERS:,}.")
    grid = (member.preprocess.height, member.preprocess.width)
    wanted = (1, member.channels_out, *grid)
    shape = tuple(network(torch.empty(1, member.preprocess.channels, *grid)).shape)
    if shape != wanted:
        raise ConfigError(f"config.json: the network gives {shape}, member.json wants {wanted}.")


def _is_plain(value: Any) -> bool:
    """Numbers small enough for any sane network; the lists are channel counts and dilation rates."""
    if isinstance(value, list):
        return len(value) <= 8 and all(isinstance(item, int) and 1 <= item <= 4096 for item in value)
    return value is None or isinstance(value, bool | str) or (isinstance(value, int | float) and 0 <= value <= 4096)


def _check_encoder(name: Any) -> None:
    """timm names may carry a scheme (`hf_hub:`, `local-dir:`) that fetches or opens files: plain known names only.

    A dot parts a timm name from the tag of its weights, as in `tu-resnet18.a1_in1k`.
    """
    plain = isinstance(name, str) and re.fullmatch(r"(tu-)?[a-z0-9_.-]+", name)
    known = plain and (timm.is_model(name[3:]) if name.startswith("tu-") else name in smp.encoders.encoders)
    if not known:
        raise ConfigError(f"config.json: the encoder {str(name)[:80]!r} is not one that smp or timm builds by name.")
