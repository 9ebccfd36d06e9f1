"""The Hub client's cache: which hash is which, and what is kept."""

from __future__ import annotations

from pathlib import Path

import pytest

from medseg.hub.cache import Cache, blob_name, has_digest, is_intact

HELLO = b"hello\n"
GIT = "ce013625030ba8dba906f756967f9e9ca394464a"  # `echo hello | git hash-object --stdin`
SHA256 = "5891b5b522d5df086d0ff0b110fbd9d21bb4fc7163af34d08286a2e846f6be03"  # `echo hello | sha256sum`
COMMIT = "c" * 40


@pytest.fixture
def cache(tmp_path: Path) -> Cache:
    return Cache(tmp_path / "models--tester--net")


@pytest.mark.parametrize("digest", [GIT, SHA256])
def test_a_file_has_the_hash_of_git_and_its_sha256(tmp_path: Path, digest: str) -> None:
    (tmp_path / "hello").write_bytes(HELLO)
    assert has_digest(tmp_path / "hello", digest)
    (tmp_path / "hello").write_bytes(b"hullo\n")
    assert not has_digest(tmp_path / "hello", digest)


def test_a_file_that_is_not_there_has_no_hash(tmp_path: Path) -> None:
    assert not has_digest(tmp_path / "hello", GIT)


def test_what_is_stored_is_there_under_its_name(cache: Cache) -> None:
    assert cache.store(COMMIT, "a/hello", GIT, [HELLO[:3], HELLO[3:]])
    path = cache.snapshot(COMMIT) / "a" / "hello"
    assert path.read_bytes() == HELLO
    assert blob_name(path) == GIT
    assert is_intact(path)


def test_what_has_another_hash_is_not_kept(cache: Cache) -> None:
    assert not cache.store(COMMIT, "hello", GIT, [b"hullo\n"])
    assert [path for path in cache.folder.rglob("*") if path.is_file()] == []


def test_a_damaged_file_is_gone_though_the_new_one_does_not_arrive(cache: Cache) -> None:
    cache.store(COMMIT, "hello", GIT, [HELLO])
    (cache.folder / "blobs" / GIT).write_bytes(b"hullo\n")
    assert not cache.store(COMMIT, "hello", GIT, [b"hallo\n"])
    assert [path for path in cache.folder.rglob("*") if not path.is_dir()] == []


def test_what_breaks_off_is_not_kept(cache: Cache) -> None:
    def broken_off() -> object:
        yield HELLO[:3]
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        cache.store(COMMIT, "hello", GIT, broken_off())
    assert [path for path in cache.folder.rglob("*") if path.is_file()] == []


def test_a_blob_of_another_commit_is_linked(cache: Cache) -> None:
    cache.store(COMMIT, "hello", GIT, [HELLO])
    assert cache.has("d" * 40, "hello", GIT)
    assert (cache.snapshot("d" * 40) / "hello").read_bytes() == HELLO


def test_an_altered_file_is_neither_intact_nor_had(cache: Cache) -> None:
    cache.store(COMMIT, "hello", GIT, [HELLO])
    (cache.folder / "blobs" / GIT).write_bytes(b"hullo\n")
    assert not is_intact(cache.snapshot(COMMIT) / "hello")
    assert not cache.has(COMMIT, "hello", GIT)


def test_without_links_a_file_is_copied_and_still_found(cache: Cache, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise OSError

    monkeypatch.setattr(Path, "symlink_to", refuse)
    cache.store(COMMIT, "hello", GIT, [HELLO])
    assert blob_name(cache.snapshot(COMMIT) / "hello") is None
    assert cache.has(COMMIT, "hello", GIT)


def test_a_branch_is_remembered(cache: Cache) -> None:
    assert cache.commit_of("feature/x") is None
    cache.remember("feature/x", COMMIT)
    assert cache.commit_of("feature/x") == COMMIT
    assert cache.asked_on("feature/x").startswith("20")
