"""Settings for one's own folder are chosen from it, said with a reason, and give way to flags and recipe files."""

from __future__ import annotations

import json
import shlex
from pathlib import Path
from typing import Any

import numpy as np
import PIL.Image
import pytest
import tifffile

from medseg.data.listing import not_among
from medseg.data.samples import load_data, select
from medseg.errors import ConfigError
from medseg.training import defaults
from medseg.training.defaults import choose, recipe_for_data
from medseg.training.recipe import Recipe, settings_from_arguments
from tests.conftest import make_member

POLYP = (0.5, 0.3, 0.2)
"""A colour that the embedded polyp member knows, and no other."""


def folder(place: Path, colour: tuple[float, ...], size: tuple[int, int] = (300, 200), count: int = 20) -> Path:
    """Pairs of one colour; a quarter of each image is marked."""
    for name in ("images", "masks"):
        (place / name).mkdir(parents=True)
    for number in range(count):
        pixels = np.full((size[1], size[0], 3), [round(255 * part) for part in colour], dtype=np.uint8)
        pixels[:2, :2] = number  # no two alike
        mask = np.zeros(pixels.shape[:2], dtype=np.uint8)
        mask[: size[1] // 2, : size[0] // 2] = 255
        PIL.Image.fromarray(pixels).save(place / "images" / f"case{number}.png")
        PIL.Image.fromarray(mask).save(place / "masks" / f"case{number}.png")
    return place


def values(chosen: dict[str, Any]) -> dict[str, Any]:
    return {choice.name: choice.value for choice in choose(chosen)}


def test_a_suiting_embedded_member_is_the_start_and_colour_is_varied(tmp_path: Path) -> None:
    settings = values({"data": str(folder(tmp_path / "mine", POLYP)), "labels": ["polyp"]})
    assert settings["init"] == "polyp-unet-lite0"
    assert (settings["augmentation"], settings["size"], settings["channels"]) == ("centres", 256, 3)
    assert (settings["name"], settings["output"]) == ("mine-member", "runs/mine")
    steps = settings["epochs"] * -(-14 // settings["batch_size"])  # 70 of 100 cases train
    assert defaults.STEPS <= steps < defaults.STEPS + 10


def test_grey_films_start_from_the_chest_member_and_keep_their_size_where_it_is_small(tmp_path: Path) -> None:
    settings = values({"data": str(folder(tmp_path / "films", (0.5, 0.5, 0.5), (170, 100))), "labels": ["lung"]})
    assert (settings["init"], settings["augmentation"], settings["size"]) == ("chest-unet-lite0", "upright", 160)


@pytest.mark.parametrize(("installed", "name"), [(True, "encoder_weights"), (False, "init")])
def test_images_that_no_member_knows_start_from_imagenet_where_it_is_installed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, installed: bool, name: str
) -> None:
    monkeypatch.setattr(defaults.importlib.util, "find_spec", lambda _: object() if installed else None)
    choices = choose({"data": str(folder(tmp_path / "mine", (0.0, 0.2, 1.0))), "labels": ["cell"]})
    (choice,) = [choice for choice in choices if choice.name == name]
    assert "no embedded member knows such images" in choice.reason
    assert ("package" in str(choice.value)) is installed
    flags = shlex.split(" ".join(str(choice).removesuffix(f": {choice.reason}") for choice in choices))
    assert settings_from_arguments(flags)[0] == {choice.name: choice.value for choice in choices}  # to be copied


def test_a_trained_start_learns_at_a_higher_rate_than_a_network_of_the_users_own(tmp_path: Path) -> None:
    named = {"data": str(folder(tmp_path / "mine", POLYP)), "labels": ["polyp"]}
    rates = [values({**named, **more})["learning_rate"] for more in ({}, {"init": "brain-unet-lite0"})]
    assert rates == [2e-3, 2e-3]
    assert values({**named, "architecture": "fpn"})["learning_rate"] == 1e-3


def test_several_processes_share_the_steps(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    named = {"data": str(folder(tmp_path / "mine", POLYP)), "labels": ["polyp"]}  # 14 of 20 images train
    assert values(named)["epochs"] == defaults.STEPS / 2
    monkeypatch.setenv("WORLD_SIZE", "2")
    assert values(named)["epochs"] == defaults.STEPS


def test_a_batch_of_one_image_makes_no_step(tmp_path: Path) -> None:
    data = folder(tmp_path / "mine", POLYP)
    count = len(select(load_data(data).samples, "train"))
    assert values({"data": str(data), "labels": ["polyp"], "batch_size": count - 1})["epochs"] == defaults.STEPS


def test_a_start_keeps_its_channels(tmp_path: Path) -> None:
    make_member(tmp_path / "grey", "grey", 0, plain=True)
    place = tmp_path / "grey" / "member.json"
    config = json.loads(place.read_text())
    config["preprocess"] |= {"channels": 1, "mean": [0.5], "std": [0.5]}
    place.write_text(json.dumps(config))
    named = {"data": str(folder(tmp_path / "mine", POLYP)), "labels": ["polyp"], "init": str(tmp_path / "grey")}
    assert values(named)["channels"] == 1


def test_unlabelled_images_that_are_among_the_data_make_no_steps(tmp_path: Path) -> None:
    data = folder(tmp_path / "mine", POLYP)
    named = {"data": str(data), "labels": ["polyp"]}
    known = sorted((data / "images").iterdir())
    assert choose(named, known) == choose(named)


def test_no_file_is_read_to_be_compared_with_none() -> None:
    assert not not_among([], [Path("missing.png")])


def test_one_tinted_film_among_grey_ones_makes_no_photographs(tmp_path: Path) -> None:
    data = folder(tmp_path / "films", (0.5, 0.5, 0.5))
    named = {"data": str(data), "labels": ["lung"], "init": "brain-unet-lite0"}
    for path in sorted((data / "images").iterdir())[::4]:
        PIL.Image.fromarray(np.full((200, 300, 3), (140, 120, 100), np.uint8)).save(path)
    assert values(named)["augmentation"] == "medium"


def reasons(chosen: dict[str, Any]) -> dict[str, str]:
    return {choice.name: choice.reason for choice in choose(chosen)}


def test_images_that_are_neither_grey_nor_coloured_are_called_neither(tmp_path: Path) -> None:
    data = folder(tmp_path / "mine", (0.5, 0.5, 0.5))
    named = {"data": str(data), "labels": ["cell"], "architecture": "plainunet"}
    assert reasons(named)["augmentation"] == "grey images vary a little in brightness and contrast"
    for path in sorted((data / "images").iterdir()):
        stack = np.random.default_rng(0).integers(0, 255, (5, 200, 300), dtype=np.uint8)
        tifffile.imwrite(path.with_suffix(".tif"), stack, photometric="minisblack", planarconfig="separate")
        path.unlink()
    assert reasons(named)["augmentation"].startswith("5 channels are neither grey nor colour: ")


@pytest.mark.parametrize("epochs", [1, 200])
def test_the_reason_of_the_running_mean_holds_for_any_length(tmp_path: Path, epochs: int) -> None:
    named = {"data": str(folder(tmp_path / "mine", POLYP)), "labels": ["polyp"], "epochs": epochs}
    assert "some 40 last steps, fewer of a short training," in reasons(named)["ema_decay"]


def test_what_the_user_names_is_not_chosen(tmp_path: Path) -> None:
    data = str(folder(tmp_path / "mine", POLYP))
    named = {"data": data, "labels": ["polyp"], "size": 64, "architecture": "fpn", "epochs": 2, "output": "here"}
    settings = values(named)
    assert not named.keys() & settings.keys()
    assert not {"init", "decoder"} & settings.keys()


@pytest.mark.parametrize("installed", [True, False])
def test_an_architecture_alone_gets_an_encoder_with_weights_where_they_are_installed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, installed: bool
) -> None:
    monkeypatch.setattr(defaults.importlib.util, "find_spec", lambda _: object() if installed else None)
    named = {"data": str(folder(tmp_path / "mine", POLYP)), "labels": ["polyp"]}
    of_ones_own = [
        {"architecture": "fpn"},
        {"architecture": "plainunet"},
        {"architecture": "fpn", "encoder": "tu-resnet18"},
        {"architecture": "fpn", "decoder": {"decoder_pyramid_channels": 64}},
        {"encoder": "tu-resnet18"},
    ]
    chosen = [{"encoder", "encoder_weights", "init"} & values({**named, **more}).keys() for more in of_ones_own]
    weights = {"encoder", "encoder_weights"} if installed else set()
    assert chosen == [weights, set(), set(), weights, set()]


def test_labels_are_asked_for_where_the_files_do_not_name_them(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"name what the masks of your data mark, as in --labels polyp"):
        choose({"data": str(folder(tmp_path / "mine", POLYP))})


def test_a_manifest_names_its_labels(tmp_path: Path) -> None:
    data = folder(tmp_path / "mine", POLYP)
    samples = [
        {"image": f"mine/images/case{i}.png", "mask": f"mine/masks/case{i}.png", "split": "train"} for i in range(20)
    ]
    manifest = tmp_path / "mine.json"
    manifest.write_text(json.dumps({"labels": ["polyp"], "samples": samples}), encoding="utf-8")
    assert data.exists()
    assert values({"data": str(manifest)})["labels"] == ["polyp"]


def test_every_choice_is_printed_with_its_reason_and_is_a_setting(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = str(folder(tmp_path / "mine", POLYP))
    recipe = recipe_for_data(["--data", data, "--labels", "polyp", "--lr", "3e-4"])
    assert (recipe.init, recipe.architecture, recipe.learning_rate) == ("polyp-unet-lite0", "unet", 3e-4)
    printed = capsys.readouterr().out.splitlines()
    assert printed[0].startswith("Chosen from the training images")
    assert "  --init polyp-unet-lite0: its training images look like these" in printed
    assert not [line for line in printed if line.startswith(("  --labels", "  --learning-rate"))]


def test_a_recipe_file_is_whole_and_phantoms_have_the_defaults_of_the_help(tmp_path: Path) -> None:
    path = tmp_path / "recipe.toml"
    path.write_text(f'data = "{tmp_path}/nowhere"\nlabels = ["polyp"]\n', encoding="utf-8")
    assert recipe_for_data(["--recipe", str(path)]) == Recipe(data=f"{tmp_path}/nowhere", labels=("polyp",))
    assert recipe_for_data(["--epochs", "2"]) == Recipe(epochs=2)
