"""The loop from data to member: it learns, stops anywhere, and continues to the same weights to the last bit."""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import PIL.Image
import pytest
import torch
from accelerate import Accelerator

from medseg import config
from medseg.config import MemberConfig
from medseg.errors import ConfigError, DamagedError, InputError
from medseg.member import load_member, save_member
from medseg.readers import read_image, read_masks
from tests.conftest import ROOT
from train import checkpoints, loop
from train.data import Pairs, make_loaders
from train.loop import train
from train.recipe import Recipe

# FPN has dropout: a run continues exactly only if torch's generator is put back too
TINY: dict[str, Any] = {
    "encoder": "tu-test_efficientnet",
    "architecture": "fpn",
    "decoder": {"decoder_pyramid_channels": 32, "decoder_segmentation_channels": 32},
    "labels": ("disc",),
    "size": 64,  # half of that would leave FPN's group norm a single value
    "batch_size": 4,
    "epochs": 3,
    "learning_rate": 1e-2,
    "augmentation": "medium",
}


class Killed(BaseException):
    """Stands for kill -9: no handler of the code under test may run on it."""


@pytest.fixture(autouse=True, scope="module")
def on_the_cpu() -> Iterator[None]:
    """The promise of equal bits is for the CPU, also where there is a GPU; networks this small gain from one thread."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ACCELERATE_USE_CPU", "true")
        patch.setattr(torch.cuda, "is_available", lambda: False)
        yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="module")
def discs(disc_pairs: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A manifest of the discs: 15 to train on, 7 to validate on."""
    names = sorted(path.name for path in (disc_pairs / "images").iterdir())[:22]
    samples = [
        {
            "image": str(disc_pairs / "images" / name),
            "mask": str(disc_pairs / "masks" / name),
            "split": "train" if number < 15 else "val",
        }
        for number, name in enumerate(names)
    ]
    path = tmp_path_factory.mktemp("manifest") / "discs.json"
    path.write_text(json.dumps({"labels": ["disc"], "samples": samples}), encoding="utf-8")
    return path


@pytest.fixture
def tiny(discs: Path, tmp_path: Path) -> Recipe:
    return Recipe(data=str(discs), output=str(tmp_path / "run"), **TINY)


