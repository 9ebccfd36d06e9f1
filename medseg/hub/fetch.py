"""Members and ensembles of the Hugging Face Hub, fetched file by file into the client's cache.

Only the files named here are ever downloaded, JSON first; every file of the answer has the hash under which the Hub
lists it. That they are also what ensemble.json and member.json promise is checked by `load_member`.
"""

from __future__ import annotations

import re
import warnings
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

from medseg import schema
from medseg.config import COMMIT, is_hub_id
from medseg.errors import ConfigError, HubDownError, HubError, InputError, MedsegWarning
from medseg.hub import cache as hub_cache
from medseg.hub.cache import Cache
from medseg.hub.download import Cancelled, is_offline, read
from medseg.hub.folders import (
    DESCRIPTION,
    GRAPH,
    LEARNT,
    MAX_GRAPH_BYTES,
    MAX_WEIGHTS_BYTES,
    PAPERS,
    WEIGHTS,
    is_described,
    member_files,
    networks,
)
from medseg.hub.listing import Listing, list_files
from medseg.places import embedded

_LIMITS = {WEIGHTS: MAX_WEIGHTS_BYTES, GRAPH: MAX_GRAPH_BYTES}

SHORT_PATIENCE_S = 1.5
"""How long the Hub is waited for when the cache holds a good answer already."""

Progress = Callable[[int, int], None]
"""Called with the bytes done and the bytes in all of the weights in the repository at hand."""


def fetch(
    source: str | Path,
    *,
    revision: str | None = None,
    progress: Progress | None = None,
    cancelled: Cancelled | None = None,
    anonymous: bool = False,
) -> Path:
    """The folder of a member or ensemble: a local folder as it is, or the snapshot of a Hub repository.

    `source` is the name of an embedded ensemble (polyp, brain, chest), a folder, or the Hub's `owner/name`, also as
    `owner/name@revision`; `revision` is a branch, a tag or a
    commit (40 hexadecimal digits), by default `main`. It is resolved to a commit once, and every file is that commit's.
    A commit that lies whole and undamaged in the cache is answered without any request. Of a branch the Hub is asked;
    where it fails in any way, an undamaged cache is taken instead, with a MedsegWarning that names the date.
    A member with a file that arrives damaged twice goes without it, for `load_member` to refuse. Members that are Hub
    repositories themselves are not fetched here.

    With `anonymous` only what the Hub shows to everybody is fetched, for the visitors of a page: no token goes along,
    `source` is never a folder, and the cache, which may hold what is private, takes nothing's place.

    Raises HubError for anything that goes wrong at the Hub or in its cache, within 10 s where the Hub is down;
    ConfigError where the repository's first description breaks its schema; InputError for a revision that cannot be.
    """
    return Fetcher(progress, cancelled, anonymous=anonymous).fetch(source, revision)


