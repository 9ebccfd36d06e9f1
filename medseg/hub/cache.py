"""The Hub client's own cache, read with distrust.

    models--owner--name/blobs/<hash>                    every file once, under git's hash of it, or its sha256 where LFS
    models--owner--name/snapshots/<commit>/<path>       a link to its blob
    models--owner--name/refs/<branch>                   the branch's commit

The layout is documented by huggingface_hub, so that files which it fetched are found here and the other way round. The
client takes what lies there for good; here a file counts only where it has the hash that its blob is named after.
"""

from __future__ import annotations

import contextlib
import datetime
import hashlib
import os
import re
import shutil
import uuid
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from medseg.errors import HubError
from medseg.writing import replacing

DIGEST = re.compile(r"[0-9a-f]{40}|[0-9a-f]{64}")


@dataclass(frozen=True)
class Cache:
    """The cache of one repository."""

    folder: Path

    def snapshot(self, commit: str) -> Path:
        return self.folder / "snapshots" / commit

    def commit_of(self, revision: str) -> str | None:
        """The commit that `revision` stood for when it was last asked for, or None."""
        try:
            return (self.folder / "refs" / revision).read_text(encoding="ascii").strip()
        except (OSError, ValueError):
            return None

    def asked_on(self, revision: str) -> str:
        """The date when `revision` was last asked for."""
        seconds = (self.folder / "refs" / revision).stat().st_mtime
        return datetime.datetime.fromtimestamp(seconds, datetime.UTC).strftime("%Y-%m-%d")

    def remember(self, revision: str, commit: str) -> None:
        """Note what `revision` stands for today. A cache that cannot be written stays as it is."""
        try:
            path = self.folder / "refs" / revision
            path.parent.mkdir(parents=True, exist_ok=True)
            with replacing(path) as writing:
                writing.write_text(commit, encoding="ascii")
        except OSError:
            pass

    def has(self, commit: str, name: str, digest: str) -> bool:
        """Whether the file `name` of `commit` lies here undamaged; one that another commit brought is linked."""
        path, blob = self.snapshot(commit) / name, self.folder / "blobs" / digest
        if blob_name(path) in (digest, None) and has_digest(path, digest):
            return True
        if not has_digest(blob, digest):
            return False
        with _writing(self.folder):
            _link(blob, path)
        return True

    def store(self, commit: str, name: str, digest: str, pieces: Iterable[bytes]) -> bool:
        """Keep `pieces` as the file `name` of `commit`; False, and nothing is kept, where they have another hash.

        Then a damaged one in its place goes too, so that nobody takes it for good. Raises HubError where the cache
        cannot be written.
        """
        blob = self.folder / "blobs" / digest
        temporary = blob.with_name(f"{digest}.{uuid.uuid4().hex[:8]}.incomplete")
        with _writing(self.folder):
            blob.parent.mkdir(parents=True, exist_ok=True)
            try:
                with temporary.open("wb") as stream:
                    for piece in pieces:
                        stream.write(piece)
                if not has_digest(temporary, digest):
                    _drop_damaged(self.snapshot(commit) / name, blob)
                    return False
                temporary.replace(blob)
            finally:
                temporary.unlink(missing_ok=True)
            _link(blob, self.snapshot(commit) / name)
        return True


def _drop_damaged(path: Path, blob: Path) -> None:
    for place in (path, blob):
        if not has_digest(place, blob.name):  # or another process has just brought a good one
            place.unlink(missing_ok=True)


@contextlib.contextmanager
def _writing(folder: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise HubError(
            f"The Hub's cache {folder} cannot be written ({error.strerror}): free some space, or let HF_HOME name "
            "another folder."
        ) from None


def cache_of(repository: str) -> Cache:
    from huggingface_hub import constants

    return Cache(Path(constants.HF_HUB_CACHE) / f"models--{repository.replace('/', '--')}")


def shown_name(folder: Path) -> str:
    """What a sentence calls `folder`: its own name, or of a snapshot the repository's, since a commit says nothing."""
    repository = folder.parent.parent.name
    if folder.parent.name == "snapshots" and repository.startswith("models--"):
        return repository.removeprefix("models--").replace("--", "/", 1)
    return folder.name


def is_intact(path: Path) -> bool:
    """Whether the file of a snapshot has the hash that its blob is named after.

    Where the system has no links the name is lost, and only the hashes in member.json and ensemble.json are left.
    """
    name = blob_name(path)
    return path.is_file() if name is None else has_digest(path, name)


def blob_name(path: Path) -> str | None:
    """The name of the blob that `path` links to; a blob may be a link in turn, to the client's shared store."""
    return Path(os.readlink(path)).name if path.is_symlink() else None


def has_digest(path: Path, digest: str) -> bool:
    """Whether the file has this sha256 (64 digits), or this hash as a git blob (40 digits)."""
    if not DIGEST.fullmatch(digest):
        return False
    digested = hashlib.sha256() if len(digest) == 64 else hashlib.sha1(usedforsecurity=False)
    try:
        with path.open("rb") as stream:
            if len(digest) == 40:
                digested.update(b"blob %d\0" % os.fstat(stream.fileno()).st_size)
            while piece := stream.read(2**20):
                digested.update(piece)
    except OSError:
        return False
    return digested.hexdigest() == digest


def _link(blob: Path, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with replacing(path) as link:
        try:
            link.symlink_to(os.path.relpath(blob, path.parent))
        except OSError:  # Windows allows links to few
            shutil.copyfile(blob, link)
