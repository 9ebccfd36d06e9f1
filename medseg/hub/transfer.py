"""Members and ensembles on the Hugging Face Hub: fetched file by file into the client's cache, pushed in one commit.

Only the files named here are ever downloaded, JSON first; every file of the answer has the hash under which the Hub
lists it. That they are also what ensemble.json and member.json promise is checked by `load_member`.
"""

from __future__ import annotations

import logging
import queue
import re
import threading
import warnings
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import medseg
from medseg import schema
from medseg.config import COMMIT, is_hub_id
from medseg.errors import ConfigError, HubDownError, HubError, InputError, MedsegError, MedsegWarning
from medseg.hub import cache as hub_cache
from medseg.hub.cache import Cache
from medseg.hub.download import Cancelled, broken, host, read, refusal
from medseg.hub.folders import CALIBRATION, DESCRIPTION, MEMBER_FILES, PAPERS, WEIGHTS, is_described, networks, verified
from medseg.hub.listing import Listing, list_files

MAX_WEIGHTS_BYTES = 900_000_000
"""The largest network that is built, 200 M parameters, in float32; members are saved in half of that."""

SHORT_PATIENCE_S = 1.5
"""How long the Hub is waited for when the cache holds a good answer already."""

PUSH_PATIENCE_S = 60.0
PUSH_BYTES_PER_S = 100_000
"""A push is given up after PUSH_PATIENCE_S and what its files take at the slowest rate that is waited for."""

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

    `source` is a folder, or the Hub's `owner/name`, also as `owner/name@revision`; `revision` is a branch, a tag or a
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
        for name in _first_description(listing), CALIBRATION, *PAPERS:
            if not self._get(listing, cache, name) and name not in (CALIBRATION, *PAPERS):
                raise HubError(f"{listing.repository}: {name} arrives damaged. Try again, or tell its owner.")
        members = networks(folder)
        for member in members:
            for name in ("member.json", "config.json", *PAPERS):
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
        limit = MAX_WEIGHTS_BYTES if name.endswith(WEIGHTS) else schema.MAX_FILE_BYTES
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
        members = networks(folder)
    except ConfigError:
        return False
    first = [name for name in (DESCRIPTION, CALIBRATION) if (folder / name).exists()]
    needed = first + [member + name for member in members for name in MEMBER_FILES]
    return all(hub_cache.is_intact(folder / name) for name in needed)


def is_offline() -> bool:
    """Whether HF_HUB_OFFLINE forbids every request."""
    from huggingface_hub import constants

    return bool(constants.HF_HUB_OFFLINE)


# --- push


def push(folder: str | Path, repo_id: str, *, private: bool = False, message: str | None = None) -> str:
    """Push a member or ensemble folder to the branch main of `repo_id` (owner/name) in one commit; returns its URL.

    The repository is made where it is not there, private where `private`. Of the folder go the files named in this
    module, and those of them that are gone are deleted there; nothing is committed where nothing changed. The weights'
    hashes are checked first. The user's own token is used, and no error or log holds it.

    Raises ConfigError and DamagedError for a folder that could not be loaded again, InputError where README.md is
    missing, HubError where the Hub refuses, is down, or where somebody else pushed meanwhile.
    """
    if not is_hub_id(repo_id):
        raise InputError(f"{repo_id[:80]!r} is not a Hub repository: wanted owner/name.")
    files = verified(Path(folder))
    if is_offline():
        raise HubError(f"{repo_id} is not pushed: HF_HUB_OFFLINE is set.")
    seconds = PUSH_PATIENCE_S + sum(path.stat().st_size for path in files.values()) / PUSH_BYTES_PER_S
    return in_time(lambda: _push(files, repo_id, private, message), repo_id, seconds)


def _push(files: dict[str, Path], repo_id: str, private: bool, message: str | None) -> str:
    from huggingface_hub import CommitOperationAdd, CommitOperationDelete, HfApi

    hub = HfApi()
    hub.create_repo(repo_id, private=private or None, exist_ok=True)
    there = list_files(repo_id, "main")
    if private and not there.private:
        raise HubError(f"{repo_id} is there already, and public: make it private on its page first, or push openly.")
    added = [
        CommitOperationAdd(name, str(path))
        for name, path in files.items()
        if name not in there.files or not hub_cache.has_digest(path, there.files[name].digest)
    ]
    gone = [CommitOperationDelete(name) for name in _ours(there) if name not in files]
    if not added and not gone:
        return f"{hub.endpoint}/{repo_id}/commit/{there.commit}"
    commit = hub.create_commit(
        repo_id,
        [*added, *gone],
        commit_message=message or f"Push with medseg {medseg.__version__}",
        parent_commit=there.commit,  # two pushes at once: the later one is refused, never mixed in
    )
    return str(commit.commit_url)


def _ours(there: Listing) -> list[str]:
    """The files of ours at the top of the repository and in folders that hold a member."""
    names = (DESCRIPTION, CALIBRATION, *MEMBER_FILES, *PAPERS)
    folders = {"", *(path.removesuffix("member.json") for path in there.files if path.endswith("/member.json"))}
    return [path for path in there.files if any(path == folder + name for folder in folders for name in names)]


def in_time(work: Callable[[], str], what: str, seconds: float) -> str:
    """What `work` returns; its errors as sentences. The client knows no deadline, so its thread is left behind."""
    outcome: queue.Queue[str | Exception] = queue.Queue()

    def run() -> None:
        def has_no_query(record: logging.LogRecord) -> bool:  # the client warns with the signed URL of an upload
            return "?" not in record.getMessage()

        client_log = logging.getLogger("huggingface_hub.utils._http")
        client_log.addFilter(has_no_query)
        try:
            outcome.put(work())
        except Exception as error:
            outcome.put(error)
        finally:
            client_log.removeFilter(has_no_query)

    threading.Thread(target=run, daemon=True).start()
    try:
        result = outcome.get(timeout=seconds)
    except queue.Empty:
        raise HubDownError(
            f"{what}: {host()} did not take the files within {seconds:.0f} s. Look there before you push again, for "
            "they may still arrive."
        ) from None
    if isinstance(result, Exception):
        raise _refused(result, what) from None
    return result


def _refused(error: BaseException, what: str) -> MedsegError:
    while isinstance(error, RuntimeError) and error.__cause__ is not None:  # the client's "Error while uploading"
        error = error.__cause__
    if isinstance(error, MedsegError):
        return error
    status = getattr(getattr(error, "response", None), "status_code", None)
    if status in (409, 412):
        return HubError(f"{what}: somebody else pushed meanwhile ({status}). Look at what is there, then push again.")
    if status is not None:
        return refusal(status, what)
    if isinstance(error, ValueError):
        return HubError(f"{what}: {host()} does not accept README.md, or does not answer as a Hub does.")
    return broken(error, what)
