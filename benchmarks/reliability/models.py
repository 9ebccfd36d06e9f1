"""Rows that open ensembles in this process: hostile descriptions, damaged weights, hostile graphs, replays."""

from __future__ import annotations

import functools
import json
import math
import os
import random
import shutil
import sys
import tempfile
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import psutil
from safetensors.numpy import load_file, save_file

from benchmarks.reliability.row import Row, Tally
from medseg.errors import MedsegError
from medseg.image import Image
from medseg.inference import ensemble
from medseg.inference.ensemble import Ensemble
from medseg.inference.member import MemberFiles, file_sha256, read_member
from medseg.inference.replay import replay
from medseg.places import shipped
from medseg.reading.readers import read_image
from tests.conftest import make_ensemble, make_member, write_disc_pair

CANARY = "medseg-canary"
IMAGE = Image(np.random.default_rng(0).random((48, 64, 3), dtype=np.float32))
_EVENTS: list[str] = []


def _watch(event: str, arguments: tuple[Any, ...]) -> None:
    """Note each connection, and each opening of the canary."""
    if event in ("socket.connect", "socket.getaddrinfo") or (event == "open" and CANARY in str(arguments[0])):
        _EVENTS.append(event)


@functools.cache
def _work() -> Path:
    """A folder for this process, with the canary and a small ensemble `plain` in it."""
    sys.addaudithook(_watch)
    folder = Path(tempfile.mkdtemp(prefix="medseg-models-"))
    (folder / CANARY).write_text("{}")
    make_ensemble(folder / "plain", (0.75, 0.25), plain=True)
    return folder


def copied(source: Path) -> Path:
    """A copy whose large files are links."""
    target = Path(tempfile.mkdtemp(dir=_work())) / "copy"
    return Path(shutil.copytree(source, target, copy_function=_link))


def _link(source: str, target: str) -> None:
    shutil.copy(source, target) if os.path.getsize(source) < 10**5 else os.symlink(os.path.realpath(source), target)


def rehash(folder: Path) -> None:
    """Make member.json and ensemble.json agree with the files, as an attacker would; of names that no file can have
    (`isfile` says so, where Path's `is_file` raises) they do not."""
    for path in folder.glob("*/member.json"):
        described = json.loads(path.read_text())
        if isinstance(described, dict) and isinstance(described.get("files"), dict):
            names = [name for name in described["files"] if os.path.isfile(path.parent / str(name))]
            described["files"] |= {name: file_sha256(path.parent / name) for name in names}
            path.write_text(json.dumps(described))
    top = json.loads((folder / "ensemble.json").read_text())
    for member in top["members"] if isinstance(top, dict) and isinstance(top.get("members"), list) else []:
        path = folder / str(isinstance(member, dict) and member.get("source")) / "member.json"
        if os.path.isfile(path):
            member["sha256"] = file_sha256(path)
    (folder / "ensemble.json").write_text(json.dumps(top))


def outcome_of(folder: Path) -> tuple[str, str]:
    """How the ensemble in `folder` opens, and the sentence."""
    _EVENTS.clear()
    try:
        with warnings.catch_warnings(record=True):
            warnings.simplefilter("always")
            opened = Ensemble.from_pretrained(folder)
            finite = bool(np.isfinite(opened.predict(IMAGE).probabilities).all())
    except MedsegError as error:
        outcome, sentence = "refused in a sentence", str(error)
        if "\n" in sentence or len(sentence) > 1000:
            outcome = "without a sentence"
    except Exception as error:
        outcome, sentence = "without a sentence", f"{type(error).__name__} {error}"
    else:
        outcome = "left out and named" if opened.quarantined else "opened" if finite else "NOT FINITE"
        sentence = " ".join(opened.quarantined)
    return ("CONNECTED OR LOOKED ELSEWHERE" if _EVENTS else outcome), sentence


