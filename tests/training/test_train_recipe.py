"""A run's settings: each is a key and a flag; defaults < file < flags; what is wrong is refused in one sentence."""

from __future__ import annotations

import dataclasses
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest

from medseg.config import TrainingData
from medseg.errors import ConfigError
from medseg.training.recipe import (
    DistillRecipe,
    FilledStage,
    Recipe,
    Stage,
    recipe_from_arguments,
    recipe_from_settings,
)
from tests.conftest import ROOT

RECIPES = sorted((ROOT / "train" / "recipes").glob("*.toml"))

# field → (what is written after its flag, the value that comes of it)
FLAGS: dict[str, tuple[list[str], Any]] = {
    "data": (["folder"], "folder"),
    "fold": (["2"], 2),
    "output": (["elsewhere"], "elsewhere"),
    "name": (["mine"], "mine"),
    "task": (["multilabel"], "multilabel"),
    "labels": (["polyp"], ("polyp",)),
    "classes": (['{"blob": ["*"]}'], {"blob": ("*",)}),
    "architecture": (["fpn"], "fpn"),
    "encoder": (["resnet34"], "resnet34"),
    "encoder_weights": (["imagenet"], "imagenet"),
    "init": (["polyp-unet-lite0"], "polyp-unet-lite0"),
    "decoder": (['{"decoder_channels": [8, 4]}'], {"decoder_channels": [8, 4]}),
    "channels": (["1"], 1),
    "size": (["64"], 64),
    "resize": (["letterbox"], "letterbox"),
    "intensity": (["evened"], "evened"),
    "augmentation": (["medium"], "medium"),
    "loss": (["0.7*bce + 0.3*dice"], "0.7*bce + 0.3*dice"),
    "label_weights": (["2.5"], (2.5,)),
    "epochs": (["3"], 3),
    "batch_size": (["5"], 5),
    "learning_rate": (["3e-4"], 3e-4),
    "weight_decay": (["0"], 0.0),
    "warmup": (["0.5"], 0.5),
    "positive_rate": (["0.8"], 0.8),
    "stages": (['[{"loss": "dice", "epochs": 2}]'], (Stage(loss="dice", epochs=2),)),
    "patience": (["3"], 3),
    "ema_decay": (["0.99"], 0.99),
    "batch_statistics": (["kept"], "kept"),
    "clip_norm": (["1"], 1.0),
    "accumulate": (["2"], 2),
    "checkpoint_steps": (["50"], 50),
    "report_to": (["tensorboard"], "tensorboard"),
    "push_to_hub": ([], True),
    "hub_model_id": (["owner/name"], "owner/name"),
    "private": ([], True),
    "workers": (["2"], 2),
    "seed": (["7"], 7),
    "weights_licence": (["CC0-1.0"], "CC0-1.0"),
    "training_data": (['{"name": "mine", "licence": "CC0-1.0"}'], TrainingData("mine", "CC0-1.0")),
}


def write(folder: Path, text: str) -> str:
    path = folder / "recipe.toml"
    path.write_text(text, encoding="utf-8")
    return str(path)


def packed(text: str) -> str:
    """Without white space: --help breaks its lines at hyphens too."""
    return "".join(text.split())


def test_every_setting_is_tried_here() -> None:
    assert list(FLAGS) == [entry.name for entry in dataclasses.fields(Recipe)]


@pytest.mark.parametrize("name", FLAGS)
def test_every_setting_is_a_flag(name: str) -> None:
    written, expected = FLAGS[name]
    needed = {
        "push_to_hub": ["--hub-model-id", "a/b"],
        "data": ["--labels", "blob"],
        "architecture": ["--decoder", "{}"],
    }
    others = needed.get(name, [])
    recipe = recipe_from_arguments([*others, f"--{name.replace('_', '-')}", *written])
    if name == "init":  # other settings come with it
        assert recipe.init == expected
    else:
        assert recipe == dataclasses.replace(recipe_from_arguments(others), **{name: expected})


