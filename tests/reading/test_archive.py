"""Zip files: unpacked once, whole, and never outside their folder."""

from __future__ import annotations

import os
import stat
import zipfile
from pathlib import Path

import pytest

from medseg.errors import InputError
from medseg.reading import archive
from medseg.reading.archive import unpack_into, unpack_zip


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("MEDSEG_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache" / "archives"


def packed(folder: Path, **files: str) -> Path:
    with zipfile.ZipFile(folder / "data.zip", "w", zipfile.ZIP_DEFLATED) as file:
        for name, content in files.items():
            file.writestr(name.replace("__", "/"), content)
    return folder / "data.zip"


def test_a_single_folder_at_the_top_is_the_content(tmp_path: Path) -> None:
    path = packed(tmp_path, set__images__a="1", set__masks__a="2")
    with zipfile.ZipFile(path, "a") as file:
        file.writestr("__MACOSX/set/._a", "")
    folder = unpack_zip(path)
    assert folder.name == "set"
    assert (folder / "masks" / "a").read_text() == "2"


def test_a_zip_is_unpacked_once_and_anew_when_changed(tmp_path: Path) -> None:
    path = packed(tmp_path, a="1", b="1")
    folder = unpack_zip(path)
    (folder / "a").write_text("still here")
    assert (unpack_zip(path) / "a").read_text() == "still here"
    packed(tmp_path, a="22", b="1")
    assert (unpack_zip(path) / "a").read_text() == "22"


@pytest.mark.parametrize("name", ["../out", "a/../../out", "/etc/out", "..\\out", "C:\\out", "C:out"])
def test_a_member_that_points_outside_is_refused(tmp_path: Path, cache: Path, name: str) -> None:
    with zipfile.ZipFile(tmp_path / "data.zip", "w") as file:
        file.writestr("good", "1")
        file.writestr(name, "1")
    with pytest.raises(InputError, match="points outside it"):
        unpack_zip(tmp_path / "data.zip")
    assert list(cache.iterdir()) == []
    assert not list(tmp_path.rglob("out"))


def test_a_link_is_refused(tmp_path: Path) -> None:
    link = zipfile.ZipInfo("link")
    link.external_attr = (stat.S_IFLNK | 0o777) << 16
    with zipfile.ZipFile(tmp_path / "data.zip", "w") as file:
        file.writestr(link, "/etc/passwd")
    with pytest.raises(InputError, match="'link', which points outside it"):
        unpack_zip(tmp_path / "data.zip")


@pytest.mark.parametrize(("limit", "value"), [("MAX_BYTES", 2**20), ("MAX_FILES", 1)])
def test_a_bomb_is_refused_before_it_is_written(
    tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch, limit: str, value: int
) -> None:
    monkeypatch.setattr(archive, limit, value)
    path = packed(tmp_path, a="0" * 2**21, b="")
    assert path.stat().st_size < 2**12
    with pytest.raises(InputError, match="declares 2 files of 2 MiB in all"):
        unpack_zip(path)
    assert list(cache.iterdir()) == []


@pytest.mark.parametrize(("files", "size"), [(1, 2**20), (2, 7)])
def test_a_caller_may_allow_less(tmp_path: Path, files: int, size: int) -> None:
    path = packed(tmp_path, a="1234", b="1234")
    with pytest.raises(InputError, match=f"{files} files of {size // 2**20} MiB are allowed here"):
        unpack_into(tmp_path / "out", path, files, size)
    assert list((tmp_path / "out").iterdir()) == []


def test_a_member_longer_than_declared_is_not_unpacked(tmp_path: Path, cache: Path) -> None:
    path = packed(tmp_path, a="0" * 4096, b="")
    content = bytearray(path.read_bytes())
    for at in range(len(content) - 4):
        if content[at : at + 4] == (4096).to_bytes(4, "little"):
            content[at : at + 4] = (16).to_bytes(4, "little")
    path.write_bytes(content)
    with pytest.raises(InputError, match=r"data\.zip cannot be unpacked .*download it again"):
        unpack_zip(path)
    assert list(cache.iterdir()) == []


@pytest.mark.parametrize("content", [b"", b"no zip", b"PK\x03\x04" + b"\0" * 40])
def test_what_is_no_zip_is_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "data.zip").write_bytes(content)
    with pytest.raises(InputError, match="cannot be unpacked"):
        unpack_zip(tmp_path / "data.zip")


def test_a_zip_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"data\.zip cannot be read: " + os.strerror(2)):
        unpack_zip(tmp_path / "data.zip")


def test_an_encrypted_zip_is_refused_as_one(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.writestr("a.txt", "a")
    content = bytearray((tmp_path / "a.zip").read_bytes())
    content[6] |= 1  # the flags of the member, here and in the directory at the end
    content[content.index(b"PK\1\2") + 8] |= 1
    (tmp_path / "a.zip").write_bytes(content)
    with pytest.raises(InputError, match="The zip is encrypted"):
        unpack_into(tmp_path / "new", tmp_path / "a.zip")
