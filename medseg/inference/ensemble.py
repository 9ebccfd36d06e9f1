"""The ensemble: members loaded once, networks run once per image, everything else from the cached stack."""

from __future__ import annotations

import contextlib
import dataclasses
import threading
import warnings
from collections.abc import Callable, Sequence
from functools import cached_property
from pathlib import Path

from medseg import config
from medseg.arrays import Stack, Threshold, Weight
from medseg.config import COMMIT, Blend, Cleanup, EnsembleConfig, MemberReference
from medseg.errors import DamagedError, InputError, MedsegError, MedsegWarning
from medseg.hub.cache import shown_name
from medseg.hub.download import Cancelled
from medseg.hub.fetch import Fetcher, Progress
from medseg.image import Image
from medseg.inference import runtime
from medseg.inference.blend import normalise_weights
from medseg.inference.cache import ArrayCache
from medseg.inference.domain_check import Domain, Verdict, judge, load_domain, sentences
from medseg.inference.member import LoadedMember, file_sha256, load_member
from medseg.inference.members import Members
from medseg.inference.pipeline import AHEAD
from medseg.inference.prediction import (
    MemberProbabilities,
    Prediction,
    Source,
    blends_of,
    checked_blend,
    checked_threshold,
)
from medseg.inference.stacker import open_stacker, stack_image
from medseg.inference.tta import Augmentation, Turns, checked_tta
from medseg.places import shipped

MIN_SIDE = 16
"""Shortest side in pixels that is segmented: below it there is nothing for a network to see."""

CACHE_BYTES = 128 * 2**20
_cache = ArrayCache(CACHE_BYTES)  # one for the process: every visitor and every ensemble shares the bound


