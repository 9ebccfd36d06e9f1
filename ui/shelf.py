"""The ensembles this process can show: found once, each loaded at its first use and shared by every visitor."""

from __future__ import annotations

import logging
import os
import threading
from pathlib import Path
from typing import TYPE_CHECKING

from medseg import config
from medseg.config import EnsembleConfig
from medseg.errors import InputError, MedsegError

if TYPE_CHECKING:
    from medseg.ensemble import Ensemble

EMBEDDED = Path(__file__).resolve().parents[1] / "assets" / "ensembles"
log = logging.getLogger(__name__)


class Shelf:
    """Ensemble and member folders by the name in their JSON; visitors choose a name and never a path.

    A folder whose JSON breaks the schema is left out, with a line in the log.
    """

    def __init__(self, folders: list[Path]) -> None:
        self._folders: dict[str, Path] = {}
        self._loaded: dict[str, Ensemble] = {}
        self._loading = threading.Lock()
        for folder in folders:
            self._add(folder)

    @property
    def names(self) -> list[str]:
        return list(self._folders)

    def is_loaded(self, name: str) -> bool:
        return name in self._loaded

    def get(self, name: str | None) -> Ensemble:
        """The ensemble `name` (the first where empty), loaded once. Raises MedsegError if it is missing or damaged."""
        if not self._folders:
            raise InputError("No ensemble was found: name the folder of one in MEDSEG_ENSEMBLES and start again.")
        name = name or self.names[0]
        if name not in self._folders:
            raise InputError(f"There is no ensemble of that name here; choose one of {', '.join(self.names)}.")
        with self._loading:
            if name not in self._loaded:
                from medseg.ensemble import Ensemble  # torch takes seconds to import: the page is there before it

                self._loaded[name] = Ensemble.from_pretrained(self._folders[name])
            return self._loaded[name]

    def describe(self) -> list[dict[str, object]]:
        """Name, task, labels, members and fitted weights of every ensemble, from the JSON files alone."""
        settings = [(name, _settings(folder)) for name, folder in self._folders.items()]
        return [
            {
                "name": name,
                "task": found.task,
                "labels": list(found.labels),
                "members": [member.source for member in found.members],
                "weights": [member.weight for member in found.members],
                "threshold": found.threshold,
            }
            for name, found in settings
        ]

    def _add(self, folder: Path) -> None:
        try:
            name = _settings(folder).name
        except MedsegError as error:
            log.warning("An ensemble was left out: %s", error)
            return
        self._folders[name if name not in self._folders else f"{name} ({folder.name})"] = folder


def standard_folders() -> list[Path]:
    """The folders named in MEDSEG_ENSEMBLES, which the owner of this machine asked for, then the embedded ones."""
    named = [Path(entry) for entry in os.environ.get("MEDSEG_ENSEMBLES", "").split(os.pathsep) if entry]
    return named + [path.parent for path in sorted(EMBEDDED.glob("*/ensemble.json"))]


def _settings(folder: Path) -> EnsembleConfig:
    return config.load_ensemble(folder)[0]
