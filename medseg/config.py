"""The JSON files beside the weights (`member.json`, `ensemble.json`) as frozen dataclasses with a strict schema.

Every file may come from a stranger: unknown keys, wrong types and values out of range are refused by name before
anything is built from them. `dump` and `load` are inverses.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import math
import re
import types
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

from medseg.errors import ConfigError

FORMAT_VERSION = 1
MAX_LABELS = 64
MAX_SIDE = 2048
MAX_FILE_BYTES = 1_000_000
MAX_NAME = 100

Task = Literal["binary", "multiclass", "multilabel"]
"""binary: one label; multilabel: labels may overlap; multiclass: at most one label a pixel, beside a background."""

Config = TypeVar("Config")

_UNPRINTABLE = re.compile(r"[\x00-\x08\x0b-\x1f\x7f\ud800-\udfff]")  # would break a terminal, a page or UTF-8 itself


def _require(condition: bool, sentence: str) -> None:
    if not condition:
        raise ConfigError(sentence)


@dataclass(frozen=True)
class Preprocess:
    """How an image becomes a member's input.

    The picture is resized to (height, width), each a multiple of 32 as five-stage encoders need: `stretch` ignores the
    aspect ratio, `letterbox` keeps it and pads with black. Then (value − mean) / std per channel.
    """

    height: int
    width: int
    channels: int = 3
    mean: tuple[float, ...] = (0.485, 0.456, 0.406)
    std: tuple[float, ...] = (0.229, 0.224, 0.225)
    resize: Literal["stretch", "letterbox"] = "stretch"

    def __post_init__(self) -> None:
        for side in (self.height, self.width):
            _require(
                0 < side <= MAX_SIDE and side % 32 == 0,
                f"preprocess: sides must be multiples of 32 up to {MAX_SIDE}, not {side}",
            )
        _require(self.channels in (1, 3), f"preprocess: channels must be 1 or 3, not {self.channels}")
        _require(
            len(self.mean) == len(self.std) == self.channels, "preprocess: mean and std need one value for each channel"
        )
        # pixels lie in [0, 1]: a std of 1/255 or a mean of 255 is odd but sane, 1e-300 makes every input infinite
        _require(all(1e-4 <= value <= 1e4 for value in self.std), "preprocess: every std must lie in 0.0001 to 10,000")
        _require(all(abs(value) <= 1e4 for value in self.mean), "preprocess: every mean must lie within ±10,000")


@dataclass(frozen=True)
class Score:
    """One figure with its protocol: metric, split, how it was averaged, n, and a 95 % bootstrap interval by case.

    `low` and `high` are None where there is no interval (fewer than two cases); nan says the same and becomes None,
    because JSON knows no nan.
    """

    metric: str
    value: float
    low: float | None
    high: float | None
    n: int
    split: str
    protocol: str

    def __post_init__(self) -> None:
        for bound in ("low", "high"):
            value = getattr(self, bound)
            if value is not None and math.isnan(value):
                object.__setattr__(self, bound, None)


@dataclass(frozen=True)
class Appearance:
    """How the training pictures look: the (low, high) range of each statistic of `medseg.scope.look`."""

    brightness: tuple[float, float]
    red_green: tuple[float, float]
    yellow_blue: tuple[float, float]


@dataclass(frozen=True)
class TrainingData:
    """What a member was trained on. `modalities` are DICOM (0008,0060) codes that such pictures may carry."""

    name: str
    licence: str
    url: str = ""
    citation: str = ""
    modalities: tuple[str, ...] = ()
    pictures: str = ""
    appearance: Appearance | None = None


@dataclass(frozen=True)
class MemberConfig:
    """`member.json`: what smp's config.json does not say. `files` maps each hashed file's name to its sha256."""

    name: str
    task: Task
    labels: tuple[str, ...]
    preprocess: Preprocess
    training_data: TrainingData
    weights_licence: str
    files: dict[str, str]
    scores: tuple[Score, ...] = ()
    format_version: int = FORMAT_VERSION

    def __post_init__(self) -> None:
        _check_header(self.format_version, self.name, self.task, self.labels)
        for name, digest in self.files.items():
            _require(name in ("config.json", "model.safetensors"), f"files: {_cut(name)} is not a file of a member")
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
        _require(self.min_area_px >= 0, f"cleanup: min_area_px must be 0 or more, not {self.min_area_px}")


@dataclass(frozen=True)
class MemberReference:
    """Where a member is found and how much it counts. `source` is a folder relative to ensemble.json; `sha256` is that
    of the member's member.json, which in turn holds the hashes of the other files."""

    source: str
    sha256: str
    weight: float

    def __post_init__(self) -> None:
        _require(
            bool(re.fullmatch(r"[A-Za-z0-9_-][A-Za-z0-9._-]*", self.source)) and len(self.source) <= MAX_NAME,
            "members: source must be the name of a folder beside ensemble.json, in letters, digits, dot, dash and "
            f"underscore, not {_cut(self.source)}",
        )
        _check_digest(self.sha256)
        _require(
            0 <= self.weight < math.inf, f"members: a weight must be a finite number of 0 or more, not {self.weight}"
        )


