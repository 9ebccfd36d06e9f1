"""The JSON files beside the weights (`member.json`, `ensemble.json`) as frozen dataclasses, each checked as it is made.

`medseg.schema` reads and writes them.
"""

from __future__ import annotations

import hashlib
import math
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from medseg.arrays import Threshold
from medseg.errors import ConfigError
from medseg.places import embedded_names
from medseg.schema import cut, load, require
from medseg.scores import Fitted, Score

FORMAT_VERSION = 1
MAX_LABELS = 64
MAX_SIDE = 2048
MAX_CHANNELS = 64
MAX_NAME = 100

Task = Literal["binary", "multiclass", "multilabel"]
"""binary: one label; multilabel: labels may overlap; multiclass: at most one label a pixel, beside a background."""

Blend = Literal["weighted mean", "geometric", "median", "majority vote", "STAPLE", "stacking"]
"""How the members' probabilities become one: as `medseg.inference.blend` says, or (stacking) by a network trained on
them."""

Intensity = Literal["kept", "evened"]

COMMIT = re.compile(r"[0-9a-f]{40}")

_PLAIN_NAME = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9._-]*")


@dataclass(frozen=True)
class Preprocess:
    """How an image becomes a member's input.

    The image is resized to (height, width), each a multiple of 32 as five-stage encoders need: `stretch` ignores the
    aspect ratio, `letterbox` keeps it and pads with black. Where its intensity is `evened`, each channel is scaled to a
    common median, as MR sequences need, whose numbers have no unit. Then (value − mean) / std per channel.
    """

    height: int
    width: int
    channels: int = 3
    mean: tuple[float, ...] = (0.485, 0.456, 0.406)
    std: tuple[float, ...] = (0.229, 0.224, 0.225)
    resize: Literal["stretch", "letterbox"] = "stretch"
    intensity: Intensity = "kept"

    def __post_init__(self) -> None:
        for side in (self.height, self.width):
            require(
                0 < side <= MAX_SIDE and side % 32 == 0,
                f"preprocess: sides must be multiples of 32 up to {MAX_SIDE}, not {side}",
            )
        require(
            0 < self.channels <= MAX_CHANNELS,
            f"preprocess: channels must be 1 to {MAX_CHANNELS}, not {self.channels}",
        )
        require(
            len(self.mean) == len(self.std) == self.channels, "preprocess: mean and std need one value for each channel"
        )
        # pixels lie in [0, 1]: a std of 1/255 or a mean of 255 is odd but sane, 1e-300 makes every input infinite
        require(all(1e-4 <= value <= 1e4 for value in self.std), "preprocess: every std must lie in 0.0001 to 10,000")
        require(all(abs(value) <= 1e4 for value in self.mean), "preprocess: every mean must lie within ±10,000")


@dataclass(frozen=True)
class Appearance:
    """The range (low, high) in the training images of each statistic of `medseg.inference.domain_check.look`."""

    brightness: tuple[float, float]
    red_green: tuple[float, float]
    yellow_blue: tuple[float, float]


@dataclass(frozen=True)
class TrainingData:
    """What a member was trained on. `modalities` are DICOM (0008,0060) codes that such images may carry;
    `split_sha256` is the hash of the division into train, val and test that its training kept to ("": not recorded)."""

    name: str
    licence: str
    url: str = ""
    citation: str = ""
    modalities: tuple[str, ...] = ()
    pictures: str = ""
    appearance: Appearance | None = None
    split_sha256: str = ""

    @property
    def is_known(self) -> bool:
        """Whether somebody said both name and licence."""
        return not {self.name.strip().lower(), self.licence.strip().lower()} & {"", UNKNOWN.name}


@dataclass(frozen=True)
class StartedFrom:
    """The member that a training began with: its name, the hash of its member.json, how many of the network's `tensors`
    were `taken` from it, the labels whose outputs were taken too, and what it was `trained_on` itself."""

    name: str
    sha256: str
    taken: int
    tensors: int
    labels: tuple[str, ...] = ()
    trained_on: str = ""

    def __post_init__(self) -> None:
        _check_digest(self.sha256)
        require(0 < self.taken <= self.tensors, f"started_from: taken must be 1 to {self.tensors}, not {self.taken}")