class Fetcher:
    """Fetches one folder after the other; once the Hub was found down, the next one does not wait for it again."""

    def __init__(
        self, progress: Progress | None = None, cancelled: Cancelled | None = None, *, anonymous: bool = False
    ) -> None:
        self.progress = progress
        self.cancelled = cancelled
        self.anonymous = anonymous
        self._down: HubDownError | None = None

    def fetch(self, source: str | Path, revision: str | None = None) -> Path:
        """As the function `fetch`."""
        if isinstance(source, str) and not self.anonymous:
            source = embedded(source) or source
        repository, _, named = str(source).partition("@")
        if self.anonymous and not is_hub_id(repository):
            raise InputError("Wanted the id of a Hub repository, owner/name or owner/name@revision.")
        if self.anonymous:
            return self.pull(repository, revision or named or "main")
        if isinstance(source, Path) or not is_hub_id(repository) or Path(source).exists():
            if revision is not None:
                raise InputError(f"{source} is a folder, or no Hub repository (owner/name): leave out the revision.")
            return Path(source)
        if named and revision is not None:
            raise InputError(f"{source} names a revision already: leave out the other one, {revision[:80]!r}.")
        return self.pull(repository, revision or named or "main")

    def pull(self, repository: str, revision: str) -> Path:
        """The snapshot of the Hub repository, as the function `fetch` describes it."""
        if not re.fullmatch(r"\w[\w./-]{0,99}", revision, re.ASCII) or ".." in revision:
            raise InputError(f"{revision[:80]!r} is not the name of a branch or tag, nor a commit.")
        cache = hub_cache.cache_of(repository)
        commit = revision if COMMIT.fullmatch(revision) else cache.commit_of(revision)
        cached = cache.snapshot(commit) if commit and COMMIT.fullmatch(commit) else None
        if cached is not None and (self.anonymous or not _is_whole(cached)):
            cached = None
        if cached is not None and (commit == revision or is_offline()):
            return cached
        if is_offline():
            raise HubError(f"{repository} is not whole in the cache, and HF_HUB_OFFLINE forbids to fetch it.")
        try:
            return self._ask(repository, revision, cache, cached)
        except HubError as error:
            if isinstance(error, HubDownError):
                self._down = self._down or error
            if cached is None or (self.cancelled is not None and self.cancelled()):
                raise
            sentence = f"{error} {repository} is taken from the cache of {cache.asked_on(revision)}."
            warnings.warn(sentence, MedsegWarning, stacklevel=2)
            return cached

    def _ask(self, repository: str, revision: str, cache: Cache, cached: Path | None) -> Path:
        """The snapshot of the commit that the Hub names; `cached` is whole, and taken where it is that one."""
        if self._down is not None:
            raise HubDownError(f"{repository} is not asked for, since {self._down}")
        patience_s = None if cached is None else SHORT_PATIENCE_S
        listing = list_files(
            repository, revision, patience_s=patience_s, cancelled=self.cancelled, anonymous=self.anonymous
        )
        folder = cache.snapshot(listing.commit)
        if folder != cached:
            self._get_files(listing, cache, folder)
        if revision != listing.commit:
            cache.remember(revision, listing.commit)
        return folder

    def _get_files(self, listing: Listing, cache: Cache, folder: Path) -> None:
        """Bring the files of ours into the cache, JSON first: it is checked before its weights are asked for."""
        for name in _first_description(listing), *LEARNT, *PAPERS:
            if not self._get(listing, cache, name) and name not in (*LEARNT, *PAPERS):
                raise HubError(f"{listing.repository}: {name} arrives damaged. Try again, or tell its owner.")
        members = networks(folder)
        for member in members:
            for name in ("member.json", "config.json", GRAPH, *PAPERS):
                self._get(listing, cache, member + name)
        wanted = [member + WEIGHTS for member, sha256 in members.items() if is_described(folder / member, sha256)]
        sizes = {name: listing.files[name].size for name in wanted if name in listing.files}
        done, total = 0, sum(sizes.values())
        for name, size in sizes.items():
            self._get(listing, cache, name, partial(self._tell, done, total))
            done += size
            self._tell(done, total, 0)

    def _tell(self, before: int, total: int, part: int) -> None:
        if self.progress is not None:
            self.progress(before + part, total)

    def _get(self, listing: Listing, cache: Cache, name: str, part: Callable[[int], None] | None = None) -> bool:
        """Whether the file is now in the cache, undamaged; one that arrives damaged is asked for once more."""
        file = listing.files.get(name)
        if file is None:
            return False
        limit = _LIMITS.get(name.rpartition("/")[2], schema.MAX_FILE_BYTES)
        if file.size > limit:
            raise HubError(f"{listing.repository}: {name} has {file.size:,} bytes, over the limit of {limit:,}.")
        if cache.has(listing.commit, name, file.digest):
            return True
        for _ in range(2):
            what = f"{listing.repository}/{name}"
            pieces = read(listing.url(name), what, file.size, cancelled=self.cancelled, anonymous=self.anonymous)
            if cache.store(listing.commit, name, file.digest, _counted(pieces, part)):
                return True
        return False


def _first_description(listing: Listing) -> str:
    for name in (DESCRIPTION, "member.json"):
        if name in listing.files:
            return name
    raise HubError(f"{listing.repository} holds neither ensemble.json nor member.json: medseg cannot open it.")


def _counted(pieces: Iterator[bytes], part: Callable[[int], None] | None) -> Iterator[bytes]:
    done = 0
    for piece in pieces:
        yield piece
        done += len(piece)
        if part is not None:
            part(done)


def _is_whole(folder: Path) -> bool:
    """Whether every file of ours that the snapshot needs is there and undamaged."""
    try:
        needed = [member + name for member in networks(folder) for name in member_files(folder / member)]
    except ConfigError:
        return False
    needed += [name for name in (DESCRIPTION, *LEARNT) if (folder / name).exists()]
    return all(hub_cache.is_intact(folder / name) for name in needed)