def _tried(cases: range, prepare: Callable[[int], Path]) -> Tally:
    tally, process = Tally(), psutil.Process()
    outcome_of(_work() / "plain")  # what opening loads is loaded
    for case in cases:
        folder = prepare(case)
        before, begun = process.memory_info().rss, time.monotonic()
        outcome, sentence = outcome_of(folder)
        tally.note(slowest_s=time.monotonic() - begun, most_MB=(process.memory_info().rss - before) / 2**20)
        tally.counts[outcome] += 1
        if sentence:
            tally.say(f"{sentence[:60]}")
        shutil.rmtree(folder.parent)
    return tally


# --- hostile descriptions


def _values() -> list[Any]:
    paths = [str(_work() / CANARY), f"../{CANARY}", f"../../{CANARY}", f"tu-local-dir:{_work()}/{CANARY}", "/dev/zero"]
    hosts = ["http://127.0.0.1:1/x", "hf_hub:other/repo", "tu-hf_hub:other/repo", "tu-hf-hub:127.0.0.1/x", "other/repo"]
    words = ["", "\n", "os.system", "__class__", "a" * 100_000, "\ud800", "resnet152", "tu-vit_giant_patch14_dinov2"]
    numbers = [0, -1, 1, 7, 10**9, 10**30, 1e300, -0.5, math.nan, math.inf, True, None]
    nests: list[Any] = [[], {}, [[]], [0] * 10_000, {"a": {"b": 1}}, [1, "a"], {"": ""}, [None]]
    return [*paths, *hosts, *words, *numbers, *nests]