@dataclass(frozen=True)
class Fitted:
    """How weights and threshold were chosen: the data and its hash, the method, and what each choice scored there.

    Each choice has its own best threshold there, so these scores flatter all three alike; they are not test scores.
    """

    data: str
    split_sha256: str
    method: str
    best_single_member: str
    best_single: Score
    equal: Score
    fitted: Score


@dataclass(frozen=True)
class EnsembleConfig:
    """`ensemble.json`."""

    name: str
    task: Task
    labels: tuple[str, ...]
    members: tuple[MemberReference, ...]
    threshold: float = 0.5
    cleanup: Cleanup = field(default_factory=Cleanup)
    fitted: Fitted | None = None
    format_version: int = FORMAT_VERSION

    def __post_init__(self) -> None:
        _check_header(self.format_version, self.name, self.task, self.labels)
        _require(0 < len(self.members) <= 32, f"members: wanted 1 to 32 members, found {len(self.members)}")
        _require(len({member.source for member in self.members}) == len(self.members), "members: a source stands twice")
        _require(any(member.weight > 0 for member in self.members), "members: at least one weight must be above 0")
        _require(0 < self.threshold < 1, f"threshold: wanted a value between 0 and 1, found {self.threshold}")


def _cut(value: Any) -> str:
    """A stranger's value for a one-sentence refusal."""
    text = repr(value)
    return text if len(text) <= 80 else f"{text[:80]}…"


def _check_header(version: int, name: str, task: str, labels: tuple[str, ...]) -> None:
    _require(
        version == FORMAT_VERSION,
        f"format_version {_cut(version)} is not known here (this medseg reads {FORMAT_VERSION}): update medseg",
    )
    _require(0 < len(labels) <= MAX_LABELS, f"labels: wanted 1 to {MAX_LABELS} names, found {len(labels)}")
    _require(len(set(labels)) == len(labels), "labels: names must be unique")
    for text in (name, *labels):
        _require(
            bool(text.strip()) and len(text) <= MAX_NAME and text.isprintable(),
            f"a name or label must be one line of 1 to {MAX_NAME} printable characters, not {_cut(text)}",
        )
    _require(task != "binary" or len(labels) == 1, f"a binary task has one label, found {len(labels)}")


def _check_digest(digest: str) -> None:
    _require(bool(re.fullmatch(r"[0-9a-f]{64}", digest)), f"{_cut(digest)} is not a sha256 (64 hexadecimal digits)")


def load(cls: type[Config], path: Path) -> Config:
    """Read `path` as the dataclass `cls`.

    Raises ConfigError, in one sentence with the file's name and the place in it, for a missing or overlong file, text
    that is not JSON, an unknown or missing key, a wrong type, or a value out of range.
    """
    try:
        _require(path.stat().st_size <= MAX_FILE_BYTES, f"{path.name} is larger than {MAX_FILE_BYTES} bytes")
        data = json.loads(path.read_bytes())
        return from_json(cls, data)
    except OSError as error:
        raise ConfigError(f"{path.name} cannot be read in {path.parent.name}: {error.strerror}.") from None
    except (ValueError, RecursionError):  # ValueError: also bytes that are no UTF-8, or a number of 5,000 digits
        raise ConfigError(f"{path.name} is not valid JSON.") from None
    except ConfigError as error:
        raise ConfigError(f"{path.name}: {error}") from None


