"""ONNX files read strictly: the fields that `graph.onnx` needs, each where it belongs, and no other.

A file is protobuf: a message is a row of fields, each a key (number · 8 + wire type) and a value. Readers differ where
a single field comes twice, a number is written in more bytes than it needs, or a field is unknown; all of that is
refused here, so that ONNX Runtime reads what was checked. Sources: protobuf.dev/programming-guides/encoding, and
onnx.proto of ONNX 1.16.
"""

from __future__ import annotations

import struct
from typing import Any, TypeAlias

Message: TypeAlias = dict[str, Any]
"""Field name → value. A field that is not there: 0, "", b"", [] or None, as its kind has it."""

# field number → (name, kind). "*" in front of a kind: as often as one likes. A kind in capitals is a message.
_FIELDS: dict[str, dict[int, tuple[str, str]]] = {
    "MODEL": {
        1: ("ir_version", "int"),
        2: ("producer_name", "text"),
        3: ("producer_version", "text"),
        7: ("graph", "GRAPH"),
        8: ("opset_import", "*OPSET"),
    },
    "OPSET": {1: ("domain", "text"), 2: ("version", "int")},
    "GRAPH": {
        1: ("node", "*NODE"),
        2: ("name", "text"),
        5: ("initializer", "*TENSOR"),
        11: ("input", "*VALUE"),
        12: ("output", "*VALUE"),
        13: ("value_info", "*VALUE"),
    },
    "NODE": {
        1: ("input", "*text"),
        2: ("output", "*text"),
        3: ("name", "text"),
        4: ("op_type", "text"),
        5: ("attribute", "*ATTRIBUTE"),
        7: ("domain", "text"),
    },
    "ATTRIBUTE": {
        1: ("name", "text"),
        2: ("f", "float"),
        3: ("i", "int"),
        4: ("s", "bytes"),
        7: ("floats", "*float"),
        8: ("ints", "*int"),
        20: ("type", "int"),
    },
    "TENSOR": {
        1: ("dims", "*int"),
        2: ("data_type", "int"),
        8: ("name", "text"),
        9: ("raw_data", "bytes"),
        13: ("external_data", "*ENTRY"),
        14: ("data_location", "int"),
    },
    "ENTRY": {1: ("key", "text"), 2: ("value", "text")},
    "VALUE": {1: ("name", "text"), 2: ("type", "TYPE")},
    "TYPE": {1: ("tensor_type", "TENSOR_TYPE")},
    "TENSOR_TYPE": {1: ("elem_type", "int"), 2: ("shape", "SHAPE")},
    "SHAPE": {1: ("dim", "*DIM")},
    "DIM": {1: ("dim_value", "int")},
}
_WIRE = {"int": 0, "float": 5}  # the wire type of numbers; everything else is a length and that many bytes: 2
_EMPTY = {"int": 0, "text": "", "bytes": b"", "float": 0.0}


def read_model(content: bytes) -> Message:
    """A ModelProto as nested dictionaries. Raises ValueError for anything that is not in `_FIELDS`, or comes twice."""
    return _message(content, "MODEL")


def _message(content: bytes, kind: str) -> Message:
    fields = _FIELDS[kind]
    message: Message = {name: [] if of[0] == "*" else _EMPTY.get(of) for name, of in fields.values()}
    present: set[str] = set()
    place = 0
    while place < len(content):
        key, place = _varint(content, place)
        if key >> 3 not in fields:
            raise ValueError(f"it holds the field {key >> 3} in {kind}")
        name, of = fields[key >> 3]
        value, place = _value(content, place, key & 7, of.lstrip("*"))
        if of[0] == "*":
            message[name] += value
        elif name in present:
            raise ValueError(f"it holds {name} twice")
        else:
            (message[name],) = value
        present.add(name)
    return message


def _value(content: bytes, place: int, wire: int, of: str) -> tuple[list[Any], int]:
    """The values at `place` (several where repeated numbers are packed) and the place behind them."""
    if wire == _WIRE.get(of, 2):
        if wire == 2:
            piece, place = _piece(content, place)
            return [_text(piece) if of == "text" else piece if of == "bytes" else _message(piece, of)], place
        value, place = _number(content, place, of)
        return [value], place
    if wire != 2 or of not in _WIRE:
        raise ValueError(f"a field has the wire type {wire}")
    piece, place = _piece(content, place)
    values, inside = [], 0
    while inside < len(piece):
        value, inside = _number(piece, inside, of)
        values.append(value)
    return values, place


def _number(content: bytes, place: int, of: str) -> tuple[int | float, int]:
    if of == "int":
        value, place = _varint(content, place)
        return value - 2**64 if value >= 2**63 else value, place
    if place + 4 > len(content):
        raise ValueError("it ends within a number")
    return struct.unpack_from("<f", content, place)[0], place + 4


def _varint(content: bytes, place: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        if place >= len(content) or shift > 63:
            raise ValueError("it ends within a number")
        byte = content[place]
        value |= (byte & 127) << shift
        place += 1
        if byte < 128:
            break
        shift += 7
    if value >= 2**64 or (byte == 0 and shift):
        raise ValueError("a number is written in too many bytes")
    return value, place


def _piece(content: bytes, place: int) -> tuple[bytes, int]:
    length, place = _varint(content, place)
    if place + length > len(content):
        raise ValueError("it ends within a field")
    return content[place : place + length], place + length


def _text(piece: bytes) -> str:
    try:
        return piece.decode("ascii")
    except UnicodeDecodeError:
        raise ValueError("a name in it is not ASCII") from None
