"""Members and ensembles pushed to the Hugging Face Hub, in one commit."""

from __future__ import annotations

import logging
import queue
import threading
from collections.abc import Callable, Mapping
from pathlib import Path

from medseg.config import MemberConfig, is_hub_id
from medseg.errors import HubDownError, HubError, InputError, MedsegError
from medseg.hub.cache import has_digest
from medseg.hub.download import broken, host, is_offline, refusal
from medseg.hub.folders import DESCRIPTION, LEARNT, MEMBER_FILES, PAPERS, verified
from medseg.hub.listing import Listing, list_files
from medseg.schema import load
from medseg.version import __version__

PATIENCE_S = 60.0
BYTES_PER_S = 100_000
"""A push is given up after PATIENCE_S and what its files take at the slowest rate that is waited for."""


def push(folder: str | Path, repo_id: str, *, private: bool = False, message: str | None = None) -> str:
    """Push a member or ensemble folder to the branch main of `repo_id` (owner/name) in one commit; returns its URL.

    The repository is made where it is not there, private where `private`. Of the folder go the files named in
    `medseg.hub.folders`, and those of them that are gone are deleted there; nothing is committed where nothing changed.
    The weights' hashes are checked first. The user's own token is used, and no error or log holds it.

    Raises ConfigError and DamagedError for a folder that could not be loaded again, InputError where README.md is
    missing or what a member was trained on is unknown, HubError where the Hub refuses, is down, or where somebody else
    pushed meanwhile.
    """
    if not is_hub_id(repo_id):
        raise InputError(f"{repo_id[:80]!r} is not a Hub repository: wanted owner/name.")
    files = verified(Path(folder))
    _refuse_unknown(Path(folder), files)
    if is_offline():
        raise HubError(f"{repo_id} is not pushed: HF_HUB_OFFLINE is set.")
    return in_time(lambda: _push(files, repo_id, private, message), repo_id, files)


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
        if name not in there.files or not has_digest(path, there.files[name].digest)
    ]
    gone = [CommitOperationDelete(name) for name in _ours(there) if name not in files]
    if not added and not gone:
        return f"{hub.endpoint}/{repo_id}/commit/{there.commit}"
    commit = hub.create_commit(
        repo_id,
        [*added, *gone],
        commit_message=message or f"Push with medseg {__version__}",
        parent_commit=there.commit,  # two pushes at once: the later one is refused, never mixed in
    )
    return str(commit.commit_url)


def _refuse_unknown(folder: Path, files: dict[str, Path]) -> None:
    """Others must know what a member was trained on, and under which licence."""
    for name, path in files.items():
        if name.rpartition("/")[2] == "member.json" and not load(MemberConfig, path).training_data.is_known:
            raise InputError(
                f"Nobody said what {path.parent.name} was trained on, or under which licence, so it is not pushed. "
                f"Say it: medseg card {folder} --trained-on NAME --data-licence LICENCE."
            )


def _ours(there: Listing) -> list[str]:
    """The files of ours at the top of the repository and in folders that hold a member."""
    names = (DESCRIPTION, *LEARNT, *MEMBER_FILES, *PAPERS)
    folders = {"", *(path.removesuffix("member.json") for path in there.files if path.endswith("/member.json"))}
    return [path for path in there.files if any(path == folder + name for folder in folders for name in names)]


def in_time(work: Callable[[], str], what: str, files: Mapping[str, Path]) -> str:
    """What `work`, which sends `files`, returns; its errors as sentences.

    The client knows no deadline, so after that of these files its thread is left behind.
    """
    seconds = PATIENCE_S + sum(path.stat().st_size for path in files.values()) / BYTES_PER_S
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
