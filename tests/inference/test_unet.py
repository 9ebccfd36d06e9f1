"""The plain U-Net: its sizes and weights worked out by hand, and its folder."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from medseg.config import MemberConfig, Preprocess, TrainingData
from medseg.errors import ConfigError
from medseg.inference.member import load_network, save_member
from medseg.inference.networks import build_network
from medseg.inference.unet import ACTIVATIONS, NORMS, PlainUNet

SMALL = {"depth": 2, "width": 4}
DATA = TrainingData(name="discs", licence="Apache-2.0")


def member_of(channels: int = 3, labels: tuple[str, ...] = ("blob",), task: Any = "binary") -> MemberConfig:
    preprocess = Preprocess(64, 64, channels, (0.5,) * channels, (0.25,) * channels)
    return MemberConfig("plain", task, labels, preprocess, DATA, "Apache-2.0", files={})


@pytest.mark.parametrize("norm", [None, *NORMS])
@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_the_answer_lies_on_the_images_grid_and_every_weight_learns(activation: str, norm: str | None) -> None:
    network = PlainUNet(in_channels=5, classes=2, activation=activation, norm=norm, dropout=0.1, **SMALL)
    logits = network(torch.rand(2, 5, 16, 24))
    assert logits.shape == (2, 2, 16, 24)
    logits.square().mean().backward()
    assert all(parameter.grad is not None for parameter in network.parameters())


def test_the_number_of_weights_is_what_a_hand_calculation_gives() -> None:
    network = PlainUNet(in_channels=1, classes=1, depth=1, width=2, norm="none")
    blocks = (1 * 2 * 9 + 2) + (2 * 2 * 9 + 2) + (2 * 4 * 9 + 4) + (4 * 4 * 9 + 4) + (4 * 2 * 9 + 2) + (2 * 2 * 9 + 2)
    rise, head = 4 * 2 * 4 + 2, 2 + 1
    assert sum(p.numel() for p in network.parameters()) == blocks + rise + head


def test_selu_has_no_norm_unless_asked_and_drops_in_its_own_way() -> None:
    kinds = {type(module).__name__ for module in PlainUNet(activation="selu", dropout=0.1, **SMALL).modules()}
    assert {"SELU", "AlphaDropout"} <= kinds
    assert not kinds & {"BatchNorm2d", "InstanceNorm2d", "Dropout"}
    kinds = {type(module).__name__ for module in PlainUNet(activation="elu", dropout=0.1, **SMALL).modules()}
    assert {"ELU", "BatchNorm2d", "Dropout"} <= kinds
    assert "BatchNorm2d" in {type(m).__name__ for m in PlainUNet(activation="selu", norm="batch").modules()}


@torch.no_grad()
@pytest.mark.parametrize(("activation", "gain"), [("relu", 2), ("elu", 2), ("selu", 1)])
def test_weights_begin_with_the_variance_of_he_or_lecun(activation: str, gain: int) -> None:
    torch.manual_seed(0)
    network = PlainUNet(depth=2, width=32, activation=activation)
    weight = network.down[1][0].weight
    assert weight.var().item() == pytest.approx(gain / (32 * 9), rel=0.05)
    assert network.rise[0].weight.var().item() == pytest.approx(1 / 128, rel=0.05)


@torch.no_grad()
def test_selu_keeps_mean_and_variance_from_top_to_bottom() -> None:
    torch.manual_seed(0)
    x = torch.randn(1, 3, 64, 64)
    for block in PlainUNet(depth=4, width=16, activation="selu").eval().down:
        x = block(x)
        assert abs(x.mean().item()) < 0.3
        assert 0.5 < x.var().item() < 2


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"depth": 0}, "depth must lie in 1 to 5"),
        ({"depth": 6}, "depth must lie in 1 to 5"),
        ({"depth": True}, "depth must lie in 1 to 5, not be 'True'"),
        ({"width": 257}, "width must lie in 1 to 256"),
        ({"width": 8.0}, "width"),
        ({"dropout": 1}, "dropout must lie in 0.0 to 0.9"),
        ({"dropout": float("nan")}, "dropout"),
        ({"activation": "gelu"}, "activation must be one of relu, elu, selu"),
        ({"activation": [1]}, "activation must be one of"),
        ({"norm": "group"}, "norm must be one of batch, instance, none"),
        ({"in_channels": 0}, "in_channels"),
    ],
)
def test_a_value_out_of_range_is_refused_by_name(settings: dict[str, Any], words: str) -> None:
    with pytest.raises(ConfigError) as refusal:
        PlainUNet(**settings)
    assert words in str(refusal.value)


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"depth": 5, "width": 256}, "are over the limit"),
        ({"in_channels": 1}, "in_channels must be 3"),
        ({"encoder_name": "resnet18"}, "unknown key 'encoder_name' for PlainUNet"),
        ({"depth": 9}, "depth must lie in 1 to 5"),
    ],
)
def test_a_config_json_is_refused_before_memory_is_taken(settings: dict[str, Any], words: str) -> None:
    with pytest.raises(ConfigError) as refusal:
        build_network({"_model_class": "PlainUNet", **settings}, member_of())
    assert words in str(refusal.value)


@torch.no_grad()
@pytest.mark.parametrize(
    ("task", "labels", "channels"),
    [("binary", ("a",), 1), ("multiclass", ("a", "b"), 3), ("multilabel", ("a", "b"), 3)],
)
def test_a_member_folder_opens_with_and_without_medseg(
    tmp_path: Path, task: Any, labels: tuple[str, ...], channels: int
) -> None:
    member = member_of(channels, labels, task)
    network = PlainUNet(channels, member.channels_out, activation="selu", dropout=0.2, **SMALL).eval()
    save_member(network, member, tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "README.md", "config.json", "graph.onnx",
        "member.json", "model.safetensors",
    ]  # fmt: skip
    assert json.loads((tmp_path / "config.json").read_text())["_model_class"] == "PlainUNet"
    image = torch.rand(1, channels, 64, 64)
    opened = load_network(tmp_path)
    alone = PlainUNet.from_pretrained(tmp_path).eval()
    torch.testing.assert_close(opened(image), alone(image))  # channels last and first round differently
    assert torch.allclose(opened(image), network(image), atol=0.02)  # saved in half precision