def test_classes_must_unite_under_the_labels() -> None:
    with pytest.raises(ConfigError, match="classes must unite under the labels"):
        recipe_from_arguments(["--labels", "finding", "--classes", '{"mass": ["Mass"]}'])


def test_lr_is_short_for_learning_rate() -> None:
    assert recipe_from_arguments(["--lr", "3e-4"]).learning_rate == 3e-4


def test_help_lists_every_flag_with_its_default_and_loads_no_torch(tmp_path: Path) -> None:
    script = f"import sys; sys.argv[:] = ['train.py', '--help']; sys.path[0] = {str(ROOT / 'train')!r}\n"
    script += "import atexit, runpy; atexit.register(lambda: print('torch' in sys.modules))\n"
    script += f"runpy.run_path({str(ROOT / 'train' / 'train.py')!r}, run_name='__main__')"
    shown = subprocess.run([sys.executable, "-c", script], cwd=tmp_path, capture_output=True, text=True, check=True)
    assert shown.stdout.endswith("False\n")
    for entry in dataclasses.fields(Recipe):
        assert f"--{entry.name.replace('_', '-')}" in shown.stdout
        assert packed(f"{entry.metadata['help']} (default: {entry.metadata['default']})") in packed(shown.stdout)
    assert "--lr" in shown.stdout


def test_the_default_shown_is_the_default() -> None:
    for entry in dataclasses.fields(Recipe):
        shown, value = entry.metadata["default"], getattr(Recipe(), entry.name)
        if not isinstance(value, str | TrainingData | bool):
            words = list(map(str, value)) if entry.name in ("labels", "label_weights") else [shown]
            assert recipe_from_arguments([f"--{entry.name.replace('_', '-')}", *words]) == Recipe()


def test_the_file_overrides_defaults_and_flags_override_the_file(tmp_path: Path) -> None:
    path = write(tmp_path, '\ufeffepochs = 5\nlearning_rate = 1\nlabels = ["polyp"]\n[decoder]\nwidth = 40\n')
    recipe = recipe_from_arguments(["--recipe", path, "--epochs", "9"])
    assert recipe.epochs == 9
    assert recipe.learning_rate == 1.0
    assert recipe.labels == ("polyp",)
    assert recipe.decoder == {"width": 40}
    assert recipe.batch_size == Recipe().batch_size


def test_a_stage_takes_from_the_recipe_what_it_leaves_out(tmp_path: Path) -> None:
    text = 'epochs = 5\nlearning_rate = 1e-3\n[[stages]]\nloss = "bce"\n[[stages]]\nlearning_rate = 1e-4\nepochs = 2\n'
    recipe = recipe_from_arguments(["--recipe", write(tmp_path, text)])
    first, second = recipe.filled_stages()
    assert first == FilledStage("bce", 1e-3, recipe.size, 5, 0.0)
    assert second == FilledStage(recipe.loss, 1e-4, recipe.size, 2, 0.0)
    (only,) = Recipe(epochs=7).filled_stages()
    assert only.epochs == 7


