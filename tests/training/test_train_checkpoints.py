"""Checkpoints and member folders under every kind of interruption: what is found afterwards is whole or not there."""

from __future__ import annotations

import contextlib
import os
import resource
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

from medseg.errors import InputError
from medseg.training import checkpoints


class Killed(BaseException):
    """Stands for kill -9: no handler of the code under test may run on it."""


def fill(folder: Path, epochs: int) -> list[Path]:
    """Checkpoints after each of `epochs`; returns those that are kept, oldest first."""
    for epoch in range(1, epochs + 1):
        checkpoints.save(folder, epoch, {"epoch": epoch, "tensor": torch.full((64,), float(epoch))})
    return sorted(folder.glob("epoch-*"))


def newest(folder: Path) -> Any:
    state = checkpoints.load_newest(folder)
    return state and state["epoch"]


def test_the_newest_comes_back_and_two_are_kept(tmp_path: Path) -> None:
    assert newest(tmp_path / "none") is None
    assert len(fill(tmp_path, 11)) == 2
    state = checkpoints.load_newest(tmp_path)
    assert state is not None
    assert state["epoch"] == 11
    assert torch.equal(state["tensor"], torch.full((64,), 11.0))


def truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-100])


def empty(path: Path) -> None:
    path.write_bytes(b"")


def flip_a_bit(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


@pytest.mark.parametrize("damage", [truncate, empty, flip_a_bit])
def test_a_damaged_newest_gives_way_to_the_older_one(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], damage: Any
) -> None:
    _, last = fill(tmp_path, 3)
    damage(last)
    assert newest(tmp_path) == 2
    assert f"{last} is damaged and passed over" in capsys.readouterr().out


def test_a_damaged_one_never_pushes_a_whole_one_out(tmp_path: Path) -> None:
    for path in fill(tmp_path, 5):
        truncate(path)
    assert newest(tmp_path) is None
    fill(tmp_path, 1)  # the run starts again from nothing
    assert newest(tmp_path) == 1
    assert len(list(tmp_path.iterdir())) == 1
    fill(tmp_path, 2)
    assert len(list(tmp_path.iterdir())) == 2


@pytest.mark.parametrize("place", ["torch.save", "os.fsync", "Path.replace"])
def test_a_kill_inside_a_save_leaves_the_checkpoint_before(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, place: str
) -> None:
    fill(tmp_path, 2)

    def killed(*arguments: Any) -> None:
        if place == "torch.save":
            arguments[1].write(b"half of it")
        raise Killed

    owner: Any = {"torch.save": torch, "os.fsync": os, "Path.replace": Path}[place]
    with monkeypatch.context() as patch:
        patch.setattr(owner, place.split(".")[1], killed)
        with pytest.raises(Killed):
            checkpoints.save(tmp_path, 3, {"epoch": 3})
    assert newest(tmp_path) == 2
    checkpoints.save(tmp_path, 3, {"epoch": 3})
    assert newest(tmp_path) == 3
    assert not (tmp_path / ".writing").exists()


def test_a_checkpoint_within_an_epoch_comes_after_the_epoch_and_before_the_next(tmp_path: Path) -> None:
    for epoch, step in ((1, 0), (1, 9), (1, 10), (2, 0)):
        checkpoints.save(tmp_path, epoch, {"epoch": (epoch, step)}, step=step)
        assert newest(tmp_path) == (epoch, step)
        assert len(list(tmp_path.iterdir())) <= 2


@contextlib.contextmanager
def small_files() -> Iterator[None]:
    """No file may grow beyond 10 kB, which fails as a full disk does. No fixture: pytest's own log would be one."""
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, limits[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)


def test_a_full_disk_is_named_and_costs_nothing_that_was_there(tmp_path: Path) -> None:
    fill(tmp_path, 2)
    with (
        small_files(),
        pytest.raises(InputError, match=r"cannot be written \(.*make room, then give the same"),
    ):
        checkpoints.save(tmp_path, 3, {"epoch": 3, "tensor": torch.zeros(10_000)})
    assert newest(tmp_path) == 2


def test_a_full_disk_leaves_the_member_before(tmp_path: Path) -> None:
    folder = tmp_path / "member"
    checkpoints.replace_folder(folder, put("one"))

    def write(writing: Path) -> None:
        writing.mkdir()
        save_file({"a": torch.zeros(10_000)}, writing / "model.safetensors")

    with small_files(), pytest.raises(InputError, match="make room"):
        checkpoints.replace_folder(folder, write)
    assert content(folder) == "one"


def put(text: str) -> Any:
    def write(folder: Path) -> None:
        folder.mkdir()
        (folder / "file").write_text(text, encoding="utf-8")

    return write


def content(folder: Path) -> str:
    return (folder / "file").read_text(encoding="utf-8")


def test_a_folder_is_replaced_as_a_whole_and_leaves_nothing_beside_it(tmp_path: Path) -> None:
    folder = tmp_path / "member"
    for text in ("one", "two"):
        checkpoints.replace_folder(folder, put(text))
        assert content(folder) == text
        assert list(tmp_path.iterdir()) == [folder]


def test_all_that_is_written_is_on_the_disk_before_the_folder_gets_its_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    done: list[int | str] = []
    fsync, rename = os.fsync, Path.rename

    def noted_fsync(handle: int) -> None:
        done.append(os.fstat(handle).st_ino)
        fsync(handle)

    def noted_rename(self: Path, target: Path) -> Path:
        done.append("rename")
        return rename(self, target)

    monkeypatch.setattr(os, "fsync", noted_fsync)
    monkeypatch.setattr(Path, "rename", noted_rename)
    folder = tmp_path / "member"
    checkpoints.replace_folder(folder, put("one"))
    numbers = [path.stat().st_ino for path in (folder / "file", folder, tmp_path)]
    assert done == [*numbers[:2], "rename", numbers[2]]


def test_a_kill_while_the_folder_is_written_leaves_the_old_one(tmp_path: Path) -> None:
    folder = tmp_path / "member"
    checkpoints.replace_folder(folder, put("one"))

    def killed(writing: Path) -> None:
        put("half of tw")(writing)
        raise Killed

    with pytest.raises(Killed):
        checkpoints.replace_folder(folder, killed)
    checkpoints.recover_folder(folder)
    assert content(folder) == "one"
    checkpoints.replace_folder(folder, put("two"))
    assert content(folder) == "two"
    assert list(tmp_path.iterdir()) == [folder]


@pytest.mark.parametrize("renames", [0, 1, 2])
def test_a_kill_between_the_renames_is_put_right(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, renames: int) -> None:
    folder = tmp_path / "member"
    checkpoints.replace_folder(folder, put("one"))
    rename, done = Path.rename, 0

    def killed(self: Path, target: Path) -> Path:
        nonlocal done
        if done == renames:
            raise Killed
        done += 1
        return rename(self, target)

    with monkeypatch.context() as patch:
        patch.setattr(Path, "rename", killed)
        if renames < 2:
            with pytest.raises(Killed):
                checkpoints.replace_folder(folder, put("two"))
        else:
            checkpoints.replace_folder(folder, put("two"))
    checkpoints.recover_folder(folder)
    assert content(folder) == ("two" if renames == 2 else "one")


def test_a_run_without_one_whole_checkpoint_says_that_it_begins_anew(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for path in fill(tmp_path, 2):
        empty(path)
    assert newest(tmp_path) is None
    assert "is whole: the run begins anew" in capsys.readouterr().out
