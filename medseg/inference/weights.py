"""model.safetensors without torch: which tensors it holds, where they lie, and whether all of them are finite.

Format: https://github.com/huggingface/safetensors#format
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from medseg.errors import DamagedError

MAX_HEADER_BYTES = 10_000_000
_FLOATS = {
    "F16": (np.uint16, 0x7C00),
    "BF16": (np.uint16, 0x7F80),
    "F32": (np.uint32, 0x7F800000),
    "F64": (np.uint64, 0x7FF0000000000000),
}
"""The integer of the same size, and the exponent bits, which are all set in NaN and infinity (IEEE 754)."""
_SIZES = {"F16": 2, "BF16": 2, "F32": 4, "F64": 8, "I64": 8, "I32": 4, "I16": 2, "I8": 1, "U8": 1, "BOOL": 1}


@dataclass(frozen=True)
class Slot:
    """Where a tensor lies: `offset` and `length` in bytes, from the start of the file."""

    dtype: str
    shape: tuple[int, ...]
    offset: int
    length: int


def read_slots(content: bytes) -> dict[str, Slot]:
    """The tensors of a safetensors file by name.

    They fill the file without gap or overlap, and every shape has the length of its bytes. Raises ValueError that says
    what is wrong otherwise.
    """
    size = int.from_bytes(content[:8], "little")
    if len(content) < 8 or size > min(MAX_HEADER_BYTES, len(content) - 8):
        raise ValueError("it is no safetensors file")
    try:
        header = json.loads(content[8 : 8 + size])
    except (ValueError, RecursionError):
        raise ValueError("its header is no JSON") from None
    if not isinstance(header, dict):
        raise ValueError("its header is no object")
    header.pop("__metadata__", None)
    slots = {name: _slot(name, entry, 8 + size) for name, entry in header.items()}
    end = 8 + size
    for slot in sorted(slots.values(), key=lambda slot: (slot.offset, slot.length)):
        if slot.offset != end:
            raise ValueError("its tensors overlap or leave a gap")
        end += slot.length
    if end != len(content):
        raise ValueError("its tensors do not fill the file")
    return slots


def check_finite(content: bytes, slots: Mapping[str, Slot]) -> None:
    """Raises DamagedError that names a tensor with NaN or infinity."""
    for name, slot in slots.items():
        if slot.dtype not in _FLOATS or not slot.length:
            continue
        kind, exponent = _FLOATS[slot.dtype]
        values = np.frombuffer(content, np.uint8, slot.length, slot.offset).view(kind)
        if (values & kind(exponent) == exponent).any():
            raise DamagedError(f"The weights hold NaN or infinity in {name}: train again or fetch another copy.")


def _slot(name: str, entry: Any, start: int) -> Slot:
    try:
        dtype, shape, (begin, end) = entry["dtype"], entry["shape"], entry["data_offsets"]
        numbers = [*shape, begin, end]
    except (TypeError, KeyError, ValueError):
        raise ValueError(f"its header does not describe {name[:80]!r}") from None
    if dtype not in _SIZES or any(type(number) is not int or number < 0 for number in numbers):
        raise ValueError(f"its header does not describe {name[:80]!r}")
    if end - begin != math.prod(shape) * _SIZES[dtype]:
        raise ValueError(f"{name[:80]!r} has another length than its shape")
    return Slot(dtype, tuple(shape), start + begin, end - begin)
