"""Pushing to the Hub: one commit of our files or nothing, and no secret in what is said."""

from __future__ import annotations

import contextlib
import dataclasses
import shutil
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from huggingface_hub import HfApi

from medseg import schema
from medseg.__main__ import main
from medseg.config import EnsembleConfig
from medseg.errors import DamagedError, HubError, InputError
from medseg.hub import push as the_push
from medseg.hub.push import push
from medseg.inference.ensemble import Ensemble
from medseg.inference.member import file_sha256
from tests.conftest import ROOT, make_member
from tests.hub_server import FAULTS, REPO, SECRET, Hub, files_of, ours, set_settings


@pytest.fixture
def folder(plain_ensemble: Path, tmp_path: Path) -> Path:
    """An ensemble of two members with its card."""
    return Path(shutil.copytree(plain_ensemble, tmp_path / "ensemble"))


def test_a_push_is_one_commit_of_our_files_alone(hub: Hub, folder: Path) -> None:
    (folder / "m0" / "checkpoint.pt").write_bytes(b"gigabytes")
    url = push(folder, REPO, message="first")
    assert hub.repos[REPO].messages == ["initial commit", "first"]
    assert url == f"{hub.url}/{REPO}/commit/{hub.repos[REPO].branches['main']}"
    expected = {name: content for name, content in ours(folder).items() if name != "m0/checkpoint.pt"}
    assert {name: content for name, content in files_of(hub).items() if name != ".gitattributes"} == expected


def test_a_push_of_the_same_makes_no_commit(hub: Hub, folder: Path) -> None:
    assert push(folder, REPO) == push(folder, REPO)
    assert len(hub.repos[REPO].commits) == 2


def test_a_push_deletes_what_is_gone_and_leaves_what_is_not_ours(hub: Hub, folder: Path) -> None:
    push(folder, REPO)
    foreign = {"docs/README.md": b"theirs", "figure.png": b"theirs"}
    hub.commit(REPO, files_of(hub) | foreign)
    set_settings(folder, members=schema.load(EnsembleConfig, folder / "ensemble.json").members[:1])
    shutil.rmtree(folder / "m1")
    push(folder, REPO)
    assert sorted(files_of(hub)) == sorted([".gitattributes", *foreign, *ours(folder)])


