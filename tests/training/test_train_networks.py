"""The architectures that a recipe may name: each is built, makes one step, and becomes a member that opens."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from medseg.config import MemberConfig, Preprocess
from medseg.errors import ConfigError
from medseg.inference import member
from medseg.inference.member import load_network, save_member
from medseg.inference.networks import ARCHITECTURES
from medseg.training.encoders import make_network, normalisation
from medseg.training.losses import make_loss
from medseg.training.recipe import Recipe, recipe_from_settings
from tests.conftest import without_graph

NETWORKS: dict[str, dict[str, Any]] = {
    "unet-resnet34": {"architecture": "unet", "encoder": "resnet34"},
    "unet-efficientnet-b4": {"architecture": "unet", "encoder": "efficientnet-b4"},
    "unet-vgg16": {"architecture": "unet", "encoder": "vgg16"},
    "deeplabv3plus-resnet50": {"architecture": "deeplabv3plus", "encoder": "resnet50"},
    "unetplusplus-resnet18": {"architecture": "unetplusplus", "encoder": "resnet18"},
    "pspnet-resnet18": {"architecture": "pspnet", "encoder": "resnet18"},
    "segformer-mit_b0": {"architecture": "segformer", "encoder": "mit_b0"},
    "plainunet": {"architecture": "plainunet", "encoder": "none", "decoder": {"depth": 3, "width": 4}},
}
TASKS = {"binary": ("a",), "multiclass": ("a", "b"), "multilabel": ("a", "b")}
PLAIN = NETWORKS["plainunet"]


def described(recipe: Recipe) -> MemberConfig:
    channels = recipe.channels
    preprocess = Preprocess(recipe.size, recipe.size, channels, (0.5,) * channels, (0.25,) * channels)
    data = recipe.training_data
    return MemberConfig(recipe.name, recipe.task, recipe.labels, preprocess, data, "Apache-2.0", files={})


def one_step(recipe: Recipe) -> tuple[torch.nn.Module, float]:
    """The recipe's network after one step, and how far its parameters moved."""
    torch.manual_seed(0)
    network = make_network(recipe, described(recipe))
    assert network.training
    used = [parameter for parameter in network.parameters() if parameter.requires_grad]
    before = [parameter.detach().clone() for parameter in used]
    masks = torch.rand(2, len(recipe.labels), recipe.size, recipe.size) > 0.5
    optimizer = torch.optim.AdamW(network.parameters(), lr=1e-3)
    loss = make_loss("bce + dice", recipe.task)
    loss(network(torch.rand(2, recipe.channels, recipe.size, recipe.size)), masks).backward()
    assert all(parameter.grad is not None for parameter in used)
    optimizer.step()
    moved = max((a - b).abs().max().item() for a, b in zip(before, used, strict=True))
    return network, moved


@pytest.mark.parametrize("name", NETWORKS)
def test_every_architecture_of_the_seeds_makes_a_step(name: str) -> None:
    _, moved = one_step(Recipe(**{"decoder": {}, **NETWORKS[name], "size": 64}))
    assert 0 < moved < 0.1


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_every_architecture_can_be_named_alone(name: str) -> None:
    recipe = recipe_from_settings({"architecture": name.lower()})
    assert isinstance(make_network(recipe, described(recipe)), ARCHITECTURES[name])


@pytest.mark.filterwarnings("ignore:The member .* has no graph:medseg.errors.MedsegWarning")
@pytest.mark.parametrize(
    ("name", "task", "channels"),
    [*(("plainunet", task, channels) for task in TASKS for channels in (1, 3)), ("pspnet-resnet18", "multiclass", 1)],
)
def test_every_task_and_grey_or_colour_make_a_member(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, task: Any, channels: int
) -> None:
    monkeypatch.setattr(member, "_graph_of", without_graph)
    settings = {"decoder": {}, **NETWORKS[name], "size": 64, "task": task, "labels": TASKS[task], "channels": channels}
    recipe = Recipe(**settings)
    network, _ = one_step(recipe)
    save_member(network, described(recipe), tmp_path)
    opened = load_network(tmp_path)
    assert opened(torch.rand(1, channels, 64, 64)).shape[1] == described(recipe).channels_out


def test_stages_that_the_answer_does_not_see_are_frozen() -> None:
    """Several processes would wait for their gradients."""
    recipe = Recipe(size=64, architecture="pspnet", encoder="resnet18", decoder={"encoder_depth": 3})
    network = make_network(recipe, described(recipe))
    frozen = {name for name, parameter in network.named_parameters() if not parameter.requires_grad}
    assert frozen
    assert all(name.startswith(("encoder.layer3", "encoder.layer4")) for name in frozen)
    assert all(parameter.grad is None for parameter in network.parameters())


@pytest.mark.parametrize(
    ("encoder", "mean", "std"),
    [
        ("resnet34", (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)),
        ("inceptionv4", (0.5, 0.5, 0.5), (0.5, 0.5, 0.5)),  # timm says inception_v4
        ("tu-tf_efficientnet_lite0", (0.5, 0.5, 0.5), (0.5, 0.5, 0.5)),
        ("none", (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)),
    ],
)
def test_the_normalisation_is_that_of_the_encoders_weights(encoder: str, mean: tuple, std: tuple) -> None:
    assert normalisation(encoder) == (mean, std)


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"encoder": "resnet18"}, 'plainunet has no encoder: it wants encoder = "none"'),
        ({"encoder_weights": "imagenet"}, 'encoder_weights = "none"'),
        ({"decoder": {"decoder_channels": [8]}}, "unknown key 'decoder_channels' for PlainUNet"),
        ({"decoder": {"activation": "gelu"}}, "activation must be one of relu, elu, selu"),
    ],
)
def test_what_a_plain_unet_cannot_be_is_refused(settings: dict[str, Any], words: str) -> None:
    recipe = Recipe(**{**PLAIN, **settings})
    with pytest.raises(ConfigError) as refusal:
        make_network(recipe, described(recipe))
    assert words in str(refusal.value)