@pytest.fixture(scope="module")
def uninterrupted(discs: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The output folder of a run of the tiny recipe from beginning to end."""
    return train(Recipe(data=str(discs), output=str(tmp_path_factory.mktemp("run")), **TINY)).parent


def last_state(output: Path) -> dict[str, Any]:
    state = checkpoints.load_newest(output / "checkpoints")
    assert state is not None
    return state


def assert_same_end(output: Path, other: Path) -> None:
    """Last weights, optimiser and schedule equal to the bit, and the saved member equal to the byte."""
    ours, theirs = last_state(output), last_state(other)
    assert ours["epoch"] == theirs["epoch"]
    assert ours["best"] == theirs["best"]
    assert ours["schedule"] == theirs["schedule"]
    for name, value in theirs["network"].items():
        assert torch.equal(ours["network"][name], value), name
    for number, moments in theirs["optimizer"]["state"].items():
        for name, value in moments.items():
            assert torch.equal(ours["optimizer"]["state"][number][name], value), (number, name)
    for name in ("model.safetensors", "config.json", "member.json"):
        assert (output / "member" / name).read_bytes() == (other / "member" / name).read_bytes(), name


def log_of(output: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (output / "log.jsonl").read_text(encoding="utf-8").splitlines()]


def test_training_raises_dice_and_leaves_a_member_that_opens(tiny: Recipe, disc_pairs: Path) -> None:
    folder = train(replace(tiny, epochs=8, augmentation="light"))
    log = log_of(folder.parent)
    assert [line["epoch"] for line in log] == list(range(1, 9))
    assert log[-1]["loss"] < log[0]["loss"] / 2
    assert log[-1]["best"] == max(line["val_dice"] for line in log)
    assert log[-1]["best"] > log[0]["val_dice"] + 0.1
    member = load_member(folder, device=torch.device("cpu"))
    (score,) = member.config.scores
    assert (score.metric, score.split, score.n) == ("dice", "val", 7)
    assert score.value == log[-1]["best"]
    assert score.low is not None
    assert score.low <= score.value
    assert member.config.training_data.appearance is not None
    image = read_image(disc_pairs / "images" / "case23.png")
    (truth,) = read_masks(disc_pairs / "masks" / "case23.png", ["disc"])
    found = member.probabilities(image)[0] > 0.5
    assert 2 * (found & truth).sum() / (found.sum() + truth.sum()) > 0.6


def stop_in_save_member(_network: Any, _member: Any, folder: Path) -> None:
    folder.mkdir()
    (folder / "model.safetensors").write_bytes(b"half of it")
    raise Killed


def stop(*_: Any, **__: Any) -> None:
    raise Killed


@pytest.mark.parametrize(
    ("place", "epoch"),
    [("_validate", 1), ("_train_epoch", 2), ("save_member", 2), ("checkpoints.save", 2), ("_log", 2), ("_log", 3)],
)
def test_a_stopped_run_continues_to_the_same_bits(
    tiny: Recipe, uninterrupted: Path, monkeypatch: pytest.MonkeyPatch, place: str, epoch: int
) -> None:
    owner, name = (checkpoints, "save") if place == "checkpoints.save" else (loop, place)
    kept, calls = getattr(owner, name), 0

    def counted(*arguments: Any, **named: Any) -> Any:
        nonlocal calls
        calls += 1
        if calls < epoch:
            return kept(*arguments, **named)
        return stop_in_save_member(*arguments) if name == "save_member" else stop()

    with monkeypatch.context() as patch:
        patch.setattr(owner, name, counted)
        with pytest.raises(Killed):
            train(tiny)
    torch.manual_seed(epoch)  # another process would begin with another generator
    train(tiny)
    assert_same_end(Path(tiny.output), uninterrupted)
    assert not list(Path(tiny.output).glob(".*"))


def test_two_workers_and_a_stop_between_them_change_no_bit(
    tiny: Recipe, uninterrupted: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(loop, "_log", stop)
        with pytest.raises(Killed):
            train(replace(tiny, workers=2))
    train(replace(tiny, workers=2))
    assert_same_end(Path(tiny.output), uninterrupted)


def test_the_newest_checkpoint_damaged_costs_one_epoch(tiny: Recipe, uninterrupted: Path) -> None:
    output = Path(tiny.output)
    shutil.copytree(uninterrupted, output)
    newest = sorted((output / "checkpoints").iterdir())[-1]
    newest.write_bytes(newest.read_bytes()[:-1000])
    (output / "checkpoints" / ".writing").write_bytes(b"half of another")
    train(tiny)
    assert_same_end(output, uninterrupted)
    assert [line["epoch"] for line in log_of(output)] == [1, 2, 3, 3]
    assert len(list((output / "checkpoints").iterdir())) == 2


def test_a_finished_run_is_not_run_again(tiny: Recipe, uninterrupted: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shutil.copytree(uninterrupted, tiny.output)
    monkeypatch.setattr(loop, "_train_epoch", stop)
    assert train(replace(tiny, workers=0)) == Path(tiny.output) / "member"
    assert_same_end(Path(tiny.output), uninterrupted)


@pytest.mark.parametrize("change", [{"learning_rate": 2e-2}, {"seed": 1}, {"epochs": 4}, {"labels": ("ring",)}])
def test_a_run_of_another_recipe_in_the_same_folder_is_refused(
    tiny: Recipe, uninterrupted: Path, change: dict[str, Any]
) -> None:
    with pytest.raises(InputError, match="holds a run of another recipe or split: name another --output"):
        train(replace(tiny, output=str(uninterrupted), **change))


def test_a_run_of_another_split_in_the_same_folder_is_refused(
    tiny: Recipe, uninterrupted: Path, disc_pairs: Path
) -> None:
    with pytest.raises(InputError, match="holds a run of another recipe or split"):
        train(replace(tiny, output=str(uninterrupted), data=str(disc_pairs)))


def test_a_member_saved_by_halves_is_never_opened(
    uninterrupted: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without the loop's care too: member.json with the hashes is written last."""
    folder = tmp_path / "member"
    shutil.copytree(uninterrupted / "member", folder)
    member = load_member(folder, device=torch.device("cpu"))
    with torch.no_grad():
        next(iter(member.network.parameters())).add_(1)
    monkeypatch.setattr(config, "dump", stop)
    with pytest.raises(Killed):
        save_member(member.network, member.config, folder)
    with pytest.raises(DamagedError, match=r"model\.safetensors is not what member\.json promises"):
        load_member(folder)


def test_saving_the_best_does_not_shift_what_the_training_draws_next(uninterrupted: Path, tmp_path: Path) -> None:
    member = load_member(uninterrupted / "member", device=torch.device("cpu"))
    before = torch.get_rng_state()
    loop._save_best(member.network, member.config, tmp_path / "member")
    assert torch.equal(torch.get_rng_state(), before)


def write_label_maps(folder: Path, values: tuple[int, ...]) -> Path:
    """Eight grey pairs with the given values side by side in the mask, two of them to validate on."""
    rng = np.random.default_rng(0)
    for number in range(8):
        mask = np.repeat(np.array(values, np.uint8), 32 // len(values))[np.newaxis].repeat(32, axis=0)
        picture = mask * 60 + rng.integers(0, 20, mask.shape).astype(np.uint8)
        for name, pixels in (("images", picture), ("masks", mask)):
            (folder / name).mkdir(parents=True, exist_ok=True)
            PIL.Image.fromarray(pixels).save(folder / name / f"{number}.png")
    splits = {"train": [str(n) for n in range(6)], "val": ["6", "7"]}
    (folder / "splits.json").write_text(json.dumps(splits), encoding="utf-8")
    return folder


@pytest.mark.parametrize(
    ("task", "labels"), [("multiclass", ("a", "b")), ("multilabel", ("a", "b")), ("binary", ("a",))]
)
def test_every_task_and_a_grey_letterboxed_input_make_a_member(
    tiny: Recipe, tmp_path: Path, task: Any, labels: tuple[str, ...]
) -> None:
    data = write_label_maps(tmp_path / "maps", (0, 1, 2, 0)[: 2 * len(labels)])
    recipe = replace(
        tiny, data=str(data), task=task, labels=labels, channels=1, resize="letterbox", epochs=1, architecture="unet",
        decoder={"decoder_channels": [16, 16, 8, 8, 8]},
    )  # fmt: skip
    member = load_member(train(recipe), device=torch.device("cpu"))
    assert member.probabilities(read_image(data / "images" / "0.png")).shape == (len(labels), 32, 32)


def test_one_validation_picture_is_enough_for_a_member_that_opens(tiny: Recipe, tmp_path: Path) -> None:
    data = write_label_maps(tmp_path / "maps", (0, 1))
    (data / "splits.json").write_text('{"train": ["0", "1", "2", "3"], "val": ["4"], "test": ["5", "6", "7"]}')
    (score,) = load_member(train(replace(tiny, data=str(data), epochs=1))).config.scores
    assert (score.n, score.low, score.high) == (1, None, None)


def test_a_training_split_of_one_picture_is_refused(tiny: Recipe, tmp_path: Path) -> None:
    data = write_label_maps(tmp_path / "maps", (0, 1))
    (data / "splits.json").write_text('{"train": ["0"], "val": ["4"], "test": ["1", "2", "3", "5", "6", "7"]}')
    with pytest.raises(InputError, match="The split 'train' holds 1 sample"):
        train(replace(tiny, data=str(data)))


def test_a_network_that_cannot_be_built_is_refused_before_a_picture_is_read(
    tiny: Recipe, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(loop, "Pairs", stop)
    with pytest.raises(ConfigError, match="resnet17"):
        train(replace(tiny, encoder="resnet17"))


def test_the_schedule_rises_and_then_falls_to_nothing() -> None:
    factor = loop._warmup_cosine(100, 0.1)
    assert [factor(step) for step in (0, 4, 9, 10)] == pytest.approx([0.1, 0.5, 1, 1])
    assert [factor(step) for step in (55, 100)] == pytest.approx([0.5, 0])
    assert all(factor(step) >= factor(step + 1) for step in range(10, 100))


def test_dice_by_hand() -> None:
    found = torch.zeros(1, 3, 2, 2, dtype=torch.bool)
    truth = found.clone()
    found[0, 0, 0], truth[0, 0, :, 0] = True, True  # one of two pixels shared
    found[0, 1, 0, 0] = True  # nothing to find, one pixel found
    assert loop._dice(found, truth).tolist() == [[0.5, 0.0, 1.0]]


def environment(**more: str) -> dict[str, str]:
    """This one's without PYTHONPATH, on the CPU."""
    kept = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    return {**kept, "CUDA_VISIBLE_DEVICES": "", "ACCELERATE_USE_CPU": "true", "OMP_NUM_THREADS": "1", **more}


def free_port() -> str:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return str(sock.getsockname()[1])


def flags(recipe: Recipe) -> list[str]:
    return [
        "--data", recipe.data, "--output", recipe.output, "--labels", *recipe.labels, "--size", str(recipe.size),
        "--architecture", recipe.architecture, "--encoder", recipe.encoder, "--decoder", json.dumps(recipe.decoder),
        "--epochs", str(recipe.epochs), "--batch-size", str(recipe.batch_size), "--lr", str(recipe.learning_rate),
    ]  # fmt: skip


def score_in_one_process(recipe: Recipe, network: dict[str, torch.Tensor]) -> Any:
    """What one process says of the weights `network` on the recipe's validation split."""
    accelerator = Accelerator(cpu=True)
    preprocess = loop._preprocess(recipe)
    member = loop._describe(recipe, preprocess)
    model = loop.make_network(recipe, member)
    model.load_state_dict(network)
    val = Pairs(loop.select(loop.read_recipe_samples(recipe), "val"), recipe.labels, preprocess)
    loader = accelerator.prepare(make_loaders(recipe, val, val)[1])
    return loop._validate(accelerator, model.to(memory_format=torch.channels_last), loader, val.cases, recipe)


def test_two_processes_train_together_and_count_every_sample_once(tiny: Recipe) -> None:
    """7 pictures in batches of 4 on two processes: each gets four, one of them a second time, which must not count."""
    recipe = replace(tiny, epochs=1)
    shared = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": free_port(), "WORLD_SIZE": "2"}
    processes = [
        subprocess.Popen(
            [sys.executable, str(ROOT / "train" / "train.py"), *flags(recipe)],
            env=environment(**shared, RANK=rank, LOCAL_RANK=rank),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        for rank in ("0", "1")
    ]
    shown = [process.communicate(timeout=300)[0] for process in processes]
    assert [process.returncode for process in processes] == [0, 0], "\n".join(shown)
    assert "".join(shown).count("Saved the member") == 1
    output = Path(recipe.output)
    (together,) = config.load(MemberConfig, output / "member" / "member.json").scores
    alone = score_in_one_process(recipe, last_state(output)["network"])
    assert together.n == alone.n == 7
    assert (together.value, together.low, together.high) == pytest.approx(
        (alone.value, alone.low, alone.high), abs=1e-6
    )


def bare_clone(folder: Path) -> Path:
    """What training needs of a checkout: nothing installed, nothing built."""
    ignored = shutil.ignore_patterns("__pycache__")
    for name in ("medseg", "train"):
        shutil.copytree(ROOT / name, folder / name, ignore=ignored)
    (folder / "assets").mkdir()
    shutil.copy(ROOT / "assets" / "phantoms.py", folder / "assets")
    return folder


def test_accelerate_launches_the_default_data_from_a_bare_clone_and_any_folder(tmp_path: Path) -> None:
    clone = bare_clone(tmp_path / "clone")
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    tiny = replace(Recipe(**TINY), epochs=1, output="out", data="phantoms", labels=Recipe().labels)
    shown = subprocess.run(
        [sys.executable, "-m", "accelerate.commands.launch", "--num_processes", "1", str(clone / "train" / "train.py"),
         *flags(tiny)],
        cwd=elsewhere,
        env=environment(PYTHONDONTWRITEBYTECODE="", PYTHONPYCACHEPREFIX=""),
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )  # fmt: skip
    assert shown.returncode == 0, shown.stderr
    assert "Saved the member out/member" in shown.stdout
    assert (clone / "medseg" / "__pycache__").is_dir(), "another medseg than the clone's was imported"
    member = load_member(elsewhere / "out" / "member", device=torch.device("cpu"))
    assert member.config.labels == Recipe().labels


def test_a_refusal_is_one_sentence_on_the_terminal(tmp_path: Path) -> None:
    shown = subprocess.run(
        [sys.executable, str(ROOT / "train" / "train.py"), "--data", str(tmp_path), "--output", str(tmp_path / "run")],
        env=environment(),
        capture_output=True,
        text=True,
        check=False,
    )
    assert shown.returncode == 1
    assert shown.stderr.splitlines()[-1].startswith("error: ")
    assert "Traceback" not in shown.stderr