def test_two_pushes_at_once_never_mix(hub: Hub, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    push(folder, REPO)
    together = threading.Barrier(2)
    commit = HfApi.create_commit

    def after_both_have_looked(*arguments: object, **settings: object) -> object:
        together.wait(30)
        return commit(*arguments, **settings)

    monkeypatch.setattr(HfApi, "create_commit", after_both_have_looked)
    outcomes: list[str | HubError] = []

    def one(name: str, threshold: float) -> None:
        mine = Path(shutil.copytree(folder, folder.parent / name))
        set_settings(mine, name=name, threshold=threshold)
        try:
            outcomes.append(push(mine, REPO))
        except HubError as error:
            outcomes.append(error)

    threads = [threading.Thread(target=one, args=pair) for pair in (("one", 0.25), ("two", 0.75))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    (lost,) = [outcome for outcome in outcomes if isinstance(outcome, HubError)]
    assert "somebody else pushed meanwhile (412)" in str(lost)
    assert len(hub.repos[REPO].commits) == 3
    settings = Ensemble.from_pretrained(REPO).config
    assert (settings.name, settings.threshold) in {("one", 0.25), ("two", 0.75)}


def test_a_folder_without_a_card_is_not_pushed(hub: Hub, folder: Path) -> None:
    (folder / "README.md").unlink()
    with pytest.raises(InputError, match=r"has no README\.md: .* `medseg card "):
        push(folder, REPO)
    assert hub.log == []


@pytest.mark.parametrize("name", ["m0/model.safetensors", "m1/config.json", "m1/member.json"])
def test_a_damaged_folder_is_not_pushed(hub: Hub, folder: Path, name: str) -> None:
    content = (folder / name).read_bytes()
    (folder / name).write_bytes(content + b" ")
    with pytest.raises(DamagedError, match=f"{name} is not what its hash promises"):
        push(folder, REPO)
    assert hub.log == []


def test_private_weights_do_not_go_to_a_public_repository(hub: Hub, folder: Path) -> None:
    push(folder, REPO)
    with pytest.raises(HubError, match="is there already, and public"):
        push(folder, REPO, private=True)


@pytest.mark.parametrize("name", ["net", "a/b/c", "../net", ""])
def test_a_name_that_is_no_repository_is_refused(hub: Hub, folder: Path, name: str) -> None:
    with pytest.raises(InputError, match="wanted owner/name"):
        push(folder, name)
    assert hub.log == []


def test_nothing_is_pushed_offline(hub: Hub, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(HubError, match="HF_HUB_OFFLINE is set"):
        push(folder, REPO)
    assert hub.log == []


def test_a_push_that_takes_too_long_is_given_up(hub: Hub, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(the_push, "PATIENCE_S", 0.2)
    monkeypatch.setattr(the_push, "BYTES_PER_S", 1e9)
    hub.break_("repos/create", "hang")
    with pytest.raises(HubError, match="did not take the files within"):
        push(folder, REPO)


@pytest.mark.parametrize(
    ("pattern", "status", "sentence"),
    [
        ("validate-yaml", 500, "a fault of its own"),
        ("preupload", 403, "refuses access with this token"),
        ("/commit/", 409, "somebody else pushed meanwhile"),
        ("/commit/", 412, "somebody else pushed meanwhile"),
        ("/commit/", 503, "a fault of its own"),
        ("PUT /lfs", 404, r"\(404\)"),
    ],
)
def test_a_push_that_is_refused_leaves_the_repository_as_it_was(
    hub: Hub, folder: Path, pattern: str, status: int, sentence: str
) -> None:
    push(folder, REPO)
    before = files_of(hub)
    make_member(folder / "m1", "random-1", 7, plain=True)
    first, second = schema.load(EnsembleConfig, folder / "ensemble.json").members
    changed = dataclasses.replace(second, sha256=file_sha256(folder / "m1" / "member.json"))
    set_settings(folder, members=(first, changed))
    (folder / "README.md").write_text((folder / "README.md").read_text() + "More.\n")
    hub.break_(pattern, status)
    with pytest.raises(HubError, match=sentence):
        push(folder, REPO)
    assert len(hub.repos[REPO].commits) == 2
    assert files_of(hub) == before


@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize("place", ["repos/create", "/revision/", "preupload", "PUT /lfs", "/commit/"])
def test_a_push_on_a_bad_day_is_whole_or_nothing(
    hub: Hub, folder: Path, monkeypatch: pytest.MonkeyPatch, fault: str, place: str
) -> None:
    monkeypatch.setattr(the_push, "PATIENCE_S", 0.4)
    monkeypatch.setattr(the_push, "BYTES_PER_S", 1e9)
    monkeypatch.setattr(time, "sleep", lambda seconds: None)  # the client's, between its attempts
    before = set(threading.enumerate())
    hub.break_(place, fault)
    with contextlib.suppress(HubError):  # an altered answer may be one that nobody reads
        push(folder, REPO)
    hub.stop()
    for thread in set(threading.enumerate()) - before:
        thread.join(30)
    done = files_of(hub) if REPO in hub.repos else {}
    assert {name for name in done if name != ".gitattributes"} in (set(), set(ours(folder)))


@pytest.mark.parametrize(
    ("token", "sentence"), [(None, r"wants a token .*\(401\)"), ("hf_other", r"this token \(403\)")]
)
def test_pushing_needs_the_owners_token(
    hub: Hub, folder: Path, monkeypatch: pytest.MonkeyPatch, token: str | None, sentence: str
) -> None:
    hub.tokens["hf_other"] = "other"
    monkeypatch.delenv("HF_TOKEN") if token is None else monkeypatch.setenv("HF_TOKEN", token)
    with pytest.raises(HubError, match=sentence):
        push(folder, REPO)
    assert hub.repos == {}


def test_a_card_that_the_hub_does_not_accept_is_one_sentence(hub: Hub, folder: Path) -> None:
    (folder / "README.md").write_text("no front matter")
    with pytest.raises(HubError, match=r"does not accept README\.md"):
        push(folder, REPO)


# --- the command line, and secrets


def command(hub: Hub, home: Path, *arguments: object, token: str = "hf_tester") -> subprocess.CompletedProcess[str]:  # noqa: S107
    return subprocess.run(
        [sys.executable, "-m", "medseg", *map(str, arguments)],
        cwd=ROOT,
        env={"PATH": ""} | hub.environment(home, token),
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )


def test_the_command_pushes_and_prints_the_commit(hub: Hub, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    main(["push", str(folder), REPO, "--private"])
    assert capsys.readouterr().out.strip() == f"{hub.url}/{REPO}/commit/{hub.repos[REPO].branches['main']}"
    assert hub.repos[REPO].private


@pytest.mark.parametrize(("pattern", "status"), [("repos/create", 403), ("PUT /lfs", 500), ("/commit/", 429)])
def test_no_secret_reaches_output_or_error(hub: Hub, folder: Path, tmp_path: Path, pattern: str, status: int) -> None:
    hub.tokens["hf_canary_1234"] = "tester"
    hub.break_(pattern, status, times=1 if status == 500 else None)  # the client tries again after a 500
    ran = command(hub, tmp_path / "home", "push", folder, REPO, token="hf_canary_1234")  # noqa: S106
    assert ran.returncode == (0 if status == 500 else 1), ran.stderr
    assert "Traceback" not in ran.stderr
    said = ran.stdout + ran.stderr
    assert "hf_canary" not in said
    assert SECRET.partition("=")[2] not in said


def test_pushing_does_not_wait_for_torch() -> None:
    code = "import sys, medseg.hub.push, medseg.__main__\n"
    code += "print([m for m in ('torch', 'huggingface_hub') if m in sys.modules])"
    shown = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert shown.stdout.strip() == "[]"
