"""A member's `graph.onnx` checked before anything opens it: a graph is a program, and comes from strangers.

Allowed is what a network of convolutions or attention needs: one straight row of listed operators, weights that are the
tensors of `model.safetensors` and lie in that file, small constants, and fixed shapes that fit into memory.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import TypeAlias

import numpy as np

from medseg.hub.folders import MAX_GRAPH_BYTES, WEIGHTS
from medseg.inference.onnx_wire import Message, read_model
from medseg.inference.weights import Slot

IMAGE, LOGITS = "image", "logits"
"""The names of the graph's input and output, by which it is run."""
MAX_NODES = 10_000
MAX_ELEMENTS = 2**29
"""Numbers that are alive at once, 2 GB in float32: a U-Net on the largest input, 2048 × 2048, needs a quarter of it."""
MAX_WORK = 10**13
"""Multiplications of one run: several minutes on two cores."""
_TOUCHED = 30
"""Multiplications that take as long as reading or writing one number of a value."""
MAX_RANK = 6
MAX_NUMBER = 2**31 - 1
"""Largest number in an attribute or a constant of whole numbers, so that no product of two leaves 64 bits."""
TO_THE_END = 2**63 - 1
"""What torch gives `Slice` as the end of an axis."""
OPSETS = range(18, 24)
IR_VERSIONS = range(8, 12)

OPERATORS = frozenset(
    [
        "Add",
        "AveragePool",
        "BatchNormalization",
        "Cast",
        "Clip",
        "Concat",
        "Conv",
        "ConvTranspose",
        "Div",
        "Elu",
        "Erf",
        "Exp",
        "Expand",
        "Flatten",
        "Gather",
        "GatherND",
        "Gelu",
        "Gemm",
        "GlobalAveragePool",
        "GlobalMaxPool",
        "HardSigmoid",
        "HardSwish",
        "Identity",
        "InstanceNormalization",
        "LayerNormalization",
        "LeakyRelu",
        "MatMul",
        "Max",
        "MaxPool",
        "Min",
        "Mul",
        "Neg",
        "Pad",
        "Pow",
        "PRelu",
        "Reciprocal",
        "ReduceMax",
        "ReduceMean",
        "ReduceSum",
        "Relu",
        "Reshape",
        "Resize",
        "Selu",
        "Sigmoid",
        "Slice",
        "Softmax",
        "Softplus",
        "Split",
        "Sqrt",
        "Squeeze",
        "Sub",
        "Tanh",
        "Tile",
        "Transpose",
        "Unsqueeze",
        "Where",
    ]
)
_SHAPING = {"Expand", "Pad", "ReduceMax", "ReduceMean", "ReduceSum", "Reshape", "Resize", "Slice", "Split", "Squeeze",
            "Tile", "Unsqueeze"}  # fmt: skip
"""Operators whose inputs after the first decide about the result's shape: they must be constants."""
_WEIGHING = {"Conv", "ConvTranspose", "Gemm", "MatMul"}

FLOAT, INT32, INT64, BOOL, FLOAT16 = 1, 6, 7, 9, 10  # TensorProto.DataType
_BYTES = {FLOAT: 4, INT32: 4, INT64: 8, BOOL: 1, FLOAT16: 2}
_NAMES = {"F16": FLOAT16, "F32": FLOAT}
_TEXTS = {
    b"", b"NOTSET", b"VALID", b"SAME_UPPER", b"SAME_LOWER", b"none", b"tanh", b"constant", b"reflect", b"edge",
    b"nearest", b"linear", b"cubic", b"stretch", b"half_pixel", b"pytorch_half_pixel", b"align_corners", b"asymmetric",
    b"floor", b"ceil", b"round_prefer_floor", b"round_prefer_ceil",
}  # fmt: skip
"""What a text attribute may say: padding, how to interpolate, how to approximate."""
_NUMBER, _LIST_OF_NUMBERS = {1: "f", 2: "i", 3: "s"}, {6: "floats", 7: "ints"}  # AttributeProto.AttributeType

Shape: TypeAlias = tuple[int, ...]


@dataclass
class _Values:
    """What is known of the graph's values: their shapes, and which of them are constants written in the graph."""

    image: str
    declared: dict[str, Shape]
    shapes: dict[str, Shape] = field(default_factory=dict)
    constants: set[str] = field(default_factory=set)

    def add(self, name: str, shape: Shape) -> None:
        _require(bool(name) and name not in self.shapes, f"the value {name[:80]!r} is there twice, or has no name")
        self.shapes[name] = shape


