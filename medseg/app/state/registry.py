"""The ensembles this process can show: each is loaded at its first use and shared by every visitor."""

from __future__ import annotations

import contextlib
import logging
import os
import threading
from collections import OrderedDict
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

from medseg import config
from medseg.app.server.zero_gpu import on_lent_gpu
from medseg.calibration.judgement import calibration_of
from medseg.config import EnsembleConfig, MemberConfig, TrainingData, is_hub_id
from medseg.errors import InputError, MedsegError
from medseg.inference import domain_check
from medseg.places import ensemble_folder, shipped
from medseg.schema import load

if TYPE_CHECKING:
    from medseg.image import Image
    from medseg.inference.domain_check import Domain
    from medseg.inference.ensemble import Ensemble

Source: TypeAlias = "Path | str"
"""A folder, or a Hub repository `owner/name` or `owner/name@revision`."""

Progress: TypeAlias = Callable[[int, int], None]
Cancelled: TypeAlias = Callable[[], bool]

EMBEDDED = shipped("assets/ensembles")

MAX_FETCHED = 4
"""Ensembles kept in memory that visitors asked the Hub for; the longest unused goes first."""

log = logging.getLogger(__name__)


class Registry:
    """The ensembles that the owner of this machine names, by the name in their JSON (Hub repositories by their id), and
    those that visitors fetch. A visitor chooses a name and never a path.

    A folder whose JSON breaks the schema is left out, with a line in the log. Hub repositories are asked for at their
    first use, so the page starts without a network.
    """

    def __init__(self, sources: Sequence[Source]) -> None:
        self._sources: dict[str, Source] = {}
        self._loaded: dict[str, Ensemble] = {}
        self._fetched: OrderedDict[str, Ensemble] = OrderedDict()
        self._training: dict[str, TrainingData | None] = {}
        self._domains: dict[str, Domain | None] = {}
        self._loading = threading.Lock()
        self._changing = threading.Lock()
        for source in sources:
            self._add(source)

    @property
    def names(self) -> list[str]:
        """The owner's ensembles; what a visitor fetched is offered to that visitor alone."""
        return list(self._sources)

    @property
    def sources(self) -> dict[str, Source]:
        """Where the owner's ensembles come from, by name."""
        return dict(self._sources)

    @property
    def loaded(self) -> list[str]:
        """The names of the owner's ensembles that are in memory."""
        return list(self._loaded)

    def is_loaded(self, name: str) -> bool:
        return name in self._loaded or name in self._fetched

    def get(self, name: str | None, progress: Progress | None = None, cancelled: Cancelled | None = None) -> Ensemble:
        """The ensemble `name` (the first where empty), loaded once; `progress` and `cancelled` are for the Hub's.

        Raises MedsegError if it is missing or damaged.
        """
        with self._changing:
            if name is not None and name in self._fetched:
                self._fetched.move_to_end(name)
                return self._fetched[name]
        if not self._sources:
            raise InputError("No ensemble was found: name the folder of one in MEDSEG_ENSEMBLES and start again.")
        name = name or self.names[0]
        if name not in self._sources:
            raise InputError(f"There is no ensemble of that name here; choose one of {', '.join(self.names)}.")
        source = self._sources[name]
        # a folder is loaded once, however many ask; nobody shall wait while another fetches from the Hub
        with contextlib.nullcontext() if isinstance(source, str) else self._loading:
            if name not in self._loaded:
                from medseg.inference.ensemble import (
                    Ensemble,  # torch takes seconds to import: the page is there before it
                )

                loaded = Ensemble.from_pretrained(source, progress=progress, cancelled=cancelled)
                self._loaded[name] = on_lent_gpu(loaded, name)
            return self._loaded[name]

    def prepare(self) -> None:
        """Load the first ensemble, and what tells which suits an image, before anybody asks, unless that would ask the
        Hub; who asks gets the error."""
        first = next(iter(self._sources.values()), None)
        if isinstance(first, Path):
            with contextlib.suppress(MedsegError):
                calibration_of(self.get(None))
                for name in self.names:
                    self._domain(name)

    def fetch(self, repository: str, progress: Progress, cancelled: Cancelled) -> str:
        """Load the Hub repository that a visitor names; returns the name to `get` it by.

        Raises InputError where visitors may not, or for what is no `owner/name`; HubError where the Hub fails.
        """
        from medseg.inference.ensemble import Ensemble

        if not allows_hub():
            raise InputError("This page does not load from the Hub; its owner can allow it with MEDSEG_ALLOW_HUB=1.")
        if not is_hub_id(repository.partition("@")[0]):
            raise InputError("Wanted the id of a Hub repository, owner/name or owner/name@revision.")
        name, _, revision = repository.partition("@")
        loaded = Ensemble.from_pretrained(  # a revision is given in any case: a folder is refused with one
            name, revision=revision or "main", progress=progress, cancelled=cancelled, anonymous=not is_loopback()
        )
        with self._changing:
            self._fetched[repository] = on_lent_gpu(loaded, repository)
            while len(self._fetched) > MAX_FETCHED:
                self._fetched.popitem(last=False)
        return repository

    def suiting(self, image: Image, present: str | None) -> str | None:
        """The name of the ensemble whose training images `image` is most like, by `domain_check.judge`.

        The present one stays unless another suits better, so a choice by hand lasts until an image comes that another
        suits. Among others the order here decides. A Hub repository not used yet neither is chosen nor gives way, as
        nothing is known of it.
        """
        if present and self.training(present) is None:
            return present
        names = [name for name in (present, *self.names) if name and self.training(name) is not None]
        return min(names, key=lambda name: self.against(image, name), default=present)

    def against(self, image: Image, name: str | None) -> int:
        """0 where `image` suits what `name` was trained on, or nothing is known of that; 1 where it is doubtful, 2
        where it is none of these or, without a domain.json, two things or more speak against it."""
        data = self.training(name) if name else None
        if data is None or name is None:
            return 0
        domain = self._domain(name)
        verdict = domain_check.judge(image, data, domain)
        return domain_check.WORDS.index(verdict.word) if domain else min(len(verdict.reasons), 2)

    def _domain(self, name: str) -> Domain | None:
        ensemble = self._loaded.get(name) or self._fetched.get(name)
        if ensemble is not None:
            return ensemble.domain
        if name not in self._domains:
            self._domains[name] = _domain_of(self._sources.get(name))
        return self._domains[name]

    def training(self, name: str) -> TrainingData | None:
        """What the first member of the ensemble `name` was trained on, None where that is not known (yet)."""
        ensemble = self._loaded.get(name) or self._fetched.get(name)
        if ensemble is not None:
            return ensemble.members[0].config.training_data
        if name not in self._training:
            self._training[name] = _training(self._sources.get(name))
        return self._training[name]

    def describe(self) -> list[dict[str, object]]:
        """Name, task, labels, members and fitted weights of every ensemble, from the JSON files alone; a Hub
        repository that has not been used yet has only its name."""
        return [{"name": name, **self._describe(name, source)} for name, source in self._sources.items()]

    def _describe(self, name: str, source: Source) -> dict[str, object]:
        if isinstance(source, str) and name not in self._loaded:
            return {}
        settings = self._loaded[name].config if isinstance(source, str) else _settings(source)
        return {
            "task": settings.task,
            "labels": list(settings.labels),
            "members": [member.source for member in settings.members],
            "weights": [member.weight for member in settings.members],
            "threshold": settings.threshold,
            "blend": settings.blend,
        }

    def _add(self, source: Source) -> None:
        if isinstance(source, str):
            self._sources[source] = source
            return
        try:
            name = _settings(source).name
        except MedsegError as error:
            log.warning("An ensemble was left out: %s", error)
            return
        self._sources[name if name not in self._sources else f"{name} ({source.name})"] = source


