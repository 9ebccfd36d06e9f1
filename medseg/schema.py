"""JSON ⇄ frozen dataclasses, strictly: the field types are the schema.

Every file may come from a stranger: unknown keys, wrong types and values out of range are refused by name before
anything is built from them. `dump` and `load` are inverses.
"""

from __future__ import annotations

import dataclasses
import json
import math
import re
import stat
import types
from functools import cache
from pathlib import Path
from typing import Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

from medseg.errors import ConfigError
from medseg.writing import replacing

MAX_FILE_BYTES = 1_000_000

Config = TypeVar("Config")

_UNPRINTABLE = re.compile(r"[\x00-\x08\x0b-\x1f\x7f\ud800-\udfff]")  # would break a terminal, a page or UTF-8 itself


def require(condition: bool, sentence: str) -> None:
    """Raise ConfigError with `sentence` unless `condition` holds."""
    if not condition:
        raise ConfigError(sentence)


def cut(value: Any) -> str:
    """A stranger's value for a one-sentence refusal."""
    text = repr(value)
    return text if len(text) <= 80 else f"{text[:80]}…"


def load(cls: type[Config], path: Path) -> Config:
    """Read `path` as the dataclass `cls`.

    Raises ConfigError, in one sentence with the file's name and the place in it, for a missing or overlong file, text
    that is not JSON, an unknown or missing key, a wrong type, or a value out of range.
    """
    try:
        status = path.stat()
        require(stat.S_ISREG(status.st_mode), "no ordinary file")  # a pipe or device may never end
        require(status.st_size <= MAX_FILE_BYTES, f"{path.name} is larger than {MAX_FILE_BYTES} bytes")
        data = json.loads(path.read_bytes())
        return from_json(cls, data)
    except OSError as error:
        raise ConfigError(f"{path.name} cannot be read in {path.parent.name}: {error.strerror}.") from None
    except (ValueError, RecursionError):  # ValueError: also bytes that are no UTF-8, or a number of 5,000 digits
        raise ConfigError(f"{path.name} is not valid JSON.") from None
    except ConfigError as error:
        raise ConfigError(f"{path.name}: {str(error).rstrip('.')}.") from None


def dump(config: Any, path: Path) -> None:
    """Write a dataclass as indented JSON, to a temporary neighbour first so that no half-written file is ever seen.

    Raises ConfigError, and writes nothing, for what `load` would refuse.
    """
    text = json.dumps(dataclasses.asdict(config), indent=2, ensure_ascii=False) + "\n"
    try:
        from_json(type(config), json.loads(text))
    except ConfigError as error:
        raise ConfigError(f"{path.name} cannot be written: {error}") from None
    with replacing(path) as writing:
        writing.write_text(text, encoding="utf-8")


def from_json(cls: type[Config], data: Any, where: str = "") -> Config:
    """Build the dataclass `cls` from parsed JSON; `where` is the place named in a refusal."""
    require(isinstance(data, dict), f"{where or 'the file'} must be an object")
    kinds = _field_types(cls)  # type: ignore[arg-type]
    unknown = sorted(set(data) - set(kinds))
    require(not unknown, f"unknown key {cut(unknown[0])} in {where or 'the file'}" if unknown else "")
    required = {f.name for f in dataclasses.fields(cls) if _has_no_default(f)}  # type: ignore[arg-type]
    missing = sorted(required - set(data))
    require(not missing, f"missing key {missing[0]!r} in {where or 'the file'}" if missing else "")
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
    if origin in (Union, types.UnionType):  # only `X | None` and `X | tuple[X, ...]` are used
        if value is None and types.NoneType in arguments:
            return None
        is_list = isinstance(value, list) and get_origin(arguments[1]) is tuple
        return _value(arguments[is_list], value, where)
    if dataclasses.is_dataclass(kind):
        return from_json(kind, value, where)  # type: ignore[arg-type]
    if origin is tuple:
        return _tuple(arguments, value, where)
    if origin is dict:
        require(isinstance(value, dict), f"{where} must be an object")
        return {key: _value(arguments[1], item, f"{where}.{cut(key)}") for key, item in value.items()}
    if origin is Literal:
        require(value in arguments, f"{where} must be one of {', '.join(arguments)}, not {cut(value)}")
        return value
    if kind is float and type(value) is int and abs(value) < 2**53:  # above, JSON's 1 and 1.0 are no longer the same
        value = float(value)
    require(type(value) is kind, f"{where} must be {kind.__name__}, not {type(value).__name__}")
    require(kind is not float or math.isfinite(value), f"{where} must be a finite number")
    require(kind is not str or not _UNPRINTABLE.search(value), f"{where} holds control characters or broken Unicode")
    return value


def _tuple(arguments: tuple[Any, ...], value: Any, where: str) -> tuple[Any, ...]:
    require(isinstance(value, list), f"{where} must be a list")
    if arguments[-1] is Ellipsis:
        if arguments[0] is float and all(type(item) is float for item in value) and all(map(math.isfinite, value)):
            return tuple(value)  # the rows of a domain.json: six times as fast as one by one
        return tuple(_value(arguments[0], item, f"{where}[{i}]") for i, item in enumerate(value))
    require(len(value) == len(arguments), f"{where} needs {len(arguments)} values, not {len(value)}")
    return tuple(
        _value(kind, item, f"{where}[{i}]") for i, (kind, item) in enumerate(zip(arguments, value, strict=True))
    )