def _places(value: Any, place: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Every place in a JSON value, as the keys that lead to it."""
    pairs = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [inner for key, entry in pairs for inner in ((*place, key), *_places(entry, (*place, key)))]


def hostile(case: int) -> Path:
    """An ensemble, the small one or the embedded one, with one to three values of its descriptions changed."""
    draw = random.Random(case)  # noqa: S311
    folder = copied(_work() / "plain" if case % 2 else shipped("assets/ensembles/polyp"))
    member = draw.choice(sorted(folder.glob("*/member.json"))).parent
    if draw.random() < 0.5:
        (member / "graph.onnx").unlink()  # so that torch builds the network
        described = json.loads((member / "member.json").read_text())
        described["files"].pop("graph.onnx", None)
        (member / "member.json").write_text(json.dumps(described))
    path = draw.choice([member / "config.json", member / "member.json", folder / "ensemble.json"])
    settings = json.loads(path.read_text())
    for _ in range(draw.randrange(1, 4)):
        _spoil(settings, draw)
    path.write_text(json.dumps(settings))
    rehash(folder)
    return folder


def _spoil(settings: Any, draw: random.Random) -> None:
    places = _places(settings)
    if not places:
        return
    *keys, last = draw.choice(places)
    holder = functools.reduce(lambda inner, key: inner[key], keys, settings)
    kind = draw.random()
    if kind < 0.1 and isinstance(holder, dict):
        del holder[last]
    elif kind < 0.2 and isinstance(holder, dict):
        holder[draw.choice(["checkpoint_path", "url", "auto_map", "x" * 1000])] = draw.choice(_values())
    else:
        holder[last] = draw.choice(_values())


# --- damaged weights


def damaged(case: int) -> Path:
    """The small ensemble with one member's weights damaged; of half the cases, with hashes that agree."""
    draw = random.Random(case)  # noqa: S311
    folder = copied(_work() / "plain")
    path = folder / f"m{case % 2}" / "model.safetensors"
    content = bytearray(path.read_bytes())
    kind = case % 8
    if kind < 4:
        tensors = load_file(path)
        _change_tensor(tensors, ("not finite", "shape", "missing", "added")[kind], draw)
        save_file(tensors, path)
        rehash(folder)
    elif kind == 4:
        path.write_bytes(content[: draw.randrange(len(content))])
    elif kind == 5:
        at = draw.randrange(len(content))
        content[at : at + draw.randrange(1, 64)] = os.urandom(64)
        path.write_bytes(content)
    elif kind == 6:
        content[draw.randrange(len(content))] ^= 1 << draw.randrange(8)
        path.write_bytes(content)
    else:
        shutil.copytree(folder / f"m{1 - case % 2}", path.parent, dirs_exist_ok=True)
    return folder


def _change_tensor(tensors: dict[str, Any], kind: str, draw: random.Random) -> None:
    name = draw.choice(sorted(name for name, value in tensors.items() if value.ndim))
    if kind == "not finite":
        tensors[name] = tensors[name].copy()
        tensors[name].flat[draw.randrange(tensors[name].size)] = draw.choice([math.nan, math.inf, -math.inf])
    elif kind == "shape":
        tensors[name] = np.concatenate([tensors[name], tensors[name]])
    elif kind == "missing":
        del tensors[name]
    else:
        tensors[f"{name}.more"] = tensors[name]


# --- graphs and replays


def run_graphs(cases: range) -> Tally:
    from tests.inference.test_graph_check import BYTES, REFUSED, changed, graph_of, open_graph

    opened, tally = _small_member(), Tally()
    contents: list[Callable[[], bytes]] = [*(functools.partial(changed, opened, change) for change in REFUSED.values()),
                *(functools.partial(change, graph_of(opened)) for change in BYTES.values())]  # fmt: skip
    for case in cases:
        content, begun = contents[case % len(contents)](), time.monotonic()
        try:
            open_graph(content, opened)
            tally.counts["OPENED"] += 1
        except ValueError:
            tally.counts["refused in a sentence"] += 1
        tally.note(slowest_s=time.monotonic() - begun)
    return tally


@functools.cache
def _small_member() -> MemberFiles:
    make_member(_work() / "graphs", "plain", 0, plain=True)
    return read_member(_work() / "graphs")


def run_replays(cases: range) -> Tally:
    """Reports of the embedded ensemble at drawn weights and thresholds, made true again from the file."""
    tally, opened = Tally(), Ensemble.from_pretrained(shipped("assets/ensembles/polyp"))
    ensemble._cache = ensemble.ArrayCache(0)  # the networks run again
    for case in cases:
        draw = random.Random(case)  # noqa: S311
        write_disc_pair(_work(), "replayed", case, (64, 80))
        path = _work() / "images" / "replayed.png"
        weights = [draw.random() + 0.01 for _ in opened.members]
        report = opened.predict(read_image(path), weights=weights, threshold=draw.uniform(0.2, 0.8)).report()
        again = replay(json.loads(json.dumps(report)), path, opened)
        tally.counts["DIFFERENT" if again.differences else "equal to the bit"] += 1
    return tally


OPENED = ("refused in a sentence", "left out and named")
NEVER = ("without a sentence", "NOT FINITE", "CONNECTED OR LOOKED ELSEWHERE")

ROWS = (
    Row("configs", "M1", "a hostile description builds nothing large, opens no other path and no connection", "hostile "
        "config.json, member.json and ensemble.json, with hashes that agree", 12, 1000, 20,
        lambda cases: _tried(cases, hostile), (*OPENED, "opened"), NEVER, {"slowest s": 1, "most MB": 200}),
    Row("weights", "M3", "damaged weights are detected: the member is left out and named", "damages of 8 kinds", 16,
        1000, 50, lambda cases: _tried(cases, damaged), OPENED, ("opened", *NEVER), {"slowest s": 1}),
    Row("graphs", "M4", "a hostile graph is refused before anything opens it", "graphs", 30, 300, 100, run_graphs,
        ("refused in a sentence",), ("OPENED",), {"slowest s": 1}),
    Row("replays", "A1", "a report says which models, settings and image gave its mask, and gives it again", "replays",
        4, 1000, 25, run_replays, ("equal to the bit",), ("DIFFERENT",)),
)  # fmt: skip
