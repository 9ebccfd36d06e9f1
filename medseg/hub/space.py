"""A Hugging Face Space that shows the page: created, and filled with what it needs of this checkout, in one commit."""

from __future__ import annotations

import re
from pathlib import Path

from medseg.config import is_hub_id
from medseg.errors import HubError, InputError
from medseg.hub.download import is_offline
from medseg.hub.push import in_time
from medseg.places import PACKAGE, embedded, embedded_names, shipped
from medseg.version import __version__

FILES = ("app.py", "requirements.txt", "README.md", "LICENSE")
FOLDERS = ("medseg", "assets")
"""What a Space copies: neither tests nor training nor benchmarks."""


def space_files(root: Path | None = None) -> dict[str, Path]:
    """The files of a Space by their path there, from the checkout `root` or, where None, from what is installed.
    Raises InputError where `root` is no checkout of medseg."""
    whole = {name: shipped(name) if root is None else root / name for name in FILES + FOLDERS}
    if root is None:
        whole["medseg"] = PACKAGE
    if not all(path.exists() for path in whole.values()):
        raise InputError("A Space is made of a checkout: run this where app.py, README.md and requirements.txt lie.")
    files = {name: whole[name] for name in FILES}
    for folder in FOLDERS:
        listed = (path for path in whole[folder].rglob("*") if path.is_file())
        files |= {f"{folder}/{path.relative_to(whole[folder]).as_posix()}": path for path in listed}
    return {name: path for name, path in files.items() if not re.search(r"(^|/)(__pycache__|\.)|medseg/shipped/", name)}


def space_card(readme: str, ensemble: str | None) -> str:
    """The Space's README.md: this project's, whose front matter is the Space's settings, with the model it shows."""
    if ensemble is None or embedded(ensemble):
        return readme
    head, front, rest = readme.split("---\n", 2)
    return f"{head}---\n{front}models:\n  - {ensemble.partition('@')[0]}\n---\n{rest}"


def fill_space(repo_id: str, *, ensemble: str | None = None, private: bool = False) -> str:
    """Bring the Space `repo_id` (owner/name) to the state of this checkout, in one commit; returns its URL.

    It is created where it is not there, private where `private`. `ensemble`, a Hub repository (owner/name or
    owner/name@revision) or an embedded ensemble's name, is shown first. Files of an earlier state that are gone are
    deleted there; the user's own token is used. Raises InputError for names that are none, HubError as
    `medseg.hub.push.push`.
    """
    if not is_hub_id(repo_id):
        raise InputError(f"{repo_id[:80]!r} is not a Hub repository: wanted owner/name.")
    if ensemble is not None and not embedded(ensemble) and not is_hub_id(ensemble.partition("@")[0]):
        names = ", ".join(embedded_names())
        raise InputError(f"{ensemble[:80]!r} is no ensemble for a Space: wanted the Hub's owner/name, or {names}.")
    if is_offline():
        raise HubError(f"{repo_id} is not filled: HF_HUB_OFFLINE is set.")
    files = space_files()
    return in_time(lambda: _fill(files, repo_id, ensemble, private), repo_id, files)


def _fill(files: dict[str, Path], repo_id: str, ensemble: str | None, private: bool) -> str:
    from huggingface_hub import CommitOperationAdd, CommitOperationDelete, HfApi

    hub = HfApi()
    hub.create_repo(repo_id, repo_type="space", space_sdk="gradio", private=private or None, exist_ok=True)
    there = hub.space_info(repo_id)
    if private and not there.private:
        raise HubError(f"{repo_id} is there already, and public: make it private on its page first.")
    card = space_card(files["README.md"].read_text(encoding="utf-8"), ensemble)
    added = [
        CommitOperationAdd(name, card.encode() if name == "README.md" else str(path)) for name, path in files.items()
    ]
    ours = tuple(f"{folder}/" for folder in FOLDERS)
    listed = [sibling.rfilename for sibling in there.siblings or []]
    gone = [CommitOperationDelete(name) for name in listed if name.startswith(ours) and name not in files]
    if ensemble is not None:
        hub.add_space_variable(repo_id, "MEDSEG_ENSEMBLES", ensemble)
    hub.create_commit(
        repo_id,
        [*added, *gone],
        repo_type="space",
        commit_message=f"medseg {__version__}",
        parent_commit=there.sha,  # two at once: the later one is refused, never mixed in
    )
    return f"{hub.endpoint}/spaces/{repo_id}"
