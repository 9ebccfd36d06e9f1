"""The loop from data to member: it learns, stops anywhere, and continues to the same weights to the last bit."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import PIL.Image
import pytest
import torch

from medseg import schema
from medseg.__main__ import main
from medseg.data.samples import load_data, split_hash, write_manifest
from medseg.errors import ConfigError, DamagedError, InputError
from medseg.inference.member import load_member, load_network, save_member
from medseg.reading.readers import read_image, read_masks
from medseg.scores import Score
from medseg.training import checkpoints, loop
from medseg.training.continued import held
from medseg.training.loop import train
from medseg.training.recipe import Recipe, Stage
from medseg.training.validate import dice, location_baseline, panel
from tests.training.conftest import Killed

# with dropout a run continues exactly only if torch's generator is put back too
TINY: dict[str, Any] = {
    "encoder": "none",
    "architecture": "plainunet",
    "decoder": {"depth": 2, "width": 8, "dropout": 0.1},
    "labels": ("disc",),
    "size": 64,
    "batch_size": 4,
    "epochs": 3,
    "learning_rate": 1e-2,
    "augmentation": "medium",
}


pytestmark = [
    pytest.mark.usefixtures("on_the_cpu"),
    pytest.mark.filterwarnings("ignore::medseg.errors.MedsegWarning"),  # of the folder's discs a few are no part of it
]


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
    assert ours["position"] == theirs["position"]
    assert ours["schedule"] == theirs["schedule"]
    for name, value in theirs["network"].items():
        assert torch.equal(ours["network"][name], value), name
    for name, value in theirs["averaged"].items():
        assert torch.equal(ours["averaged"][name], value), name
    for number, moments in theirs["optimizer"]["state"].items():
        for name, value in moments.items():
            assert torch.equal(ours["optimizer"]["state"][number][name], value), (number, name)
    for name in ("model.safetensors", "config.json", "member.json"):
        assert (output / "member" / name).read_bytes() == (other / "member" / name).read_bytes(), name


def log_of(output: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (output / "log.jsonl").read_text(encoding="utf-8").splitlines()]


def test_training_raises_dice_and_leaves_a_member_that_opens(
    tiny: Recipe, disc_pairs: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = train(replace(tiny, epochs=8, augmentation="light"))
    log = log_of(folder.parent)
    assert [line["epoch"] for line in log] == list(range(1, 9))
    assert log[-1]["loss"] < 0.7 * log[0]["loss"]
    assert log[-1]["best"] == max(line["val_dice"] for line in log)
    assert log[-1]["best"] > log[0]["val_dice"] + 0.1
    member = load_member(folder, device="cpu")
    score, baseline = member.config.scores
    assert baseline.protocol.startswith("location prior")
    assert (baseline.metric, baseline.split, baseline.n) == ("dice", "val", 7)
    assert baseline.value < score.value
    assert (
        capsys.readouterr()
        .out.splitlines()[-1]
        .endswith(f"member: val Dice {score.value:.4f}, of the location prior {baseline.value:.4f}")
    )
    assert (score.metric, score.split, score.n) == ("dice", "val", 7)
    assert score.value == log[-1]["best"]
    assert (score.low, score.high) == (None, None)  # of fewer than ten cases there is no interval
    assert member.config.training_data.appearance is not None
    assert member.config.training_data.split_sha256 == split_hash(load_data(Path(tiny.data)).samples)
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
    [("validate", 1), ("_train_epoch", 2), ("save_member", 2), ("checkpoints.save", 2), ("_report", 2), ("_report", 3)],
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


STAGED: dict[str, Any] = {
    "decoder": {"depth": 2, "width": 4, "dropout": 0.2},
    "size": 32,
    "epochs": 2,
    "stages": (
        Stage(loss="bce", learning_rate=1e-2),
        Stage(loss="dice", learning_rate=1e-3, epochs=1, size=64, positive_rate=1.0),
    ),
    "accumulate": 2,
    "clip_norm": 1.0,
    "ema_decay": 0.5,
    "checkpoint_steps": 1,
}
"""15 images in batches of 4, two batches a step: six steps, each with a checkpoint after it."""


@pytest.fixture(scope="module")
def staged(discs: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return train(Recipe(data=str(discs), output=str(tmp_path_factory.mktemp("staged")), **{**TINY, **STAGED})).parent


@pytest.mark.parametrize(("place", "workers"), [("_step", 0), ("checkpoints.save", 2)])
def test_a_run_stopped_at_every_step_of_every_stage_continues_to_the_same_bits(
    tiny: Recipe, staged: Path, monkeypatch: pytest.MonkeyPatch, place: str, workers: int
) -> None:
    """Before a step is made, or inside its save: one more step is done each time, until the run is through."""
    owner, name = (checkpoints, "save") if place == "checkpoints.save" else (loop, place)
    recipe, kept, stops = replace(tiny, **STAGED, workers=workers), getattr(owner, name), 0
    while True:
        calls = 0

        def second_stops(*arguments: Any, **named: Any) -> Any:
            nonlocal calls
            calls += 1
            return stop() if calls == 2 else kept(*arguments, **named)

        torch.manual_seed(stops)  # another process would begin with another generator
        with monkeypatch.context() as patch:
            patch.setattr(owner, name, second_stops)
            try:
                train(recipe)
                break
            except Killed:
                stops += 1
    assert stops == 5
    assert_same_end(Path(recipe.output), staged)


def test_the_mean_of_the_weights_is_what_is_scored_and_kept(tiny: Recipe, monkeypatch: pytest.MonkeyPatch) -> None:
    """The mean is reckoned here from the weights after each step; the first step's weights begin it."""
    steps: list[dict[str, torch.Tensor]] = []
    seen: list[torch.nn.Module] = []
    real_step, real_validate = loop._step, loop.validate

    def step(run: Any, *arguments: Any) -> None:
        real_step(run, *arguments)
        steps.append({name: value.clone() for name, value in run.network.state_dict().items()})

    def validate(accelerator: Any, network: torch.nn.Module, *arguments: Any) -> Any:
        seen.append(network)
        return real_validate(accelerator, network, *arguments)

    monkeypatch.setattr(loop, "_step", step)
    monkeypatch.setattr(loop, "validate", validate)
    folder = train(replace(tiny, epochs=1, ema_decay=0.25))
    mean = steps[0]
    for count, after in enumerate(steps[1:], start=1):
        decay = (1 + count) / (10 + count) if count < 2 else 0.25  # 2/11, then 3/12 = 0.25 and no more
        mean = {name: decay * value + (1 - decay) * after[name] for name, value in mean.items()}
    assert len(steps) > 2
    (network,) = seen
    kept = load_network(folder).state_dict()
    for name, value in network.state_dict().items():
        if value.is_floating_point():
            assert torch.allclose(value, mean[name], atol=1e-6), name
            assert torch.equal(kept[name], value.half().float()), name
    assert any(not torch.allclose(value, steps[-1][name], atol=1e-4) for name, value in mean.items())


