"""A training starts from a member: what fits is taken over, the rest begins anew, and both are said and recorded."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import segmentation_models_pytorch as smp
import torch

from medseg import schema
from medseg.config import MemberConfig, Preprocess, TrainingData
from medseg.errors import ConfigError, DamagedError, InputError
from medseg.inference.member import file_sha256, load_network, save_member
from medseg.training import loop
from medseg.training.donor import EMBEDDED, donor_settings, find_member, read_donor
from medseg.training.loop import train
from medseg.training.recipe import Recipe, recipe_from_arguments, recipe_from_settings
from medseg.training.start import describe, take_over

pytestmark = [
    pytest.mark.usefixtures("on_the_cpu"),
    pytest.mark.filterwarnings("ignore::medseg.errors.MedsegWarning"),  # of the folder's discs a few are no part of it
]

DECODER = {"decoder_pyramid_channels": 32, "decoder_segmentation_channels": 32}


def network(classes: int = 1, channels: int = 3, encoder: str = "tu-test_efficientnet") -> torch.nn.Module:
    made: torch.nn.Module = smp.FPN(
        encoder_name=encoder, encoder_weights=None, classes=classes, in_channels=channels, **DECODER
    )
    return made


def describe_member(*labels: str, task: str = "binary", channels: int = 3) -> MemberConfig:
    preprocess = Preprocess(64, 64, channels, (0.25,) * channels, (0.5,) * channels)
    data = TrainingData("drawn", "Apache-2.0")
    return MemberConfig("donor", task, labels, preprocess, data, "Apache-2.0", files={})  # type: ignore[arg-type]


def save(folder: Path, member: MemberConfig) -> tuple[Path, dict[str, torch.Tensor]]:
    """A member folder with random weights, and these weights as they were saved."""
    made = network(member.channels_out, member.preprocess.channels)
    save_member(made, member, folder)
    return folder, {key: value.half().to(value.dtype) for key, value in made.state_dict().items()}


def test_the_same_network_takes_every_tensor(tmp_path: Path) -> None:
    folder, saved = save(tmp_path / "donor", describe_member("polyp"))
    started = network()
    record = take_over(started, describe_member("polyp"), folder)
    assert all(torch.equal(value, saved[key]) for key, value in started.state_dict().items())
    assert record.taken == record.tensors == len(saved)
    assert record.sha256 == file_sha256(folder / "member.json")
    assert describe(record, describe_member("polyp")) == (
        f"Starts from donor: {len(saved)} of {len(saved)} tensors taken over."
    )


def test_outputs_are_taken_by_the_names_of_their_labels(tmp_path: Path) -> None:
    folder, saved = save(tmp_path / "donor", describe_member("lung", "heart", task="multiclass"))
    member = describe_member("heart", "rib", "lung", task="multilabel")
    started = network(classes=3)
    before = started.state_dict()["segmentation_head.0.weight"].clone()
    record = take_over(started, member, folder)
    after, donor = (state["segmentation_head.0.weight"] for state in (started.state_dict(), saved))
    assert torch.equal(after[0], donor[2])  # behind the background and lung
    assert torch.equal(after[1], before[1])
    assert torch.equal(after[2], donor[1])
    assert record.labels == ("heart", "lung")
    assert describe(record, member).endswith("; the output for rib begins anew.")


def test_the_first_layer_is_adapted_to_other_channels(tmp_path: Path) -> None:
    folder, saved = save(tmp_path / "donor", describe_member("polyp"))
    grey = network(channels=1)
    record = take_over(grey, describe_member("polyp", channels=1), folder)
    first = next(iter(saved))
    assert torch.allclose(grey.state_dict()[first], saved[first].sum(dim=1, keepdim=True), atol=1e-6)
    assert record.taken == len(saved)


def test_a_network_that_nothing_fits_is_refused(tmp_path: Path) -> None:
    folder, _ = save(tmp_path / "donor", describe_member("polyp"))
    other = smp.Unet("tu-resnet18", encoder_weights=None, encoder_depth=3, decoder_channels=[8, 8, 8])
    other.encoder, other.decoder = torch.nn.Conv2d(3, 5, 1), torch.nn.Identity()
    with pytest.raises(ConfigError, match=r"donor has 0 of this network's \d+ tensors, too few to start"):
        take_over(other, describe_member("polyp"), folder)


def test_a_damaged_member_is_refused(tmp_path: Path) -> None:
    folder, _ = save(tmp_path / "donor", describe_member("polyp"))
    weights = bytearray((folder / "model.safetensors").read_bytes())
    weights[-1] ^= 1
    (folder / "model.safetensors").write_bytes(weights)
    with pytest.raises(DamagedError, match="its files are not those that member"):
        take_over(network(), describe_member("polyp"), folder)


def test_embedded_members_are_found_by_name_and_ensembles_name_theirs() -> None:
    assert find_member("polyp-unet-lite0") == EMBEDDED / "polyp" / "polyp-unet-lite0"
    with pytest.raises(InputError, match=r"an ensemble, a training starts from one member: polyp-unet-lite0, "):
        find_member(str(EMBEDDED / "polyp"))
    with pytest.raises(InputError, match=r"'nowhere' is no member: wanted .*chest-unet-lite0.*Hub repository"):
        find_member("nowhere")


def test_a_runs_output_is_no_member_but_says_where_its_member_is(tmp_path: Path) -> None:
    folder, _ = save(tmp_path / "run" / "member", describe_member("disc"))
    with pytest.raises(InputError, match=r"its member lies in .*run/member: name that"):
        find_member(str(tmp_path / "run"))
    (folder / "config.json").write_text("{}")
    with pytest.raises(ConfigError, match=r"names no network \(_model_class\)"):
        donor_settings(folder, {})


def test_a_recipe_takes_from_the_member_what_it_leaves_out() -> None:
    recipe = recipe_from_arguments(["--init", "brain-fpn-lite1", "--size", "128"])
    assert (recipe.architecture, recipe.encoder) == ("fpn", "tu-tf_efficientnet_lite1")
    assert recipe.decoder["decoder_segmentation_channels"] == 64
    assert (recipe.size, recipe.intensity) == (128, "evened")
    own = recipe_from_settings({"init": "brain-fpn-lite1", "architecture": "linknet", "intensity": "kept"})
    assert (own.architecture, own.encoder) == ("linknet", recipe.encoder)
    assert own.decoder == {"feature_cls": "getter"}  # without the stages that the member lacks
    assert (own.size, own.intensity) == (256, "kept")


def test_what_starts_from_a_member_of_upright_images_is_trained_on_such_and_says_so() -> None:
    recipe = recipe_from_settings({"init": "chest-unet-lite0"})
    assert recipe.augmentation == "upright"
    assert loop._describe(recipe, loop._preprocess(recipe)).upright
    other = recipe_from_settings({"init": "chest-unet-lite0", "augmentation": "medium"})
    assert not loop._describe(other, loop._preprocess(other)).upright


@pytest.fixture
def discs(disc_pairs: Path, tmp_path: Path) -> Path:
    """A manifest of a few discs."""
    names = sorted(path.name for path in (disc_pairs / "images").iterdir())[:9]
    samples: list[dict[str, Any]] = [
        {
            "image": str(disc_pairs / "images" / name),
            "mask": str(disc_pairs / "masks" / name),
            "split": "train" if number < 6 else "val",
        }
        for number, name in enumerate(names)
    ]
    path = tmp_path / "discs.json"
    path.write_text(json.dumps({"labels": ["disc"], "samples": samples}), encoding="utf-8")
    return path


def test_a_run_starts_from_the_member_and_records_it(discs: Path, tmp_path: Path) -> None:
    """With a learning rate near nothing, what is saved is the member's weights, under its normalisation."""
    folder, saved = save(tmp_path / "donor", describe_member("disc"))
    settings = {"data": str(discs), "labels": ["disc"], "init": str(folder), "learning_rate": 1e-30, "epochs": 1}
    output = train(recipe_from_settings({**settings, "output": str(tmp_path / "run"), "batch_size": 2}))
    network = load_network(output)
    member = schema.load(MemberConfig, output / "member.json")
    assert member.preprocess == describe_member("disc").preprocess
    record = member.started_from
    assert record is not None
    assert (record.name, record.taken, record.labels) == ("donor", len(saved), ("disc",))
    for key, value in network.state_dict().items():
        if "running_" not in key and "num_batches" not in key:
            assert torch.equal(value, saved[key]), key