def check_graph(content: bytes, slots: Mapping[str, Slot], image: Shape, logits: Shape) -> None:
    """Raises ValueError that says what is wrong, unless `content` is a graph from `image` (1, C, H, W) to `logits`
    (1, channels, H, W) that is allowed; `slots` are the tensors of the member's weights."""
    _require(len(content) <= MAX_GRAPH_BYTES, f"it has {len(content):,} bytes, over the limit of {MAX_GRAPH_BYTES:,}")
    model = read_model(content)
    graph = model["graph"]
    _require(graph is not None, "it holds no graph")
    versions = [(opset["domain"], opset["version"]) for opset in model["opset_import"]]
    _require(
        model["ir_version"] in IR_VERSIONS and len(versions) == 1 and versions[0] in {("", n) for n in OPSETS},
        f"its version is not one of IR {IR_VERSIONS[0]} to {IR_VERSIONS[-1]} and opset {OPSETS[0]} to {OPSETS[-1]}",
    )
    _require(0 < len(graph["node"]) <= MAX_NODES, f"it has {len(graph['node'])} operators, not 1 to {MAX_NODES}")
    names = [entry["name"] for entry in (*graph["value_info"], *graph["input"], *graph["output"])]
    _require(len(set(names)) == len(names), "the shape of a value is there twice")
    values = _Values(graph["input"][0]["name"] if graph["input"] else "", dict(_declared(graph["value_info"])))
    _check_ends(graph, image, logits, values)
    for tensor in graph["initializer"]:
        _check_tensor(tensor, slots, values)
    for node in graph["node"]:
        _check_node(node, values)
    output = graph["output"][0]["name"]
    _require(output in values.shapes and output not in values.constants, "nothing computes its output")
    _check_memory(graph["node"], values, output)


def _require(condition: bool, sentence: str) -> None:
    if not condition:
        raise ValueError(sentence)


def _declared(entries: list[Message]) -> Iterator[tuple[str, Shape]]:
    for entry in entries:
        kind = entry["type"] and entry["type"]["tensor_type"]
        _require(bool(kind and kind["shape"]), f"the value {entry['name'][:80]!r} has no shape")
        shape = tuple(dim["dim_value"] for dim in kind["shape"]["dim"])
        _require(kind["elem_type"] in _BYTES, f"the value {entry['name'][:80]!r} has an unknown type")
        _check_shape(entry["name"], shape)
        yield entry["name"], shape


def _check_shape(name: str, shape: Shape) -> None:
    fits = len(shape) <= MAX_RANK and all(0 < side <= MAX_ELEMENTS for side in shape)
    _require(fits and math.prod(shape) <= MAX_ELEMENTS, f"the value {name[:80]!r} has the shape {str(shape)[:80]}")


def _check_ends(graph: Message, image: Shape, logits: Shape, values: _Values) -> None:
    """One image goes in, its logits come out."""
    for what, name, entries, shape in (
        ("input", IMAGE, graph["input"], image),
        ("output", LOGITS, graph["output"], logits),
    ):
        declared = list(_declared(entries))
        is_float = all(entry["type"]["tensor_type"]["elem_type"] == FLOAT for entry in entries)
        _require(
            [of for _, of in declared] == [shape] and is_float,
            f"its {what} is {str([of for _, of in declared])[:80]}, member.json wants one float {what} {shape}",
        )
        _require(declared[0][0] == name, f"its {what} is called {declared[0][0][:80]!r}, wanted {name!r}")
        values.declared |= dict(declared)
    values.add(values.image, image)


def _check_tensor(tensor: Message, slots: Mapping[str, Slot], values: _Values) -> None:
    name, shape, kind = tensor["name"], tuple(tensor["dims"]), tensor["data_type"]
    _require(name not in values.declared, f"the shape of {name[:80]!r} is there twice")
    _check_shape(name, shape)
    values.add(name, shape)
    if not tensor["external_data"] and not tensor["data_location"]:
        fits = kind in _BYTES and len(tensor["raw_data"]) == math.prod(shape) * _BYTES[kind]
        _require(fits, f"the constant {name[:80]!r} has another length than its shape")
        _check_numbers(name, tensor["raw_data"], kind)
        values.constants.add(name)
        return
    slot = slots.get(name)
    _require(slot is not None, f"the weights hold no {name[:80]!r}")
    assert slot is not None  # noqa: S101 mypy
    pairs = [(entry["key"], entry["value"]) for entry in tensor["external_data"]]
    wanted = [("location", WEIGHTS), ("offset", str(slot.offset)), ("length", str(slot.length))]
    _require(
        (sorted(pairs), kind, shape) == (sorted(wanted), _NAMES.get(slot.dtype), slot.shape)
        and tensor["data_location"] == 1
        and not tensor["raw_data"],
        f"the tensor {name[:80]!r} is not the one in {WEIGHTS}",
    )


def _check_numbers(name: str, content: bytes, kind: int) -> None:
    """Whole numbers are sides, places and counts, which ONNX Runtime multiplies; others may be infinite."""
    if kind in (FLOAT, FLOAT16):
        _require(
            not np.isnan(np.frombuffer(content, f"<f{_BYTES[kind]}")).any(), f"the constant {name[:80]!r} holds NaN"
        )
    if kind not in (INT32, INT64):
        return
    numbers = np.frombuffer(content, f"<i{_BYTES[kind]}").astype(np.int64)
    small = (numbers == TO_THE_END) | ((numbers >= -MAX_NUMBER) & (numbers <= MAX_NUMBER))
    _require(bool(small.all()), f"the constant {name[:80]!r} holds a number that is out of range")