def standard_sources() -> list[Source]:
    """What MEDSEG_ENSEMBLES names, which the owner of this machine asked for, then the embedded ensembles; with
    MEDSEG_ONLY=1 nothing beside what is named."""
    named = [_source(entry) for entry in os.environ.get("MEDSEG_ENSEMBLES", "").split(os.pathsep) if entry]
    if named and stands_alone():
        return named
    embedded = sorted(path.parent for path in EMBEDDED.glob("*/ensemble.json"))
    embedded.sort(key=lambda folder: folder.name != "polyp")  # README's figures are this one's
    return [*dict.fromkeys([*named, *embedded])]  # once each, also where an embedded one is named


def stands_alone() -> bool:
    """Whether the owner wants nothing beside the ensembles that MEDSEG_ENSEMBLES names."""
    return os.environ.get("MEDSEG_ONLY") == "1"


def is_loopback() -> bool:
    """Whether only this machine reaches the page."""
    name, share = os.environ.get("GRADIO_SERVER_NAME", "127.0.0.1"), os.environ.get("GRADIO_SHARE", "False")
    return name in ("127.0.0.1", "localhost", "::1") and share.lower() != "true" and "SPACE_ID" not in os.environ


def allows_hub() -> bool:
    """Whether visitors may name Hub repositories: their own machine's page, or one whose owner allows it."""
    return is_loopback() or os.environ.get("MEDSEG_ALLOW_HUB") == "1"


def _source(entry: str) -> Source:
    is_repository = is_hub_id(entry.partition("@")[0]) and not Path(entry).exists()
    return entry if is_repository else ensemble_folder(entry)


def _training(source: Source | None) -> TrainingData | None:
    """From the JSON of a folder's first member; None for a repository, and where it cannot be read."""
    if not isinstance(source, Path):
        return None
    try:
        settings, root = config.load_ensemble(source)
        return load(MemberConfig, root / settings.members[0].source / "member.json").training_data
    except MedsegError:
        return None


def _domain_of(source: Source | None) -> Domain | None:
    """From the domain.json of a folder; None for a repository, and where it cannot be read."""
    try:
        return domain_check.load_domain(source) if isinstance(source, Path) else None
    except MedsegError:
        return None


def _settings(folder: Path) -> EnsembleConfig:
    return config.load_ensemble(folder)[0]


ensembles = Registry(standard_sources())
"""The ensembles of this process."""
