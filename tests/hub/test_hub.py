"""To the Hub and back over real HTTP: fetch, the cache, and what a stranger's repository may not do."""

from __future__ import annotations

import dataclasses
import json
import pickle
import shutil
import threading
import warnings
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import segmentation_models_pytorch
import torch
from huggingface_hub import hf_hub_download, try_to_load_from_cache

from medseg import schema
from medseg.config import EnsembleConfig, MemberReference, StackerReference
from medseg.errors import ConfigError, DamagedError, HubError, InputError, MedsegWarning
from medseg.hub.fetch import fetch
from medseg.hub.push import push
from medseg.image import Image
from medseg.inference import ensemble
from medseg.inference.ensemble import Ensemble
from medseg.inference.member import file_sha256
from medseg.inference.prediction import Source
from tests.conftest import make_member
from tests.hub_server import REPO, Hub, ours, set_settings

IMAGE = Image(np.random.default_rng(0).random((40, 56, 3), dtype=np.float32))


@pytest.fixture(autouse=True)
def _forgetful(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every prediction runs its networks: answers are cached by hash, and would hide what was really loaded."""
    monkeypatch.setattr(ensemble, "_cache", ensemble.ArrayCache(0))


@pytest.fixture
def folder(plain_ensemble: Path, tmp_path: Path) -> Path:
    """An ensemble of two members with its card."""
    return Path(shutil.copytree(plain_ensemble, tmp_path / "ensemble"))


@pytest.fixture
def member(folder: Path) -> Path:
    """One of its members with a card, as a folder of its own."""
    shutil.copy(folder / "README.md", folder / "m0")
    return folder / "m0"


def answer(source: str | Path, **settings: str) -> np.ndarray:
    return Ensemble.from_pretrained(source, **settings).predict(IMAGE).probabilities


def requests(hub: Hub) -> list[str]:
    return [f"{method} {path}" for method, path, *_ in hub.log]


# --- there and back


def test_an_ensemble_comes_back_as_it_was_pushed(hub: Hub, folder: Path) -> None:
    push(folder, REPO)
    assert np.array_equal(answer(REPO), answer(folder))


def test_a_member_comes_back_as_an_ensemble_of_one(hub: Hub, member: Path) -> None:
    push(member, REPO)
    opened = Ensemble.from_pretrained(REPO)
    assert opened.names == ("random-0",)
    assert np.array_equal(opened.predict(IMAGE).probabilities, answer(member))


def test_branch_tag_and_commit_each_give_their_own_version(hub: Hub, folder: Path) -> None:
    push(folder, REPO)
    old = hub.repos[REPO].branches["main"]
    hub.repos[REPO].branches["v1"] = old
    before = answer(folder)
    set_settings(folder, members=schema.load(EnsembleConfig, folder / "ensemble.json").members[:1])
    push(folder, REPO)
    assert np.array_equal(answer(REPO, revision="v1"), before)
    assert np.array_equal(answer(f"{REPO}@v1"), before)
    assert np.array_equal(answer(REPO, revision=old), before)
    assert np.array_equal(answer(REPO), answer(folder))
    assert not np.array_equal(answer(REPO), before)


def test_a_result_says_of_which_commit_its_ensemble_was(hub: Hub, folder: Path) -> None:
    push(folder, REPO)
    found = Ensemble.from_pretrained(REPO).predict(IMAGE)
    digest = file_sha256(folder / "ensemble.json")
    assert found.source == Source(REPO, hub.repos[REPO].branches["main"], digest)


def test_a_member_alone_is_told_by_its_member_json(hub: Hub, member: Path) -> None:
    push(member, REPO)
    source = Ensemble.from_pretrained(REPO).source
    assert source is not None
    assert source.sha256 == file_sha256(member / "member.json")


def test_a_second_start_of_a_commit_needs_no_hub(hub: Hub, folder: Path) -> None:
    push(folder, REPO)
    commit = hub.repos[REPO].branches["main"]
    first = answer(REPO, revision=commit)
    hub.stop()
    assert np.array_equal(answer(REPO, revision=commit), first)


def test_a_second_start_of_a_branch_makes_one_request(hub: Hub, folder: Path) -> None:
    push(folder, REPO)
    fetch(REPO)
    hub.log.clear()
    fetch(REPO)
    assert requests(hub) == [f"GET /api/models/{REPO}/revision/main?blobs=true"]


def test_offline_takes_the_cache_without_a_request(hub: Hub, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    push(folder, REPO)
    first = answer(REPO)
    hub.log.clear()
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    assert np.array_equal(answer(REPO), first)
    assert hub.log == []


def test_offline_without_a_cache_is_refused(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(HubError, match="tester/net is not whole in the cache, and HF_HUB_OFFLINE"):
        fetch(REPO)
    assert hub.log == []


def test_another_commit_brings_only_what_changed(hub: Hub, folder: Path) -> None:
    push(folder, REPO)
    fetch(REPO)
    set_settings(folder, threshold=0.25)
    push(folder, REPO)
    hub.log.clear()
    assert Ensemble.from_pretrained(REPO).config.threshold == 0.25
    assert [request for request in requests(hub) if "/resolve/" in request] == [
        f"GET /{REPO}/resolve/{hub.repos[REPO].branches['main']}/ensemble.json"
    ]


def test_progress_ends_at_the_bytes_of_all_weights(hub: Hub, folder: Path) -> None:
    push(folder, REPO)
    told: list[tuple[int, int]] = []
    fetch(REPO, progress=lambda done, total: told.append((done, total)))
    total = sum((folder / name / "model.safetensors").stat().st_size for name in ("m0", "m1"))
    assert told[-1] == (total, total)
    assert told == sorted(told)


def test_a_cancelled_fetch_ends_with_a_refusal(hub: Hub, folder: Path) -> None:
    push(folder, REPO)
    told: list[int] = []
    with pytest.raises(HubError, match=r"model\.safetensors: cancelled"):
        Ensemble.from_pretrained(REPO, progress=lambda done, total: told.append(done), cancelled=lambda: bool(told))


def test_fetching_at_the_same_time_does_no_harm(hub: Hub, folder: Path) -> None:
    push(folder, REPO)
    together = threading.Barrier(4)

    def one(_: int) -> dict[str, bytes]:
        together.wait(30)
        found = fetch(REPO)
        return {name: (found / name).read_bytes() for name in ours(folder)}

    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(one, range(4))) == [ours(folder)] * 4


def test_the_clients_cache_is_shared_both_ways(hub: Hub, folder: Path) -> None:
    push(folder, REPO)
    commit = hub.repos[REPO].branches["main"]
    hf_hub_download(REPO, "m0/model.safetensors")
    hub.log.clear()
    fetch(REPO)
    assert not any("/m0/model.safetensors" in request for request in requests(hub))
    found = try_to_load_from_cache(REPO, "m1/model.safetensors", revision=commit)
    assert Path(str(found)).read_bytes() == (folder / "m1" / "model.safetensors").read_bytes()


def test_smp_alone_opens_a_pushed_member(hub: Hub, folder: Path, tmp_path: Path) -> None:
    make_member(tmp_path / "smp", "smp", 0)
    shutil.copy(folder / "README.md", tmp_path / "smp")
    push(tmp_path / "smp", REPO)
    with warnings.catch_warnings(action="ignore"):
        network = segmentation_models_pytorch.from_pretrained(REPO).eval()
    assert isinstance(network, segmentation_models_pytorch.Unet)
    assert network(torch.zeros(1, 3, 64, 64)).shape == (1, 1, 64, 64)


# --- members that are repositories, and the stacker


def refer(folder: Path, source: str, revision: str, weight: float = 0.25) -> None:
    """Let the ensemble in `folder` take its second member from the Hub."""
    first, second = schema.load(EnsembleConfig, folder / "ensemble.json").members
    set_settings(folder, members=(first, MemberReference(source, second.sha256, weight, revision)))


def test_a_member_may_be_a_repository_of_its_own(hub: Hub, folder: Path) -> None:
    before = answer(folder)
    commit = hub.commit("tester/second", ours(folder / "m1"))
    refer(folder, "tester/second", commit)
    shutil.rmtree(folder / "m1")
    assert np.array_equal(answer(folder), before)
    push(folder, REPO)
    assert np.array_equal(answer(REPO), before)


def test_a_member_whose_repository_is_gone_is_left_out(hub: Hub, folder: Path) -> None:
    refer(folder, "tester/gone", "0" * 40)
    with pytest.warns(MedsegWarning, match=r"tester/gone: .* \(404\)\. The ensemble goes on without it"):
        opened = Ensemble.from_pretrained(folder)
    assert opened.names == ("random-0",)


def test_a_members_source_is_never_a_folder_of_that_name(
    hub: Hub, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copytree(folder / "m1", tmp_path / "tester" / "second")
    refer(folder, "tester/second", "0" * 40)
    monkeypatch.chdir(tmp_path)
    with pytest.warns(MedsegWarning, match="404"):
        assert Ensemble.from_pretrained(folder).names == ("random-0",)


def test_a_dead_hub_is_asked_once_for_all_members(hub: Hub, folder: Path) -> None:
    first, second = schema.load(EnsembleConfig, folder / "ensemble.json").members
    away = [dataclasses.replace(second, source=f"tester/m{i}", revision=f"{i}" * 40) for i in range(3)]
    set_settings(folder, members=(first, *away))
    hub.break_("/api/models/", 503)
    with pytest.warns(MedsegWarning, match="goes on without it"):
        opened = Ensemble.from_pretrained(folder)
    assert "tester/m2 is not asked for, since tester/m0: the Hub" in opened.quarantined[2]
    assert (len(opened.quarantined), len(hub.log)) == (3, 1)


def test_the_stacker_travels_with_its_ensemble(hub: Hub, folder: Path) -> None:
    sha256 = make_member(folder / "stacker", "stacker", 5, plain=True)
    set_settings(folder, stacker=StackerReference("stacker", sha256))
    push(folder, REPO)
    found = fetch(REPO)
    assert file_sha256(found / "stacker" / "model.safetensors") == file_sha256(folder / "stacker" / "model.safetensors")


def test_the_calibration_travels_with_its_ensemble(hub: Hub, folder: Path) -> None:
    (folder / "calibration.json").write_text('{"learnt": "here"}')
    push(folder, REPO)
    opened = Ensemble.from_pretrained(REPO)
    assert opened.folder is not None
    assert (opened.folder / "calibration.json").read_text() == '{"learnt": "here"}'


def test_a_calibration_that_was_altered_in_the_cache_is_fetched_again(hub: Hub, folder: Path) -> None:
    (folder / "calibration.json").write_text('{"learnt": "here"}')
    push(folder, REPO)
    (fetch(REPO) / "calibration.json").write_text('{"learnt": "nowhere"}')
    assert (fetch(REPO) / "calibration.json").read_text() == '{"learnt": "here"}'


# --- what `source` may be


def test_a_folder_is_returned_as_it_is(folder: Path) -> None:
    assert fetch(folder) == folder
    assert fetch(str(folder)) == folder


def test_a_folder_has_no_revision(folder: Path) -> None:
    with pytest.raises(InputError, match=r"is a folder, or no Hub repository .*: leave out the revision"):
        fetch(folder, revision="main")


def test_a_folder_wins_over_a_repository_of_the_same_name(
    hub: Hub, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copytree(folder, tmp_path / "tester" / "net")
    monkeypatch.chdir(tmp_path)
    assert fetch(REPO) == Path(REPO)
    assert hub.log == []


def test_two_revisions_at_once_are_refused() -> None:
    with pytest.raises(InputError, match="names a revision already"):
        fetch(f"{REPO}@v1", revision="v2")


@pytest.mark.parametrize("revision", ["../../etc", "a b", "-x", "x" * 101, "a\n"])
def test_a_revision_that_cannot_be_is_refused_unasked(hub: Hub, revision: str) -> None:
    with pytest.raises(InputError, match="is not the name of a branch or tag"):
        fetch(REPO, revision=revision)
    assert hub.log == []


def test_a_path_that_is_neither_folder_nor_repository_is_refused_as_a_folder(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="is no ensemble: wanted one of"):
        Ensemble.from_pretrained(str(tmp_path / "no" / "such"))


# --- access


def test_a_private_repository_opens_with_its_owners_token(hub: Hub, folder: Path) -> None:
    push(folder, REPO, private=True)
    assert hub.repos[REPO].private
    assert np.array_equal(answer(REPO), answer(folder))


@pytest.mark.parametrize(("token", "sentence"), [(None, r"wants a token .*\(401\)"), ("hf_other", r"\(404\)")])
def test_a_private_repository_is_closed_to_others(
    hub: Hub, folder: Path, monkeypatch: pytest.MonkeyPatch, token: str | None, sentence: str
) -> None:
    push(folder, REPO, private=True)
    hub.tokens["hf_other"] = "other"
    monkeypatch.delenv("HF_TOKEN") if token is None else monkeypatch.setenv("HF_TOKEN", token)
    with pytest.raises(HubError, match=sentence):
        fetch(REPO)


def test_the_token_goes_to_the_hub_and_not_to_where_it_redirects(hub: Hub, folder: Path) -> None:
    push(folder, REPO)
    hub.log.clear()
    fetch(REPO)
    with_token = {path.split("/")[1]: token for method, path, _, token in hub.log}
    assert with_token == {"api": True, "tester": True, "lfs": False}


# --- strangers' repositories


class Bomb:
    def __reduce__(self) -> tuple[object, tuple[str]]:
        return pytest.fail, ("a pickle was opened",)


def test_nothing_but_our_files_is_downloaded(hub: Hub, folder: Path) -> None:
    foreign = ["pytorch_model.bin", "m0/weights.pt", "modeling.py", "m0/config.py", "other/model.safetensors"]
    hub.commit(REPO, ours(folder) | dict.fromkeys(foreign, pickle.dumps(Bomb())))
    found = fetch(REPO)
    assert sorted(ours(found)) == sorted(ours(folder))
    assert not any(name in request for name in foreign for request in requests(hub))


@pytest.mark.parametrize("source", ["../m0", "/etc", "m0/../..", "a/b"])
def test_a_source_outside_the_repository_is_refused_before_it_is_asked_for(hub: Hub, folder: Path, source: str) -> None:
    text = json.loads((folder / "ensemble.json").read_text())
    text["members"][0]["source"] = source
    hub.commit(REPO, ours(folder) | {"ensemble.json": json.dumps(text).encode()})
    with pytest.raises(ConfigError, match=r"ensemble\.json: members: source must be the name of a folder"):
        fetch(REPO)
    assert not any("safetensors" in request for request in requests(hub))


def test_a_member_json_with_foreign_files_costs_no_weights(hub: Hub, folder: Path) -> None:
    text = json.loads((folder / "m0" / "member.json").read_text())
    text["files"]["../../secret"] = "0" * 64
    hub.commit(REPO, ours(folder) | {"m0/member.json": json.dumps(text).encode()})
    with pytest.warns(MedsegWarning, match=r"member\.json is not the one that ensemble\.json names"):
        assert Ensemble.from_pretrained(REPO).names == ("random-1",)
    assert not any("m0/model.safetensors" in request for request in requests(hub))


def test_weights_of_another_revision_are_set_aside(hub: Hub, folder: Path) -> None:
    swapped = ours(folder) | {"m0/model.safetensors": (folder / "m1" / "model.safetensors").read_bytes()}
    hub.commit(REPO, swapped)
    with pytest.warns(MedsegWarning, match=r"model\.safetensors is not what member\.json promises"):
        assert Ensemble.from_pretrained(REPO).names == ("random-1",)


@pytest.mark.parametrize(("name", "limit"), [("m0/model.safetensors", "900,000,000"), ("ensemble.json", "1,000,000")])
def test_a_file_that_says_it_is_huge_is_not_downloaded(hub: Hub, folder: Path, name: str, limit: str) -> None:
    hub.commit(REPO, ours(folder))
    hub.listings[name] = {"size": 10**12}
    with pytest.raises(HubError, match=f"{name} has 1,000,000,000,000 bytes, over the limit of {limit}"):
        fetch(REPO)
    assert not any(name in request for request in requests(hub))


@pytest.mark.parametrize("sha", ["../../../../tmp/x", "main", "0" * 39, ""])
def test_a_commit_that_is_none_names_no_folder(hub: Hub, folder: Path, sha: str) -> None:
    hub.commit(REPO, ours(folder))
    hub.sha = sha or "\0"
    with pytest.raises(HubError, match="answers with something else than a list of files"):
        fetch(REPO)


@pytest.mark.parametrize("digest", ["../../x", "0" * 39, ""])
def test_a_hash_that_is_none_names_no_file(hub: Hub, folder: Path, digest: str) -> None:
    hub.commit(REPO, ours(folder))
    hub.listings["ensemble.json"] = {"oid": digest}
    with pytest.raises(HubError, match="answers with something else than a list of files"):
        fetch(REPO)


def test_another_commit_than_the_asked_one_is_refused(hub: Hub, folder: Path) -> None:
    asked = hub.commit(REPO, ours(folder))
    hub.sha = hub.commit(REPO, ours(folder) | {"m0/model.safetensors": b"other"})
    with pytest.raises(HubError, match=f"answers with another commit than {asked}"):
        fetch(REPO, revision=asked)


def test_a_repository_of_something_else_is_refused(hub: Hub) -> None:
    hub.commit(REPO, {"config.json": b"{}", "model.safetensors": b"x"})
    with pytest.raises(HubError, match=r"holds neither ensemble\.json nor member\.json"):
        fetch(REPO)


# --- secrets and names


def test_a_token_that_no_header_may_hold_is_not_shown(hub: Hub, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    hub.commit(REPO, ours(folder))
    monkeypatch.setattr("huggingface_hub.get_token", lambda: "hf_canary\r\nX: 1")
    with pytest.raises(HubError) as caught:
        fetch(REPO)
    assert "hf_canary" not in str(caught.value)


def test_a_damaged_member_is_called_by_its_repository(hub: Hub, member: Path) -> None:
    files = ours(member)
    hub.commit(REPO, {**files, "config.json": files["config.json"] + b" "})
    with pytest.warns(MedsegWarning), pytest.raises(DamagedError, match=f"The member {REPO} is damaged"):
        Ensemble.from_pretrained(REPO)


# --- visitors of a page


def test_a_stranger_sees_what_everybody_sees(hub: Hub, folder: Path) -> None:
    hub.commit(REPO, ours(folder))
    opened = Ensemble.from_pretrained(REPO, anonymous=True)
    assert np.array_equal(opened.predict(IMAGE).probabilities, answer(folder))
    assert not any(token for *_, token in hub.log)


def test_a_stranger_does_not_see_what_is_private_even_from_the_cache(hub: Hub, folder: Path) -> None:
    commit = hub.commit(REPO, ours(folder), private=True)
    fetch(REPO, revision=commit)
    for revision in ("main", commit):
        with pytest.raises(HubError, match="401"):
            fetch(REPO, revision=revision, anonymous=True)


def test_a_stranger_names_no_folder(hub: Hub, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(folder.parent.parent)
    with pytest.raises(InputError, match="Wanted the id of a Hub repository"):
        fetch(folder, anonymous=True)
    with pytest.raises(HubError):
        fetch(f"{folder.parent.name}/{folder.name}", anonymous=True)