def _check_node(node: Message, values: _Values) -> None:
    kind = node["op_type"]
    _require(
        kind in OPERATORS and not node["domain"], f"the operator {node['domain'][:40]}{kind[:40]!r} is not allowed"
    )
    _require(0 < len(node["output"]) <= 64 and bool(node["input"]), f"{kind} has no input or output")
    for name in node["input"]:
        _require(not name or name in values.shapes, f"{kind} reads {name[:80]!r}, which nothing before it computes")
    if kind in _SHAPING:
        _require(
            all(not name or name in values.constants for name in node["input"][1:]),
            f"the shape of {kind}'s result is computed: wanted a constant",
        )
    for attribute in node["attribute"]:
        _check_attribute(kind, attribute)
    numbers = {attribute["name"]: attribute["i"] for attribute in node["attribute"]}
    _require(len(numbers) == len(node["attribute"]), f"{kind} has an attribute twice")
    _require(kind != "Cast" or numbers.get("to") in _BYTES, "Cast makes an unknown type")
    if kind in ("Conv", "ConvTranspose"):
        _check_channels(node["input"], numbers.get("group", 1), values.shapes, transposed=kind == "ConvTranspose")
    for name in node["output"]:
        _require(name in values.declared, f"the value {name[:80]!r} has no shape")
        values.add(name, values.declared[name])


def _check_channels(names: list[str], groups: int, shapes: Mapping[str, Shape], *, transposed: bool) -> None:
    """ONNX Runtime would compare them only when it runs."""
    image, kernel = (shapes.get(name, ()) for name in (*names, "", "")[:2])
    _require(2 < len(image) == len(kernel) < 5, "a convolution has no image or no kernel")
    channels = kernel[0] if transposed else kernel[1] * groups
    fits = groups > 0 and channels == image[1] and kernel[0] % groups == 0
    _require(fits, f"a convolution in {groups} groups has a kernel {kernel} for an image {image}")


def _check_attribute(kind: str, attribute: Message) -> None:
    name = f"{kind}'s {attribute['name'][:40]}"
    used = {**_NUMBER, **_LIST_OF_NUMBERS}.get(attribute["type"])
    _require(used is not None, f"{name} is of a kind that is not allowed")
    others = {*_NUMBER.values(), *_LIST_OF_NUMBERS.values()} - {used}
    _require(not any(attribute[other] for other in others), f"{name} has two values")
    values = [attribute["i"], attribute["f"], *attribute["ints"], *attribute["floats"]]
    small = all(abs(value) <= MAX_NUMBER for value in values)  # false for NaN too
    _require(small and len(values) <= 66 and attribute["s"] in _TEXTS, f"{name} is out of range")


def _check_memory(nodes: list[Message], values: _Values, output: str) -> None:
    """Refuse a graph whose values together, each from its node to its last reader, or whose work is too large.

    What depends on no image is there from the start to the end: ONNX Runtime computes it when it opens the graph.
    """
    sizes = {name: math.prod(shape) for name, shape in values.shapes.items()}
    last = {name: place for place, node in enumerate(nodes) for name in node["input"]}
    last[output] = len(nodes)
    varying = {values.image}
    alive, work = 0, 0
    freed: dict[int, int] = {}
    for place, node in enumerate(nodes):
        fixed = varying.isdisjoint(node["input"])
        made = sum(sizes[name] for name in node["output"])
        for name in node["output"] if not fixed else ():
            end = max(place, last.get(name, place))
            freed[end] = freed.get(end, 0) + sizes[name]
            varying.add(name)
        alive += made
        needed = alive + _scratch(node, values.shapes)
        _require(needed <= MAX_ELEMENTS, f"it needs more than {MAX_ELEMENTS:,} numbers at once")
        touched = made + sum(sizes[name] for name in node["input"] if name)
        work += made * _row_length(node, values.shapes) + _TOUCHED * touched
        alive -= freed.pop(place, 0)
    _require(work <= MAX_WORK, f"it needs {work:.1e} multiplications, over the limit of {MAX_WORK:.0e}")


def _scratch(node: Message, shapes: Mapping[str, Shape]) -> int:
    """Numbers beside the result while it is computed: ONNX Runtime multiplies a transposed kernel by all pixels."""
    if node["op_type"] != "ConvTranspose":
        return 0
    image, kernel = (shapes[name] for name in node["input"][:2])
    return math.prod(kernel[1:]) * math.prod(image[2:])


def _row_length(node: Message, shapes: Mapping[str, Shape]) -> int:
    """How many products make one number of the node's result, at the most."""
    if node["op_type"] in _WEIGHING and len(node["input"]) > 1:
        kernel = shapes.get(node["input"][1], ())
        if node["op_type"] in ("Gemm", "MatMul"):
            return max(kernel[-2:], default=1)
        return math.prod(kernel) // kernel[1 if node["op_type"] == "ConvTranspose" else 0]
    for attribute in node["attribute"]:
        if attribute["name"] == "kernel_shape":
            return max(1, math.prod(int(side) for side in attribute["ints"]))
    return 1