def test_a_run_is_not_continued_from_another_member_of_the_same_name(discs: Path, tmp_path: Path) -> None:
    folder, _ = save(tmp_path / "donor", describe_member("disc"))
    settings = {"data": str(discs), "labels": ["disc"], "init": str(folder), "epochs": 1, "batch_size": 2}
    settings |= {"output": str(tmp_path / "run")}
    train(recipe_from_settings(settings))
    torch.manual_seed(1)  # other weights than the first ones, whatever was drawn meanwhile
    save(folder, describe_member("disc"))
    with pytest.raises(InputError, match="holds a run with another init: name"):
        train(recipe_from_settings(settings))


def test_the_licence_of_the_weights_is_that_of_the_start() -> None:
    licence = recipe_from_settings({"init": "brain-fpn-lite1"}).weights_licence
    assert licence == read_donor(find_member("brain-fpn-lite1")).weights_licence != Recipe().weights_licence
    assert recipe_from_settings({"init": "brain-fpn-lite1", "weights_licence": "x"}).weights_licence == "x"


@pytest.mark.parametrize("member", ["polyp-unet-lite0", "brain-unet-lite0"])  # the second on timm's getter
def test_another_architecture_starts_from_the_members_encoder(member: str) -> None:
    recipe = recipe_from_settings({"init": member, "architecture": "FPN", "size": 64})
    started, described = loop._begin(recipe, loop._describe(recipe, loop._preprocess(recipe)))
    encoder = {f"encoder.{key}" for key in started.encoder.state_dict()}  # type: ignore[union-attr, operator]
    taken = load_network(find_member(member)).state_dict()
    state = started.state_dict()
    assert isinstance(started, smp.FPN)
    assert described.started_from is not None
    assert described.started_from.labels == ()  # another decoder has another head
    assert described.started_from.taken >= len(encoder & taken.keys()) > len(state) / 2
    assert all(torch.equal(state[key], taken[key]) for key in encoder & taken.keys())


def test_a_network_named_as_the_member_has_it_is_the_members() -> None:
    plain = recipe_from_settings({"init": "brain-fpn-lite1"})
    named = {"init": "brain-fpn-lite1", "architecture": "FPN", "encoder": "tu-tf_efficientnet_lite1"}
    assert recipe_from_settings(named).decoder == plain.decoder
    deeper = recipe_from_settings({"init": "brain-fpn-lite1", "decoder": {"encoder_depth": 5}})
    assert (deeper.architecture, deeper.encoder) == ("fpn", plain.encoder)
    assert recipe_from_settings({"init": "brain-fpn-lite1", "encoder": "resnet18"}).architecture == "unet"
