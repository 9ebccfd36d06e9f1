"""What the Hub says a commit of a repository holds."""

from __future__ import annotations

import json
from dataclasses import dataclass
from urllib.parse import quote

from medseg.config import COMMIT
from medseg.errors import HubError
from medseg.hub.cache import DIGEST
from medseg.hub.download import Cancelled, host, read

MAX_BYTES = 10_000_000


@dataclass(frozen=True)
class File:
    """Size in bytes, and sha256 where the file is in LFS, else git's own hash: the name of its blob in the cache."""

    size: int
    digest: str


@dataclass(frozen=True)
class Listing:
    """The files of one commit, by path."""

    repository: str
    commit: str
    private: bool
    files: dict[str, File]

    def url(self, name: str) -> str:
        """Where the file is downloaded from."""
        from huggingface_hub import constants

        return f"{constants.ENDPOINT}/{self.repository}/resolve/{self.commit}/{quote(name)}"


def list_files(
    repository: str,
    revision: str,
    *,
    patience_s: float | None = None,
    cancelled: Cancelled | None = None,
    anonymous: bool = False,
) -> Listing:
    """The commit that `revision` stands for, and its files. Raises HubError as `medseg.hub.download.read` does, and
    for an answer that is none."""
    from huggingface_hub import constants

    url = f"{constants.ENDPOINT}/api/models/{repository}/revision/{quote(revision, safe='')}?blobs=true"
    pieces = read(url, repository, MAX_BYTES, patience_s=patience_s, cancelled=cancelled, anonymous=anonymous)
    text = b"".join(pieces)
    listing = _parse(repository, text)
    if listing is None:
        raise HubError(
            f"{repository}: {host()} answers with something else than a list of files. Is HF_ENDPOINT right, and no "
            "login page in between?"
        )
    if COMMIT.fullmatch(revision) and listing.commit != revision:
        raise HubError(f"{repository}: {host()} answers with another commit than {revision}.")
    return listing


def _parse(repository: str, text: bytes) -> Listing | None:
    """None where the commit or a hash is not what may become the name of a file."""
    try:
        answer = json.loads(text)
        files = {
            entry["rfilename"]: File(int(entry["size"]), (entry.get("lfs") or {}).get("sha256") or entry["blobId"])
            for entry in answer["siblings"]
        }
        good = COMMIT.fullmatch(answer["sha"]) and all(DIGEST.fullmatch(file.digest) for file in files.values())
        return Listing(repository, answer["sha"], bool(answer.get("private")), files) if good else None
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return None