@pytest.mark.parametrize("path", RECIPES, ids=lambda path: path.stem)
def test_every_committed_recipe_parses_and_names_its_member_and_output_alike(path: Path) -> None:
    settings = tomllib.loads(path.read_text(encoding="utf-8"))
    kind = DistillRecipe if "ensemble" in settings else Recipe
    if "init" in settings:  # the member of another recipe's run, which is not here
        start = settings["init"].removeprefix("runs/").removesuffix("/member")
        assert path.with_stem(start).is_file()
        settings["init"] = start.removesuffix("-352")
    recipe = recipe_from_settings(settings, kind)
    assert path.stem in (recipe.name, f"{recipe.name}-taught")
    assert recipe.output == f"runs/{path.stem}"
    assert recipe.training_data.licence


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("epoch = 5", "unknown key 'epoch'"),
        ('epochs = "5"', "epochs must be int, not str"),
        ("epochs = 5.0", "epochs must be int, not float"),
        ("epochs = true", "epochs must be int, not bool"),
        ('labels = "polyp"', "labels must be a list"),
        ("labels = [1]", "labels"),
        ('labels = ["a", "b"]', "a binary task has one label"),
        ("learning_rate = nan", "learning_rate must be a finite number"),
        ('resize = "crop"', "resize must be one of stretch, letterbox"),
        ("size = 100", "multiples of 32"),
        ("channels = 65", "channels must be 1 to 64"),
        ("epochs = 0", "epochs must be 1 or more"),
        ("batch_size = 1", "batch_size must be 2 or more"),
        ("learning_rate = 0", "learning_rate must be above 0"),
        ("warmup = 1", "warmup must lie in [0, 1)"),
        ("accumulate = 0", "accumulate must be 1 or more"),
        ("positive_rate = 1.5", "positive_rate must lie in 0 to 1"),
        ("[[stages]]\nepochs = 0", "epochs must be 1 or more"),
        ("[[stages]]\nsize = 100", "multiples of 32"),
        ("[[stages]]\nrate = 1", "unknown key 'rate' in stages[0]"),
        ("stages = 2", "stages must be a list"),
        ("label_weights = [1.0, 2.0]", "label_weights needs one number above 0 for each label"),
        ("label_weights = [0.0]", "label_weights needs one number above 0 for each label"),
        ("workers = -1", "workers must be 0 or more"),
        ("[training_data]\nname = 'x'\nlicense = 'y'", "unknown key 'license' in training_data"),
        ("epochs = ", "is not valid TOML"),
    ],
)
def test_a_wrong_recipe_is_refused_in_one_sentence(tmp_path: Path, text: str, words: str) -> None:
    with pytest.raises(ConfigError) as refusal:
        recipe_from_arguments(["--recipe", write(tmp_path, text)])
    assert words in str(refusal.value)
    assert "\n" not in str(refusal.value)
    assert str(refusal.value).endswith(".")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--epoch", "5"], "unrecognized arguments: --epoch 5"),
        (["--rates", "5"], "unrecognized arguments: --rates 5"),
        (["--epochs", "many"], "--epochs: invalid int value: 'many'"),
        (["--lr", "fast"], "--lr: invalid float value: 'fast'"),
        (["--resize", "crop"], "--resize: invalid choice: 'crop'"),
        (["--decoder", "{'a': 1}"], "is not valid JSON"),
        (["--decoder", "[1]"], "decoder must be an object"),
        (["--recipe", "nowhere.toml"], "nowhere.toml cannot be read"),
    ],
)
def test_a_wrong_flag_is_refused_in_one_sentence(arguments: list[str], words: str) -> None:
    with pytest.raises(ConfigError) as refusal:
        recipe_from_arguments(arguments)
    assert words in str(refusal.value)
    assert "\n" not in str(refusal.value)


def test_the_repository_comes_first_whatever_the_path_holds(tmp_path: Path) -> None:
    for name in ("train.py", "medseg.py", "assets.py", "recipe.py"):
        (tmp_path / name).write_text("raise SystemExit('the wrong module was imported')", encoding="utf-8")
    for how in ([], ["-P"]):
        shown = subprocess.run(
            [sys.executable, *how, str(ROOT / "train" / "train.py"), "--epochs", "0"],
            cwd=tmp_path,
            env={"PYTHONPATH": str(tmp_path)},
            capture_output=True,
            text=True,
            check=False,
        )
        assert (shown.returncode, shown.stdout) == (1, "")
        assert shown.stderr.splitlines() == ["error: recipe: epochs must be 1 or more."]  # said once: no launcher's


def test_other_data_than_the_recipes_get_a_note_that_the_card_names_the_recipes(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "a.toml"
    path.write_text(
        'data = "kvasir"\nlabels = ["polyp"]\n[training_data]\nname = "Kvasir-SEG"\nlicence = "CC-BY-4.0"\n'
    )
    recipe_from_arguments(["--recipe", str(path)])
    recipe_from_arguments(["--recipe", str(path), "--data", "kvasir"])
    assert not capsys.readouterr().err
    recipe_from_arguments(["--recipe", str(path), "--data", "mine"])
    assert "trained on Kvasir-SEG: name --training-data where mine holds other images" in capsys.readouterr().err