UNKNOWN = TrainingData("unknown", "unknown")
"""Where neither the user nor the layout of the data says what a member was trained on. It is not pushed."""


@dataclass(frozen=True)
class MemberConfig:
    """`member.json`: what smp's config.json does not say. `files` maps each hashed file's name to its sha256; `upright`
    says that it learnt from images that all lie one way, so that a mirror image is nothing it knows."""

    name: str
    task: Task
    labels: tuple[str, ...]
    preprocess: Preprocess
    training_data: TrainingData
    weights_licence: str
    files: dict[str, str]
    scores: tuple[Score, ...] = ()
    started_from: StartedFrom | None = None
    upright: bool = False
    format_version: int = FORMAT_VERSION

    def __post_init__(self) -> None:
        _check_header(self.format_version, self.name, self.task, self.labels)
        for name, digest in self.files.items():
            require(
                name in ("config.json", "model.safetensors", "graph.onnx"),
                f"files: {cut(name)} is not a file of a member",
            )
            _check_digest(digest)

    @property
    def channels_out(self) -> int:
        """Output channels of the network: multiclass adds the background as channel 0."""
        return len(self.labels) + (self.task == "multiclass")


@dataclass(frozen=True)
class Cleanup:
    """What is done to each label's mask after the threshold, in this order: fill holes, keep the largest 8-connected
    component, drop components under `min_area_px` pixels of the image's own grid."""

    min_area_px: int = 0
    fill_holes: bool = False
    largest_component: bool = False

    def __post_init__(self) -> None:
        require(self.min_area_px >= 0, f"cleanup: min_area_px must be 0 or more, not {self.min_area_px}")


@dataclass(frozen=True)
class MemberReference:
    """Where a member is found and how much it counts.

    `source` is a folder beside ensemble.json, or a Hub repository `owner/name` at the commit `revision`; `sha256` is
    that of the member's member.json, which in turn holds the hashes of the other files. `weight` is one number,
    or a list of one for each label.
    """

    source: str
    sha256: str
    weight: float | tuple[float, ...]
    revision: str | None = None

    def __post_init__(self) -> None:
        if self.revision is None:
            require(
                bool(_PLAIN_NAME.fullmatch(self.source)) and len(self.source) <= MAX_NAME,
                "members: source must be the name of a folder beside ensemble.json, in letters, digits, dot, dash and "
                f"underscore, or a Hub repository with a revision, not {cut(self.source)}",
            )
        else:
            require(is_hub_id(self.source), f"members: {cut(self.source)} with a revision is no Hub id (owner/name)")
            require(
                bool(COMMIT.fullmatch(self.revision)),
                f"members: revision must be a commit (40 hexadecimal digits), not {cut(self.revision)}",
            )
        _check_digest(self.sha256)
        for weight in self.weight if isinstance(self.weight, tuple) else (self.weight,):
            require(0 <= weight < math.inf, f"members: a weight must be a finite number of 0 or more, not {weight}")

    def counts_for(self, label: int) -> bool:
        """Whether the member has weight for the label of that index."""
        return (self.weight[label] if isinstance(self.weight, tuple) else self.weight) > 0


@dataclass(frozen=True)
class StackerReference:
    """The network that predicts from the members' probabilities: the folder `source` beside ensemble.json, in a
    member's form.

    Its input channels are the members' probabilities, member by member and label by label, then the image's three
    channels where `with_image`. `sha256` is that of its member.json.
    """

    source: str
    sha256: str
    with_image: bool = False

    def __post_init__(self) -> None:
        require(
            bool(_PLAIN_NAME.fullmatch(self.source)) and len(self.source) <= MAX_NAME,
            f"stacker: source must be the name of a folder beside ensemble.json, not {cut(self.source)}",
        )
        _check_digest(self.sha256)


