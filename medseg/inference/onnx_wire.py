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
_EMPTY = {"int": 0, "text": "", "bytes": b"", "float": 0.0}
_ALIKE = {"TYPE", "ATTRIBUTE"}
"""Messages that come again and again with the same bytes, such as a shape: what was read of them once is shared."""


def _table(fields: dict[int, tuple[str, str]]) -> tuple[dict[int, tuple[str, str, bool]], Message]:
    """Key (number · 8 + wire type) → name, kind, repeated; and the message without any field."""
    table = {}
    for number, (name, of) in fields.items():
        kind, many = of.lstrip("*"), of[0] == "*"
        wires = [{"int": 0, "float": 5}.get(kind, 2)]
        for wire in {*wires, 2} if many else wires:  # repeated numbers may be packed, and only those
            table[8 * number + wire] = name, kind, many
    return table, {name: () if of[0] == "*" else _EMPTY.get(of) for name, of in fields.values()}


_TABLES = {kind: _table(fields) for kind, fields in _FIELDS.items()}


def read_model(content: bytes) -> Message:
    """A ModelProto as nested dictionaries, which share parts. Raises ValueError for anything that is not in `_FIELDS`,
    or comes twice."""
    try:
        return _message(content, "MODEL", {})
    except (IndexError, struct.error):
        raise ValueError("it ends within a number") from None


def _message(content: bytes, kind: str, known: dict[tuple[str, bytes], Message]) -> Message:
    table, empty = _TABLES[kind]
    message = empty.copy()
    place, end = 0, len(content)
    present = set()
    while place < end:
        key, place = (content[place], place + 1) if content[place] < 128 else _varint(content, place)
        if key not in table:
            raise ValueError(f"it holds the field {key >> 3} of wire type {key & 7} in {kind}")
        name, of, many = table[key]
        value: Any
        if key & 7 == 0:
            value, place = _int(content, place)
        elif key & 7 == 5:
            value, place = struct.unpack_from("<f", content, place)[0], place + 4
        else:
            length, place = (content[place], place + 1) if content[place] < 128 else _varint(content, place)
            piece = content[place : place + length]
            place += length
            if place > end:
                raise ValueError("it ends within a field")
            value = _value(piece, of, known)
        if many:
            if name not in present:
                message[name] = []
            message[name] += value if key & 7 == 2 and of in ("int", "float") else [value]
        elif name in present:
            raise ValueError(f"it holds {name} twice")
        else:
            message[name] = value
        present.add(name)
    return message


def _value(piece: bytes, of: str, known: dict[tuple[str, bytes], Message]) -> Any:
    """What a field of so many bytes holds: of packed numbers a list."""
    if of == "text":
        text = piece.decode("latin-1")
        if not (text.isascii() and text.isprintable()):  # such names come into errors, on terminals
            raise ValueError("a name in it is not printable ASCII")
        return text
    if of == "bytes":
        return piece
    if of == "float":
        return list(struct.unpack(f"<{len(piece) // 4}f", piece))
    if of == "int":
        numbers, place = [], 0
        while place < len(piece):
            number, place = _int(piece, place)
            numbers.append(number)
        return numbers
    if of not in _ALIKE:
        return _message(piece, of, known)
    if (of, piece) not in known:
        known[of, piece] = _message(piece, of, known)
    return known[of, piece]


def _int(content: bytes, place: int) -> tuple[int, int]:
    if content[place] < 128:
        return content[place], place + 1
    value, place = _varint(content, place)
    return value - 2**64 if value >= 2**63 else value, place


def _varint(content: bytes, place: int) -> tuple[int, int]:
    value = shift = 0
    while shift < 64:
        byte = content[place]
        value |= (byte & 127) << shift
        place += 1
        if byte < 128:
            if value >= 2**64 or (byte == 0 and shift):
                break
            return value, place
        shift += 7
    raise ValueError("a number is written in too many bytes")