@pytest.mark.parametrize("decay", [-0.1, 1.0])
def test_a_mean_that_never_or_wrongly_forgets_is_refused(tiny: Recipe, decay: float) -> None:
    with pytest.raises(ConfigError, match="ema_decay"):
        replace(tiny, ema_decay=decay)


def test_two_workers_and_a_stop_between_them_change_no_bit(
    tiny: Recipe, uninterrupted: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The stop is after two epochs: the second one's batches come from workers that the first has started."""
    report = loop._report

    def stop_after_two(run: Any, *arguments: Any, **named: Any) -> None:
        stop() if run.position.epoch == 2 else report(run, *arguments, **named)

    with monkeypatch.context() as patch:
        patch.setattr(loop, "_report", stop_after_two)
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


def test_each_stage_has_its_own_settings_and_the_member_has_the_recipes_size(
    tiny: Recipe, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = []
    kept = loop._step

    def watched(run: Any, course: Any, buffers: Any) -> None:
        rate = course.optimizer.param_groups[0]["lr"]
        seen.append((course.loader.dataset.preprocess.height, rate, course.optimizer.optimizer.state_dict()["state"]))
        kept(run, course, buffers)

    monkeypatch.setattr(loop, "_step", watched)
    folder = train(replace(tiny, **{**STAGED, "warmup": 0.0}))
    assert [size for size, _, _ in seen] == [32] * 4 + [64] * 2
    assert [rate for _, rate, _ in seen] == pytest.approx([1e-2, 1e-2, 0.75e-2, 0.25e-2, 1e-3, 1e-3])
    assert not seen[4][2]  # the second stage begins with an optimiser of its own
    assert [line["stage"] for line in log_of(folder.parent)] == [1, 1, 2]
    assert load_member(folder).config.preprocess.height == 32


def test_a_stage_ends_when_patience_is_over(tiny: Recipe, monkeypatch: pytest.MonkeyPatch) -> None:
    scores = iter([0.5, 0.6, 0.6, 0.55, 0.1, 0.2, 0.15, 0.1])
    monkeypatch.setattr(loop, "validate", lambda *_: Score("dice", next(scores), None, None, 7, "val", "by hand"))
    folder = train(replace(tiny, **{**STAGED, "epochs": 9, "stages": (Stage(), Stage(loss="dice")), "patience": 2}))
    assert [line["stage"] for line in log_of(folder.parent)] == [1, 1, 1, 1, 2, 2, 2, 2]
    assert load_member(folder).config.scores[0].value == 0.6


def spoil(monkeypatch: pytest.MonkeyPatch, spoilt: range) -> None:
    """Make the input of the batches in `spoilt` NaN, and with it loss, gradient and batch statistics."""
    kept, count = loop._batches, 0

    def batches(run: Any, course: Any) -> Iterator[Any]:
        nonlocal count
        for images, masks in kept(run, course):
            yield images * (float("nan") if count in spoilt else 1), masks
            count += 1

    monkeypatch.setattr(loop, "_batches", batches)


def test_a_step_of_nan_is_skipped_and_counted(tiny: Recipe, monkeypatch: pytest.MonkeyPatch) -> None:
    spoil(monkeypatch, range(1, 3))
    folder = train(replace(tiny, epochs=2))
    assert [line["skipped_steps"] for line in log_of(folder.parent)] == [2, 2]
    assert all(np.isfinite(line["loss"]) for line in log_of(folder.parent))
    state = last_state(folder.parent)["network"]
    assert all(torch.isfinite(value).all() for value in state.values())


def test_steps_that_are_not_waited_for_are_skipped_and_counted_alike(
    tiny: Recipe, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As on a GPU: a fused optimiser skips by itself, and the loop learns of it a step later."""
    made = {}
    for name, fused in (("waited", False), ("unwaited", True)):
        with monkeypatch.context() as patch:
            spoil(patch, range(1, 3))
            patch.setattr(torch.optim, "AdamW", partial(torch.optim.AdamW, fused=fused))
            recipe = replace(tiny, epochs=2, checkpoint_steps=2, output=str(tmp := Path(tiny.output) / name))
            train(recipe)
        made[name] = last_state(tmp)
        assert [line["skipped_steps"] for line in log_of(tmp)] == [2, 2]
    assert made["waited"]["schedule"]["last_epoch"] == made["unwaited"]["schedule"]["last_epoch"]
    for key, value in made["waited"]["network"].items():
        # of the step that is begun before a skipped one is known of, the batch statistics are missing
        if not key.endswith(("running_mean", "running_var", "num_batches_tracked")):
            assert torch.allclose(made["unwaited"]["network"][key], value, atol=1e-4), key
        assert torch.isfinite(made["unwaited"]["network"][key]).all(), key


def test_an_epoch_of_nothing_but_nan_is_refused(tiny: Recipe, monkeypatch: pytest.MonkeyPatch) -> None:
    spoil(monkeypatch, range(100))
    with pytest.raises(InputError, match="No step of epoch 1 had a finite loss: try a lower learning_rate"):
        train(tiny)


def test_two_batches_of_half_the_size_make_the_step_of_one(tiny: Recipe, tmp_path: Path) -> None:
    plain = {**STAGED, "decoder": {"depth": 2, "width": 4, "norm": "none"}, "stages": (), "epochs": 1, "loss": "bce"}
    ends = []
    for batch, accumulate in ((8, 1), (4, 2)):
        output = tmp_path / str(batch)
        settings = {**plain, "batch_size": batch, "accumulate": accumulate, "clip_norm": 0.0, "checkpoint_steps": 0}
        data = write_label_maps(tmp_path / "maps", (0, 1), count=10)
        train(replace(tiny, **settings, data=str(data), labels=("a",), output=str(output)))
        ends.append(last_state(output)["network"])
    for name, value in ends[0].items():
        torch.testing.assert_close(ends[1][name], value, rtol=1e-3, atol=1e-4)


def test_every_epoch_leaves_an_image_and_the_tracker_its_figures(tiny: Recipe) -> None:
    output = train(replace(tiny, epochs=2, report_to="tensorboard")).parent
    assert sorted(path.name for path in (output / "predictions").iterdir()) == ["epoch-0001.png", "epoch-0002.png"]
    with PIL.Image.open(output / "predictions" / "epoch-0002.png") as sheet:
        assert sheet.size == (7 * 64, 2 * 64)
    (events,) = (output / "tracker").glob("events.out.tfevents.*")
    assert b"val_dice" in events.read_bytes()


def test_a_tracker_that_is_not_there_is_refused(tiny: Recipe) -> None:
    with pytest.raises(ConfigError, match="the tracker 'nothing' is not installed here"):
        train(replace(tiny, report_to="nothing"))


def test_a_finished_run_is_not_run_again(tiny: Recipe, uninterrupted: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shutil.copytree(uninterrupted, tiny.output)
    monkeypatch.setattr(loop, "_train_epoch", stop)
    assert train(replace(tiny, workers=0)) == Path(tiny.output) / "member"
    assert_same_end(Path(tiny.output), uninterrupted)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"learning_rate": 2e-2, "seed": 1}, "learning_rate 0.01, not 0.02, seed 0, not 1:"),
        ({"labels": ("ring",)}, r'labels \["disc"\], not \["ring"\]:'),
    ],
)
def test_a_run_of_another_recipe_in_the_same_folder_is_refused_with_what_differs(
    tiny: Recipe, uninterrupted: Path, change: dict[str, Any], words: str
) -> None:
    with pytest.raises(InputError, match=f"holds a run with {words} name another --output"):
        train(replace(tiny, output=str(uninterrupted), **change))


def test_two_runs_at_once_into_one_folder_are_refused(tiny: Recipe) -> None:
    with held(Path(tiny.output)), pytest.raises(InputError, match="Another process works in"):
        train(tiny)


def test_an_output_that_cannot_be_made_is_refused_in_a_sentence(discs: Path, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(SystemExit, match=r"^error: .*/file/run: Not a directory\.$"):
        main(["train", "--data", str(discs), "--labels", "disc", "--output", str(tmp_path / "file" / "run")])


def test_a_run_of_an_older_version_continues(tiny: Recipe, uninterrupted: Path) -> None:
    key = last_state(uninterrupted)["key"]
    saved = {**last_state(uninterrupted), "key": hashlib.sha256(key.encode()).hexdigest()}
    checkpoints.save(Path(tiny.output) / "checkpoints", 3, saved)
    shutil.copytree(uninterrupted / "member", Path(tiny.output) / "member")
    train(tiny)
    with pytest.raises(InputError, match="another recipe or split, or another number of processes: name"):
        train(replace(tiny, seed=1))


@pytest.fixture(scope="module")
def extended(discs: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The output folder of a run of one epoch that was then given two more."""
    recipe = Recipe(data=str(discs), output=str(tmp_path_factory.mktemp("extended")), **{**TINY, "epochs": 1})
    train(recipe)
    return train(replace(recipe, epochs=3)).parent


def test_a_finished_run_whose_weights_were_overwritten_says_so(tiny: Recipe, uninterrupted: Path) -> None:
    shutil.copytree(uninterrupted, tiny.output)
    weights = Path(tiny.output) / "member" / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1] + b"x")
    with pytest.raises(DamagedError, match="is not what this run saved: it was overwritten"):
        train(tiny)
    shutil.rmtree(weights.parent)
    with pytest.raises(DamagedError, match="member, which this run saved, is not there any more"):
        train(tiny)


def test_a_run_is_not_continued_with_changed_images(tiny: Recipe, uninterrupted: Path, tmp_path: Path) -> None:
    shutil.copytree(uninterrupted, tiny.output)
    data = load_data(tiny.data)
    changed = tmp_path / "changed.png"
    PIL.Image.new("RGB", (64, 48)).save(changed)
    first = replace(data.samples[0], image=changed, case=data.samples[0].case)
    write_manifest([first, *data.samples[1:]], ["blob"], tmp_path / "changed.json")
    with pytest.raises(InputError, match=r"Images or masks have changed since the run in .* began"):
        train(replace(tiny, data=str(tmp_path / "changed.json"), epochs=9))


def test_a_run_is_not_continued_with_masks_that_changed_places(
    tiny: Recipe, uninterrupted: Path, tmp_path: Path
) -> None:
    shutil.copytree(uninterrupted, tiny.output)
    first, second, *others = load_data(tiny.data).samples
    swapped = [replace(first, mask=second.mask), replace(second, mask=first.mask), *others]
    write_manifest(swapped, ["blob"], tmp_path / "swapped.json")
    with pytest.raises(InputError, match=r"Images or masks have changed since the run in .* began"):
        train(replace(tiny, data=str(tmp_path / "swapped.json"), epochs=9))


def test_more_epochs_continue_a_finished_run_with_a_schedule_of_their_own(
    extended: Path, tiny: Recipe, monkeypatch: pytest.MonkeyPatch
) -> None:
    """4 steps an epoch: a rise and a fall over the first 4, then over the 8 that are added."""
    log = [json.loads(line)["epoch"] for line in (extended / "log.jsonl").read_text(encoding="utf-8").splitlines()]
    assert log == [1, 2, 3]
    rates, step = [], loop._step

    def watched(run: Any, course: Any, buffers: Any) -> None:
        rates.append(course.optimizer.param_groups[0]["lr"])
        step(run, course, buffers)

    monkeypatch.setattr(loop, "_step", watched)
    train(replace(tiny, epochs=1))
    train(replace(tiny, epochs=3))
    expected = [loop._warmup_cosine(steps, tiny.warmup)(step) for steps in (4, 8) for step in range(steps)]
    assert rates == pytest.approx([tiny.learning_rate * factor for factor in expected])


@pytest.mark.parametrize("call", [1, 2])
def test_a_run_stopped_within_its_added_epochs_continues_to_the_same_bits(
    tiny: Recipe, extended: Path, monkeypatch: pytest.MonkeyPatch, call: int
) -> None:
    train(replace(tiny, epochs=1))
    validate, calls = loop.validate, 0

    def counted(*arguments: Any) -> Any:
        nonlocal calls
        calls += 1
        return stop() if calls == call else validate(*arguments)

    with monkeypatch.context() as patch:
        patch.setattr(loop, "validate", counted)
        with pytest.raises(Killed):
            train(replace(tiny, epochs=3))
    torch.manual_seed(call)
    train(replace(tiny, epochs=3))
    assert_same_end(Path(tiny.output), extended)


def test_other_epochs_are_refused_for_a_run_under_way_and_fewer_for_one_that_has_ended(
    tiny: Recipe, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(loop, "_report", stop)
        with pytest.raises(Killed):
            train(tiny)
    with pytest.raises(InputError, match=r"a run of 3 epochs that has done 1: give --epochs 3 again"):
        train(replace(tiny, epochs=5))
    train(tiny)
    with pytest.raises(InputError, match="a run that has ended after 3 epochs: wanted more"):
        train(replace(tiny, epochs=2))


def test_a_run_of_another_split_in_the_same_folder_is_refused(
    tiny: Recipe, uninterrupted: Path, disc_pairs: Path
) -> None:
    with pytest.raises(InputError, match="Images or masks have changed since the run"):
        train(replace(tiny, output=str(uninterrupted), data=str(disc_pairs)))


def test_a_member_saved_by_halves_is_never_opened(
    uninterrupted: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without the loop's care too: member.json with the hashes is written last."""
    folder = tmp_path / "member"
    shutil.copytree(uninterrupted / "member", folder)
    member, network = load_member(folder, device="cpu"), load_network(folder)
    with torch.no_grad():
        next(iter(network.parameters())).add_(1)
    monkeypatch.setattr(schema, "dump", stop)
    with pytest.raises(Killed):
        save_member(network, member.config, folder)
    with pytest.raises(DamagedError, match=r"model\.safetensors is not what member\.json promises"):
        load_member(folder)


def test_saving_the_best_does_not_shift_what_the_training_draws_next(uninterrupted: Path, tmp_path: Path) -> None:
    member, network = load_member(uninterrupted / "member", device="cpu"), load_network(uninterrupted / "member")
    before = torch.get_rng_state()
    loop._save_best(network, member.config, tmp_path / "member")
    assert torch.equal(torch.get_rng_state(), before)


def write_label_maps(folder: Path, values: tuple[int, ...], count: int = 8) -> Path:
    """Grey pairs with the given values side by side in the mask, two of them to validate on."""
    rng = np.random.default_rng(0)
    for number in range(count):
        mask = np.repeat(np.array(values, np.uint8), 32 // len(values))[np.newaxis].repeat(32, axis=0)
        image = mask * 60 + rng.integers(0, 20, mask.shape).astype(np.uint8)
        for name, pixels in (("images", image), ("masks", mask)):
            (folder / name).mkdir(parents=True, exist_ok=True)
            PIL.Image.fromarray(pixels).save(folder / name / f"{number}.png")
    splits = {"train": [str(n) for n in range(count - 2)], "val": [str(count - 2), str(count - 1)]}
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
        encoder="tu-test_efficientnet", decoder={"decoder_channels": [16, 16, 8, 8, 8]},
    )  # fmt: skip
    member = load_member(train(recipe), device="cpu")
    assert member.probabilities(read_image(data / "images" / "0.png")).shape == (len(labels), 32, 32)


def test_one_validation_image_is_enough_for_a_member_that_opens(tiny: Recipe, tmp_path: Path) -> None:
    data = write_label_maps(tmp_path / "maps", (0, 1))
    (data / "splits.json").write_text('{"train": ["0", "1", "2", "3"], "val": ["4"], "test": ["5", "6", "7"]}')
    score, _ = load_member(train(replace(tiny, data=str(data), epochs=1))).config.scores
    assert (score.n, score.low, score.high) == (1, None, None)


def test_a_training_split_of_one_image_is_refused(tiny: Recipe, tmp_path: Path) -> None:
    data = write_label_maps(tmp_path / "maps", (0, 1))
    (data / "splits.json").write_text('{"train": ["0"], "val": ["4"], "test": ["1", "2", "3", "5", "6", "7"]}')
    with pytest.raises(InputError, match=r"The split 'train' holds 1 sample.* Four cases or more"):
        train(replace(tiny, data=str(data)))


def test_unsound_data_are_refused_with_file_names(tiny: Recipe, tmp_path: Path) -> None:
    data = write_label_maps(tmp_path / "maps", (0, 1))
    (data / "masks" / "3.png").write_bytes(b"no image")
    with pytest.raises(InputError, match=r"3\.png"):
        train(replace(tiny, data=str(data), labels=("a",)))


def test_a_network_that_cannot_be_built_is_refused_before_an_image_is_read(
    tiny: Recipe,
) -> None:
    with pytest.raises(ConfigError, match="resnet17"):
        train(replace(tiny, architecture="unet", encoder="resnet17", decoder={}), read=stop)


def test_the_schedule_rises_and_then_falls_to_nothing() -> None:
    factor = loop._warmup_cosine(100, 0.1)
    assert [factor(step) for step in (0, 4, 9, 10)] == pytest.approx([0.1, 0.5, 1, 1])
    assert [factor(step) for step in (55, 100)] == pytest.approx([0.5, 0])
    assert all(factor(step) >= factor(step + 1) for step in range(10, 100))


def test_the_baseline_is_the_mean_training_mask_at_its_best_threshold() -> None:
    """Three of four training masks are the upper half, one is the lower: so the prior is the upper half."""
    upper = torch.zeros(1, 128, 128, dtype=torch.bool)  # on the grid of the prior itself, so that nothing is resized
    upper[:, :64] = True
    blank = torch.zeros(3, 128, 128)
    training = SimpleNamespace(masks=lambda: [upper, upper, upper, ~upper])
    val = SimpleNamespace(pairs=[(blank, masks) for masks in (upper, upper, ~upper, upper)], cases=list("abcd"))
    baseline = location_baseline(training, val, Recipe(size=128))
    assert (baseline.value, baseline.n, baseline.split) == (0.75, 4, "val")
    assert "chosen on train" in baseline.protocol


@pytest.mark.parametrize(("channels", "seen"), [(1, 0), (3, 2), (4, 1.5)])
def test_an_image_of_many_channels_is_shown_as_their_mean(channels: int, seen: float) -> None:
    image = torch.arange(channels).view(-1, 1, 1).expand(-1, 8, 8) / 10
    drawn = panel(image, torch.zeros(1, 8, 8, dtype=torch.bool))
    assert drawn[0, 0, 2] == round(255 * seen / 10)


def test_dice_by_hand() -> None:
    found = torch.zeros(1, 3, 2, 2, dtype=torch.bool)
    truth = found.clone()
    found[0, 0, 0], truth[0, 0, :, 0] = True, True  # one of two pixels shared
    found[0, 1, 0, 0] = True  # nothing to find, one pixel found
    assert dice(found, truth).tolist() == [[0.5, 0.0, 1.0]]