@dataclass(frozen=True)
class EnsembleConfig:
    """`ensemble.json`."""

    name: str
    task: Task
    labels: tuple[str, ...]
    members: tuple[MemberReference, ...]
    threshold: Threshold = 0.5
    cleanup: Cleanup = field(default_factory=Cleanup)
    fitted: Fitted | None = None
    blend: Blend = "weighted mean"
    stacker: StackerReference | None = None
    format_version: int = FORMAT_VERSION

    def __post_init__(self) -> None:
        _check_header(self.format_version, self.name, self.task, self.labels)
        require(0 < len(self.members) <= 32, f"members: wanted 1 to 32 members, found {len(self.members)}")
        require(len({member.source for member in self.members}) == len(self.members), "members: a source stands twice")
        sizes = {len(member.weight) if isinstance(member.weight, tuple) else None for member in self.members}
        require(
            sizes in ({None}, {len(self.labels)}),
            "members: either every weight is a number, or every weight is a list of one for each label",
        )
        for label, name in enumerate(self.labels):
            require(
                any(member.counts_for(label) for member in self.members),
                f"members: at least one weight must be above 0 for {name}",
            )
        require(self.blend != "stacking" or self.stacker is not None, "blend: stacking needs a stacker")
        thresholds = self.threshold if isinstance(self.threshold, tuple) else (self.threshold,)
        require(
            thresholds is not self.threshold or (self.task == "multilabel" and len(thresholds) == len(self.labels)),
            "threshold: wanted one number, or for labels that are decided alone (multilabel) a list of one for each",
        )
        require(
            all(0 < each < 1 for each in thresholds),
            f"threshold: wanted a value between 0 and 1, found {self.threshold}",
        )


def is_hub_id(text: str) -> bool:
    """Whether `text` is a Hub repository's `owner/name`."""
    owner, slash, name = text.partition("/")
    plain = all(_PLAIN_NAME.fullmatch(part) and ".." not in part and len(part) <= MAX_NAME for part in (owner, name))
    return bool(slash) and plain


def _check_header(version: int, name: str, task: str, labels: tuple[str, ...]) -> None:
    require(
        version == FORMAT_VERSION,
        f"format_version {cut(version)} is not known here (this medseg reads {FORMAT_VERSION}): update medseg",
    )
    require(0 < len(labels) <= MAX_LABELS, f"labels: wanted 1 to {MAX_LABELS} names, found {len(labels)}")
    require(len(set(labels)) == len(labels), "labels: names must be unique")
    for text in (name, *labels):
        require(
            bool(text.strip()) and len(text) <= MAX_NAME and text.isprintable(),
            f"a name or label must be one line of 1 to {MAX_NAME} printable characters, not {cut(text)}",
        )
    require(task != "binary" or len(labels) == 1, f"a binary task has one label, found {len(labels)}")


def _check_digest(digest: str) -> None:
    require(bool(re.fullmatch(r"[0-9a-f]{64}", digest)), f"{cut(digest)} is not a sha256 (64 hexadecimal digits)")


def load_ensemble(folder: Path) -> tuple[EnsembleConfig, Path]:
    """The settings of an ensemble folder, and the folder that its members' sources are relative to.

    A member folder, as training saves it, is an ensemble of that one member. Raises ConfigError as `load` does.
    """
    if not folder.is_dir():
        if folder.name in embedded_names():  # `./polyp`, or `polyp/` as a shell completes it
            raise ConfigError(f"There is no folder {folder}: write {folder.name} alone for the one that medseg ships.")
        names = ", ".join(embedded_names())
        raise ConfigError(
            f"{folder} is no ensemble: wanted one of {names}, a folder with ensemble.json or member.json, or the Hub's "
            "owner/name."
        )
    description = folder / "member.json"
    for name in ("member", "ensemble"):
        if (folder / name / f"{name}.json").is_file() and not (folder / "ensemble.json").exists():
            raise ConfigError(f"{folder} is the output of a training: name {folder / name}.")
    if (folder / "ensemble.json").exists() or not description.exists():
        return load(EnsembleConfig, folder / "ensemble.json"), folder
    member = load(MemberConfig, description)
    digest = hashlib.sha256(description.read_bytes()).hexdigest()
    folder = folder.resolve()  # `.` has no name
    alone = MemberReference(folder.name, digest, 1.0)
    return EnsembleConfig(member.name, member.task, member.labels, (alone,)), folder.parent