def load_ensemble(folder: Path) -> tuple[EnsembleConfig, Path]:
    """The settings of an ensemble folder, and the folder that its members' sources are relative to.

    A member folder, as training saves it, is an ensemble of that one member. Raises ConfigError as `load` does.
    """
    description = folder / "member.json"
    if (folder / "ensemble.json").exists() or not description.exists():
        return load(EnsembleConfig, folder / "ensemble.json"), folder
    member = load(MemberConfig, description)
    digest = hashlib.sha256(description.read_bytes()).hexdigest()
    folder = folder.resolve()  # `.` has no name
    alone = MemberReference(folder.name, digest, 1.0)
    return EnsembleConfig(member.name, member.task, member.labels, (alone,)), folder.parent


def dump(config: Any, path: Path) -> None:
    """Write a dataclass as indented JSON, to a temporary neighbour first so that no half-written file is ever seen.

    Raises ConfigError, and writes nothing, for what `load` would refuse.
    """
    text = json.dumps(dataclasses.asdict(config), indent=2, ensure_ascii=False) + "\n"
    try:
        from_json(type(config), json.loads(text))
    except ConfigError as error:
        raise ConfigError(f"{path.name} cannot be written: {error}") from None
    temporary = path.with_name(f".{path.name}.writing")
    temporary.write_text(text, encoding="utf-8")
    temporary.replace(path)


def from_json(cls: type[Config], data: Any, where: str = "") -> Config:
    """Build the dataclass `cls` from parsed JSON; `where` is the place named in a refusal."""
    _require(isinstance(data, dict), f"{where or 'the file'} must be an object")
    kinds = _field_types(cls)  # type: ignore[arg-type]
    unknown = sorted(set(data) - set(kinds))
    _require(not unknown, f"unknown key {_cut(unknown[0])} in {where or 'the file'}" if unknown else "")
    required = {f.name for f in dataclasses.fields(cls) if _has_no_default(f)}  # type: ignore[arg-type]
    missing = sorted(required - set(data))
    _require(not missing, f"missing key {missing[0]!r} in {where or 'the file'}" if missing else "")
    return cls(**{key: _value(kinds[key], value, f"{where}.{key}".lstrip(".")) for key, value in data.items()})


@cache
def _field_types(cls: Any) -> dict[str, Any]:
    return get_type_hints(cls)


def _has_no_default(entry: dataclasses.Field[Any]) -> bool:
    return entry.default is dataclasses.MISSING and entry.default_factory is dataclasses.MISSING


def _value(kind: Any, value: Any, where: str) -> Any:
    origin, arguments = get_origin(kind), get_args(kind)
    if kind is Any:
        return value
    if origin in (Union, types.UnionType):  # only `X | None` is used
        return None if value is None else _value(arguments[0], value, where)
    if dataclasses.is_dataclass(kind):
        return from_json(kind, value, where)  # type: ignore[arg-type]
    if origin is tuple:
        return _tuple(arguments, value, where)
    if origin is dict:
        _require(isinstance(value, dict), f"{where} must be an object")
        return {key: _value(arguments[1], item, f"{where}.{_cut(key)}") for key, item in value.items()}
    if origin is Literal:
        _require(value in arguments, f"{where} must be one of {', '.join(arguments)}, not {_cut(value)}")
        return value
    if kind is float and type(value) is int and abs(value) < 2**53:  # above, JSON's 1 and 1.0 are no longer the same
        value = float(value)
    _require(type(value) is kind, f"{where} must be {kind.__name__}, not {type(value).__name__}")
    _require(kind is not float or math.isfinite(value), f"{where} must be a finite number")
    _require(kind is not str or not _UNPRINTABLE.search(value), f"{where} holds control characters or broken Unicode")
    return value


def _tuple(arguments: tuple[Any, ...], value: Any, where: str) -> tuple[Any, ...]:
    _require(isinstance(value, list), f"{where} must be a list")
    if arguments[-1] is Ellipsis:
        return tuple(_value(arguments[0], item, f"{where}[{i}]") for i, item in enumerate(value))
    _require(len(value) == len(arguments), f"{where} needs {len(arguments)} values, not {len(value)}")
    return tuple(
        _value(kind, item, f"{where}[{i}]") for i, (kind, item) in enumerate(zip(arguments, value, strict=True))
    )