class Ensemble:
    """Members with one task and the same labels, their weights, and how probabilities become masks.

    `quarantined` says, a sentence each, which members of ensemble.json (or that its stacker) could not be trusted and
    were left out; the weights of the others are used as they stand. `config` names what is left. `folder` is where
    ensemble.json lies, also that of a Hub repository, and `source` how a report names that place; None for an ensemble
    that was put together in memory.
    """

    def __init__(
        self,
        settings: EnsembleConfig,
        members: Sequence[LoadedMember],
        quarantined: Sequence[str] = (),
        stacker: LoadedMember | None = None,
        *,
        folder: Path | None = None,
        source: Source | None = None,
    ) -> None:
        if len(members) != len(settings.members):
            raise InputError(f"{settings.name} names {len(settings.members)} members, got {len(members)}.")
        if (settings.stacker is None) != (stacker is None):
            raise InputError(
                f"{settings.name} names {'no' if stacker else 'a'} stacker, got {'one' if stacker else 'none'}."
            )
        self.config = settings
        self.members = tuple(members)
        self.quarantined = tuple(quarantined)
        self.stacker = stacker
        self.source = source
        self.folder = folder
        self._members, self._stacker = Members(self.members), Members([stacker] if stacker else [])
        self.at_once = self._members.at_once
        """Images that are best in work at a time."""
        # one image at a time: two askers of the same image run its networks once
        self._running = threading.Lock() if self.at_once == AHEAD else contextlib.nullcontext()

    @classmethod
    def from_pretrained(
        cls,
        folder_or_repo: str | Path,
        *,
        revision: str | None = None,
        device: str | None = None,
        progress: Progress | None = None,
        cancelled: Cancelled | None = None,
        anonymous: bool = False,
    ) -> Ensemble:
        """Open an ensemble: ensemble.json and one folder per member, all hashes checked. A member by itself is an
        ensemble of one.

        `folder_or_repo` is the name of an embedded ensemble (polyp, brain, chest), a folder, or a repository on the Hub
        (`owner/name`, or `owner/name@revision`) that is fetched as `medseg.hub.fetch.fetch` says, with `revision`,
        `progress`, `cancelled` and `anonymous`. `device` is chosen by itself where None. A member that is damaged, or
        whose own repository cannot be fetched, is left out with a MedsegWarning and named in `quarantined`; without it,
        or where the stacker itself is damaged, the weighted mean takes the stacker's place, likewise said. Raises
        ConfigError where ensemble.json breaks its schema, HubError where it cannot be fetched, DamagedError where a
        label has no member with weight left, InputError for a device that is not there.
        """
        chosen = runtime.choose_device(device)
        fetcher = Fetcher(progress, cancelled, anonymous=anonymous)
        fetched = fetcher.fetch(folder_or_repo, revision)
        settings, root = config.load_ensemble(fetched)
        loaded: list[tuple[MemberReference, LoadedMember]] = []
        quarantined = []
        for reference in settings.members:
            try:
                folder = _member_folder(root, reference, fetcher)
                loaded.append((reference, _open_member(folder, reference, settings, chosen)))
            except MedsegError as error:
                if cancelled is not None and cancelled():
                    raise
                named = str(error) if reference.source in str(error) else f"The member {reference.source}: {error}"
                quarantined.append(named)
                warnings.warn(f"{named} The ensemble goes on without it.", MedsegWarning, stacklevel=2)
        for label, name in enumerate(settings.labels):
            if not any(reference.counts_for(label) for reference, _ in loaded):
                raise DamagedError(
                    f"The ensemble {settings.name} has no usable member for {name}: {' '.join(quarantined)}"
                )
        stacker = None
        if settings.stacker is not None:
            try:
                stacker = _tried(open_stacker(root, settings, len(loaded), chosen), root)
            except MedsegError as error:
                quarantined.append(str(error))
                warnings.warn(f"{error} The ensemble goes on with the weighted mean.", MedsegWarning, stacklevel=2)
                settings = dataclasses.replace(settings, blend="weighted mean", stacker=None)
        settings = dataclasses.replace(settings, members=tuple(reference for reference, _ in loaded))
        opened = [member for _, member in loaded]
        return cls(settings, opened, quarantined, stacker, folder=fetched, source=_source(fetched))

    @property
    def names(self) -> tuple[str, ...]:
        """The members' names, in the order of every weight vector."""
        return tuple(member.config.name for member in self.members)

    @property
    def upright(self) -> tuple[str, ...]:
        """The names of the networks that learnt from images that all lie one way: where any did, there is no `tta`."""
        networks = (*self.members, *([self.stacker] if self.stacker else []))
        return tuple(network.config.name for network in networks if network.config.upright)

    @property
    def weights(self) -> tuple[Weight, ...]:
        """The weights of ensemble.json, normalised over the members that are loaded."""
        own = [reference.weight for reference in self.config.members]
        return normalise_weights(own, len(self.members), len(self.config.labels))

    @property
    def blends(self) -> tuple[Blend, ...]:
        """The blends that `predict` takes."""
        return blends_of(self.config)

    @cached_property
    def domain(self) -> Domain | None:
        """What the training images look like, None where nothing was learnt of it; a damaged domain.json is said."""
        try:
            return load_domain(self.folder) if self.folder else None
        except MedsegError as error:
            warnings.warn(f"{error} The domain check goes by the ranges of member.json.", MedsegWarning, stacklevel=2)
            return None

    def verdict(self, image: Image) -> Verdict:
        """Whether `image` is like what the ensemble was trained on (`medseg.inference.domain_check`)."""
        return judge(image, self.members[0].config.training_data, self.domain)

    def domain_warnings(self, image: Image) -> list[str]:
        """The same as sentences; [] where nothing speaks against the image."""
        return sentences(self.verdict(image), self.members[0].config.training_data)

    def predict(
        self,
        image: Image,
        *,
        weights: Sequence[Weight] | None = None,
        threshold: Threshold | None = None,
        tta: bool | Turns = False,
        blend: Blend | None = None,
        cleanup: Cleanup | None = None,
    ) -> Prediction:
        """Segment one image.

        `weights` (one per member or, for each, one per label; >= 0, normalised here), `threshold` (in (0, 1); for
        labels that are decided alone also one each), `blend` (one of `blends`, which `medseg.inference.blend.blend`
        describes) and `cleanup` default to those of ensemble.json. The networks, the stacker too, run once per image:
        another call with other settings than `tta` starts from their cached probabilities. `tta` averages each network
        over the four flips ("flips", or True) or the eight turns and mirrorings of a square ("d4"; flips where its
        input grid is not square). Raises InputError for settings out of range, `tta` where networks are `upright`, or
        an image with a side under MIN_SIDE.
        """
        if not isinstance(image, Image):
            raise InputError(f"Wanted an image as `medseg.read_image` gives it, got {type(image).__name__}.")
        if min(image.size) < MIN_SIDE:
            height, width = image.size
            raise InputError(f"The image is {width} × {height} pixels; at least {MIN_SIDE} × {MIN_SIDE} are needed.")
        threshold = checked_threshold(self.config.threshold if threshold is None else threshold, self.config)
        asked = self.weights if weights is None else weights
        chosen = normalise_weights(asked, len(self.members), len(self.config.labels))
        blend = checked_blend(self.config.blend if blend is None else blend, self.config)
        turns = checked_tta(tta, self.upright)
        members, stacked = self.run_networks(image, turns)
        return Prediction(
            image=image,
            labels=self.config.labels,
            members=members,
            member_names=self.names,
            member_sha256=tuple(member.sha256 for member in self.members),
            weights=chosen,
            threshold=threshold,
            tta=turns,
            ensemble=self.config,
            cleanup=self.config.cleanup if cleanup is None else cleanup,
            left_out=self.quarantined,
            blend=blend,
            stacked=stacked,
            source=self.source,
        )

    def forget(self, image: Image) -> None:
        """Drop what is cached of `image`: one of thousands must not push out what visitors have open."""
        _cache.drop(lambda key: isinstance(key, tuple) and key[0] == image.sha256)

    def solo(self, index: int) -> tuple[float, ...]:
        """The weights that leave only the member `index`."""
        return tuple(float(position == index) for position in range(len(self.members)))

    def run_networks(self, image: Image, tta: Augmentation) -> tuple[Stack, MemberProbabilities | None]:
        """The members' probabilities of `image`, and the stacker's: the only place where networks run, and those whose
        probabilities are cached do not."""
        with self._running:
            stack = _cached(self.members, image, tta, lambda: self._members.stack(image, tta))
            if self.stacker is None or self.config.stacker is None:
                return stack, None
            channels = stack_image(stack, image if self.config.stacker.with_image else None)
            models = (self.stacker, *self.members)
            return stack, _cached(models, image, tta, lambda: self._stacker.stack(channels, tta))[0]

    def answers(self, image: Image, tta: Augmentation) -> tuple[Stack, MemberProbabilities | None]:
        """The old name of `run_networks`."""
        warnings.warn("Ensemble.answers is run_networks now; the old name goes in 0.3.0.", DeprecationWarning, 2)
        return self.run_networks(image, tta)


