"""A Hub on a bad day: whatever it does, the ensemble is the right one, or there is a refusal in one sentence."""

from __future__ import annotations

import json
import shutil
import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from huggingface_hub import constants

from medseg.errors import HubError, MedsegError, MedsegWarning
from medseg.hub import download
from medseg.hub import fetch as the_fetch
from medseg.hub.fetch import fetch
from medseg.image import Image
from medseg.inference import ensemble
from medseg.inference.ensemble import Ensemble
from tests.hub_server import FAULTS, REPO, Hub

IMAGE = Image(np.random.default_rng(0).random((40, 56, 3), dtype=np.float32))
STATUSES = (401, 403, 404, 409, 412, 429, 500, 503)
PLACES = {"listing": "/api/models/", "description": "/ensemble.json", "weights": "GET /lfs/"}
EVERY = [(fault, place) for place in PLACES for fault in (*STATUSES, *FAULTS)]
SILENT = ("hang", "drip", "trickle")


@pytest.fixture(autouse=True)
def patience(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> Callable[[float], None]:
    """Short deadlines while the Hub is silent, and none that a busy machine could miss while it answers; and every
    prediction runs its networks, so that nothing hides what was loaded. Sets the deadlines in seconds."""
    break_, mend = hub.break_, hub.mend

    def patience(seconds: float) -> None:
        monkeypatch.setattr(download, "PATIENCE_S", seconds)
        monkeypatch.setattr(the_fetch, "SHORT_PATIENCE_S", seconds)

    def breaking(pattern: str, fault: str | int, **times: int) -> None:
        patience(0.3 if fault in SILENT else 60.0)
        break_(pattern, fault, **times)

    def mending() -> None:
        patience(60.0)
        mend()

    patience(60.0)
    monkeypatch.setattr(hub, "break_", breaking)
    monkeypatch.setattr(hub, "mend", mending)
    monkeypatch.setattr(ensemble, "_cache", ensemble.ArrayCache(0))
    return patience


@pytest.fixture(scope="module")
def right(plain_ensemble: Path) -> np.ndarray:
    return answer(Ensemble.from_pretrained(plain_ensemble))


@pytest.fixture
def published(hub: Hub, plain_ensemble: Path) -> dict[str, bytes]:
    """The files of the repository."""
    found = {str(p.relative_to(plain_ensemble)): p.read_bytes() for p in plain_ensemble.rglob("*") if p.is_file()}
    hub.commit(REPO, found)
    return found


def answer(opened: Ensemble) -> np.ndarray:
    return opened.predict(IMAGE).probabilities


def start() -> tuple[Ensemble | None, list[str]]:
    """What the repository opens as, or None, and the refusal or the warnings, each one line."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            opened, refusals = Ensemble.from_pretrained(REPO), []
        except MedsegError as error:
            opened, refusals = None, [str(error)]
    said = refusals + [str(warning.message) for warning in caught if warning.category is MedsegWarning]
    assert all(sentence and "\n" not in sentence for sentence in said)
    return opened, said


def is_never_wrong(opened: Ensemble | None, right: np.ndarray) -> bool:
    """Refused, a member named as left out, or the right prediction."""
    return opened is None or bool(opened.quarantined) or np.array_equal(answer(opened), right)


def cached(name: str = "") -> Path:
    """The snapshot in the cache, or the blob of one of its files."""
    (snapshot,) = (Path(constants.HF_HUB_CACHE) / "models--tester--net" / "snapshots").iterdir()
    return (snapshot / name).resolve()


def spoil(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)


@pytest.mark.parametrize(("fault", "place"), EVERY)
def test_a_cold_start_is_refused_and_leaves_nothing_wrong_behind(
    hub: Hub, published: dict[str, bytes], right: np.ndarray, fault: str | int, place: str
) -> None:
    hub.break_(PLACES[place], fault)
    opened, said = start()
    if (fault, place) == ("alter", "listing"):  # the flipped bit may lie where it matters to nobody
        assert is_never_wrong(opened, right)
    else:
        assert opened is None
        assert REPO in said[0] or "has no usable member" in said[0]
    assert list(Path(constants.HF_HUB_CACHE).rglob("*.incomplete")) == []
    hub.mend()
    hub.start()  # where it vanished
    opened, _ = start()
    assert opened is not None
    assert np.array_equal(answer(opened), right)


@pytest.mark.usefixtures("published")
@pytest.mark.parametrize(("fault", "place"), EVERY)
def test_a_warm_start_goes_on_from_the_cache(
    hub: Hub, right: np.ndarray, patience: Callable[[float], None], fault: str | int, place: str
) -> None:
    fetch(REPO)
    hub.break_(PLACES[place], fault)
    if place != "listing":  # nothing else is asked for
        patience(60.0)
    opened, said = start()
    assert opened is not None
    assert opened.quarantined == ()
    assert np.array_equal(answer(opened), right)
    if place != "listing":
        assert said == []
    elif fault != "alter":
        assert f"{REPO} is taken from the cache of 20" in said[0]


@pytest.mark.usefixtures("published")
@pytest.mark.parametrize(("fault", "place"), EVERY)
def test_a_damaged_cache_is_repaired_or_refused(
    hub: Hub, right: np.ndarray, patience: Callable[[float], None], fault: str | int, place: str
) -> None:
    fetch(REPO)
    spoil(cached("m0/model.safetensors"))
    hub.break_(PLACES[place], fault)
    if place == "description":  # nobody asks for it
        patience(60.0)
    opened, _ = start()
    assert is_never_wrong(opened, right)
    if place == "description":
        assert opened is not None
        assert opened.quarantined == ()


@pytest.mark.parametrize("fault", [*STATUSES, *FAULTS])
def test_a_new_commit_that_does_not_arrive_leaves_the_old_one(
    hub: Hub, published: dict[str, bytes], right: np.ndarray, fault: str | int
) -> None:
    fetch(REPO)
    settings = json.loads(published["ensemble.json"]) | {"threshold": 0.25}
    hub.commit(REPO, published | {"ensemble.json": json.dumps(settings).encode()})
    hub.break_(PLACES["description"], fault)
    opened, said = start()
    assert opened is not None
    assert opened.config.threshold == 0.5
    assert f"{REPO} is taken from the cache of 20" in said[0]


# --- no Hub at all


def test_a_closed_port_is_refused_cold(hub: Hub) -> None:
    hub.stop()
    with pytest.raises(HubError, match=r"tester/net: the Hub \(127\.0\.0\.1:\d+\) cannot be reached"):
        fetch(REPO)


def test_a_closed_port_does_not_stop_a_warm_start(hub: Hub, published: dict[str, bytes], right: np.ndarray) -> None:
    fetch(REPO)
    hub.stop()
    opened, said = start()
    assert opened is not None
    assert np.array_equal(answer(opened), right)
    assert "cannot be reached" in said[0]
    assert "from the cache of 20" in said[0]


def test_a_closed_port_and_a_damaged_cache_are_refused(hub: Hub, published: dict[str, bytes]) -> None:
    fetch(REPO)
    spoil(cached("m0/model.safetensors"))
    hub.stop()
    assert start()[0] is None


# --- what the refusal says


@pytest.mark.parametrize(
    ("fault", "sentence"),
    [
        (401, "wants a token that has access (401): set HF_TOKEN"),
        (403, "refuses access with this token (403)"),
        (404, "no such repository, revision or file"),
        (429, "(429): try again after 3600 s"),
        (503, "a fault of its own (503)"),
        ("hang", "does not answer, or too slowly"),
        ("drip", "does not answer, or too slowly"),
        ("trickle", "does not answer, or too slowly"),
        ("cut", "broke off its answer"),
        ("html", "Is HF_ENDPOINT right, and no login page in between?"),
    ],
)
def test_the_refusal_names_the_cause(hub: Hub, published: dict[str, bytes], fault: str | int, sentence: str) -> None:
    hub.break_(PLACES["listing"], fault)
    with pytest.raises(HubError) as caught:
        fetch(REPO)
    assert sentence in str(caught.value)
    assert "hf_tester" not in str(caught.value)


# --- damage, once and for good


def test_a_file_that_arrives_damaged_is_asked_for_once_more(
    hub: Hub, published: dict[str, bytes], right: np.ndarray
) -> None:
    hub.break_("/lfs/", "alter", times=1)
    opened, said = start()
    assert opened is not None
    assert np.array_equal(answer(opened), right)
    assert said == []


def test_a_member_that_always_arrives_damaged_is_left_out(hub: Hub, published: dict[str, bytes]) -> None:
    hub.break_("/m0/config.json", "alter")
    opened, said = start()
    assert opened is not None
    assert opened.names == ("random-1",)
    assert said == [f"{opened.quarantined[0]} The ensemble goes on without it."]


@pytest.mark.parametrize("name", ["ensemble.json", "m0/member.json", "m0/config.json", "m1/model.safetensors"])
@pytest.mark.parametrize("damage", ["spoil", "truncate", "remove"])
def test_every_damaged_file_of_the_cache_is_fetched_anew(
    hub: Hub, published: dict[str, bytes], right: np.ndarray, name: str, damage: str
) -> None:
    fetch(REPO)
    blob = cached(name)
    {"spoil": spoil, "truncate": lambda p: p.write_bytes(p.read_bytes()[:-9]), "remove": Path.unlink}[damage](blob)
    opened, said = start()
    assert opened is not None
    assert np.array_equal(answer(opened), right)
    assert said == []
    assert blob.read_bytes() == published[name]


def test_a_commit_in_a_damaged_cache_is_refused_offline(
    hub: Hub, published: dict[str, bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    fetch(REPO)
    spoil(cached("ensemble.json"))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(HubError, match="is not whole in the cache"):
        fetch(REPO)


# --- a cache that cannot be written


def test_a_cache_that_cannot_be_written_is_named(hub: Hub, published: dict[str, bytes]) -> None:
    fetch(REPO)
    spoil(cached("ensemble.json"))
    blobs = cached("ensemble.json").parent
    shutil.rmtree(blobs)
    blobs.write_text("in the way")
    with pytest.raises(HubError, match=r"The Hub's cache .* cannot be written \(.*\): free some space"):
        fetch(REPO)


def test_a_whole_cache_answers_though_nothing_can_be_noted_in_it(
    hub: Hub, published: dict[str, bytes], right: np.ndarray
) -> None:
    fetch(REPO)
    refs = cached().parents[1] / "refs"
    shutil.rmtree(refs)
    refs.write_text("in the way")
    opened, said = start()
    assert opened is not None
    assert np.array_equal(answer(opened), right)
    assert said == []
