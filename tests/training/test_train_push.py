"""What a run pushes: through a real child process and the real client, to the Hub on loopback."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from medseg.config import TrainingData
from medseg.errors import ConfigError
from medseg.training import push
from medseg.training.loop import train
from medseg.training.push import Pusher
from medseg.training.recipe import Recipe, recipe_from_settings
from tests.conftest import make_member
from tests.hub_server import Hub

REPO = "tester/net"


@pytest.fixture
def output(tmp_path: Path, hub: Hub, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A run's output folder with a member; a child process finds the Hub, and tries follow at once."""
    for name, value in hub.environment(tmp_path / "home").items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(push, "SECONDS_BETWEEN", 0.0)
    monkeypatch.setattr(push, "WAITS", (0.0, 0.0))
    make_member(tmp_path / "run" / "member", "a", 0)
    return tmp_path / "run"


def pusher(output: Path) -> Pusher:
    return Pusher(Recipe(output=str(output), push_to_hub=True, hub_model_id=REPO), output / "member")


def commits(hub: Hub) -> int:
    return len(hub.repos[REPO].commits) if REPO in hub.repos else 0


def test_the_member_is_pushed_with_its_card_in_one_commit(output: Path, hub: Hub) -> None:
    hub.commit(REPO, {})
    pusher(output).finish()
    assert commits(hub) == 2
    pushed = hub.repos[REPO].commits[hub.repos[REPO].branches["main"]]
    names = {"README.md", "config.json", "member.json", "model.safetensors"}
    assert names <= set(pushed)
    assert all(pushed[name] == (output / "member" / name).read_bytes() for name in names)


def test_a_run_that_is_continued_does_not_push_the_same_again(output: Path, hub: Hub) -> None:
    pusher(output).finish()
    before = len(hub.log)
    pusher(output).finish()
    pusher(output).offer()
    assert len(hub.log) == before


def test_a_better_member_is_pushed_as_a_further_commit(output: Path, hub: Hub) -> None:
    pusher(output).finish()
    before = commits(hub)
    make_member(output / "member", "a", 1)
    pusher(output).finish()
    assert commits(hub) == before + 1


def test_what_is_replaced_while_it_is_pushed_arrives_whole_and_is_followed_by_the_new(output: Path, hub: Hub) -> None:
    running = pusher(output)
    running.offer()
    make_member(output / "member", "a", 1)
    running.finish()
    pushed = hub.repos[REPO].commits[hub.repos[REPO].branches["main"]]
    assert pushed["member.json"] == (output / "member" / "member.json").read_bytes()
    assert not (output / ".pushing").exists()


@pytest.mark.parametrize("fault", [401, 503, "cut"])  # all kinds of them: tests/hub/test_hub_faults.py
def test_a_push_that_fails_is_said_kept_and_done_later(
    fault: int | str, output: Path, hub: Hub, capfd: pytest.CaptureFixture[str]
) -> None:
    hub.break_("/api/", fault)
    pusher(output).finish()
    said = capfd.readouterr().err
    assert f"The push to {REPO} failed (error: " in said
    assert f"Not pushed. Give the same command again, or: medseg push {output / 'member'} {REPO}" in said
    assert "Traceback" not in said
    assert commits(hub) <= 1  # the empty one that a new repository begins with
    hub.mend()
    pusher(output).finish()
    assert json.loads((output / "pushed.json").read_text())["repository"] == REPO


def test_a_push_that_hangs_is_given_up(
    output: Path, hub: Hub, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    hub.break_("/api/", "hang")
    monkeypatch.setattr(push, "LIMIT", 0.0)
    pusher(output).finish()
    assert "no reply in time" in capfd.readouterr().err


def test_offering_never_waits_for_the_hub(output: Path, hub: Hub) -> None:
    hub.break_("/api/", "hang")
    running = pusher(output)
    running.offer()
    running.offer()  # the first one hangs
    assert running._child is not None
    running._child.kill()
    running._child.wait()


def test_no_secret_is_in_the_log_or_on_the_terminal(output: Path, hub: Hub, capfd: pytest.CaptureFixture[str]) -> None:
    hub.break_("/api/", 401)
    pusher(output).finish()
    shown = capfd.readouterr()
    assert "hf_tester" not in shown.err + shown.out + (output / "push.log").read_text()


@pytest.mark.parametrize("name", ["", "net", "a/b/c", "../net", "https://host/net"])
def test_pushing_needs_the_id_of_a_repository(name: str) -> None:
    with pytest.raises(ConfigError, match="push_to_hub needs hub_model_id as owner/name"):
        recipe_from_settings({"push_to_hub": True, "hub_model_id": name})


def test_a_dead_hub_costs_no_epoch_and_the_same_command_pushes_later(
    output: Path, hub: Hub, disc_pairs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ACCELERATE_USE_CPU", "true")
    run = output.with_name("trained")
    recipe = Recipe(
        data=str(disc_pairs), output=str(run), labels=("disc",), size=32, epochs=2, architecture="plainunet",
        encoder="none", decoder={"depth": 1, "width": 4}, push_to_hub=True, hub_model_id=REPO,
        training_data=TrainingData("discs", "CC0-1.0"),
    )  # fmt: skip
    hub.break_("/api/", 503)
    member = train(recipe)
    assert len((run / "log.jsonl").read_text().splitlines()) == 2
    assert commits(hub) <= 1
    hub.mend()
    train(recipe)
    pushed = hub.repos[REPO].commits[hub.repos[REPO].branches["main"]]
    assert pushed["model.safetensors"] == (member / "model.safetensors").read_bytes()


def test_a_run_whose_data_nobody_named_does_not_begin_to_train_for_a_push(output: Path, disc_pairs: Path) -> None:
    recipe = Recipe(
        data=str(disc_pairs), output=str(output), labels=("disc",), size=32, architecture="plainunet", encoder="none",
        decoder={"depth": 1, "width": 4}, push_to_hub=True, hub_model_id=REPO,
    )  # fmt: skip
    with pytest.raises(ConfigError, match=r"Nobody said what this member is trained on.*--training-data"):
        train(recipe)
    assert not (output / "log.jsonl").exists()