def _cached(models: tuple[LoadedMember, ...], image: Image, tta: Augmentation, compute: Callable[[], Stack]) -> Stack:
    """What the `models` had a part in for `image`, computed where it is not in the cache."""
    return _cache.get((image.sha256, "+".join(model.sha256 for model in models), tta), compute)


def _source(folder: Path) -> Source:
    folder = folder.resolve()  # `.` has no name
    description = next(path for path in (folder / "ensemble.json", folder / "member.json") if path.exists())
    commit = folder.name if folder.parent.name == "snapshots" and COMMIT.fullmatch(folder.name) else None
    return Source(shown_name(folder), commit, file_sha256(description))


def _member_folder(root: Path, reference: MemberReference, fetcher: Fetcher) -> Path:
    if reference.revision is None:
        return root / reference.source
    return fetcher.pull(reference.source, reference.revision)


def _open_member(folder: Path, reference: MemberReference, settings: EnsembleConfig, device: str) -> LoadedMember:
    member = load_member(folder, sha256=reference.sha256, device=device)
    if (member.config.task, member.config.labels) != (settings.task, settings.labels):
        raise InputError(
            f"The member {reference.source} predicts {member.config.task} {', '.join(member.config.labels)}, "
            f"the ensemble asks for {settings.task} {', '.join(settings.labels)}."
        )
    return _tried(member, folder)


def _tried(member: LoadedMember, folder: Path) -> LoadedMember:
    """The member of a stranger's `folder` once its graph has run: a graph that is allowed may still fail, on every
    image alike, as its shapes are fixed. Raises DamagedError where it does."""
    if member.network.runtime == "onnxruntime" and not folder.resolve().is_relative_to(shipped("assets")):
        member.try_out()
    return member
