"""A graph.onnx is a program from strangers: 300 hostile ones, of which none is run."""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import AttributeProto, TensorProto, helper

from medseg import schema
from medseg.config import EnsembleConfig, MemberReference
from medseg.errors import DamagedError, MedsegWarning
from medseg.image import Image
from medseg.inference.ensemble import Ensemble
from medseg.inference.graph_check import MAX_NODES, OPERATORS, check_graph
from medseg.inference.member import MemberFiles, add_graph, file_sha256, load_member, read_member
from medseg.inference.onnx_wire import read_model
from medseg.inference.runtime_onnx import GraphNetwork
from tests.conftest import make_member

Change = Callable[[onnx.ModelProto], object]


@pytest.fixture(scope="module")
def opened(tmp_path_factory: pytest.TempPathFactory) -> MemberFiles:
    """The files of a small member with a graph."""
    folder = tmp_path_factory.mktemp("graph") / "plain"
    make_member(folder, "plain", 0, plain=True)
    return read_member(folder)


def open_graph(content: bytes, opened: MemberFiles) -> GraphNetwork:
    return GraphNetwork(content, opened.weights, opened.slots, opened.image_shape, opened.logits_shape)


def graph_of(opened: MemberFiles) -> bytes:
    assert opened.graph is not None
    return opened.graph


def changed(opened: MemberFiles, change: Change) -> bytes:
    model = onnx.ModelProto.FromString(graph_of(opened))
    change(model)
    return bytes(model.SerializeToString())


def first(model: onnx.ModelProto, kind: str) -> onnx.NodeProto:
    return next(node for node in model.graph.node if node.op_type == kind)


def external(model: onnx.ModelProto, number: int = 0) -> TensorProto:
    return [tensor for tensor in model.graph.initializer if tensor.external_data][number]


def entry(key: str, value: str) -> Change:
    def change(model: onnx.ModelProto) -> None:
        for pair in external(model).external_data:
            if pair.key == key:
                pair.value = value

    return change


def attribute(kind: str, **values: Any) -> Change:
    """Give the first node of the kind these attributes instead of its own of those names."""

    def change(model: onnx.ModelProto) -> None:
        node = first(model, kind)
        others = [item for item in node.attribute if item.name not in values]
        del node.attribute[:]
        node.attribute.extend([*others, *(helper.make_attribute(name, value) for name, value in values.items())])

    return change


def inserted(kind: str, domain: str = "", **attributes: Any) -> Change:
    """A node of this kind between the last one and the output."""

    def change(model: onnx.ModelProto) -> None:
        last = model.graph.node[-1]
        shape = [dim.dim_value for dim in model.graph.output[0].type.tensor_type.shape.dim]
        last.output[0] = "before"
        model.graph.value_info.append(helper.make_tensor_value_info("before", TensorProto.FLOAT, shape))
        model.graph.node.append(helper.make_node(kind, ["before"], ["logits"], domain=domain, **attributes))

    return change


def appended(field: str, message: Any) -> Change:
    def change(model: onnx.ModelProto) -> None:
        target: Any = model
        *way, last = field.split(".")
        for name in way:
            target = getattr(target, name)
        getattr(target, last).append(message)

    return change


def assigned(field: str, value: Any) -> Change:
    def change(model: onnx.ModelProto) -> None:
        target: Any = model
        *way, last = field.split(".")
        for name in way:
            target = target[int(name)] if name.isdigit() else getattr(target, name)
        setattr(target, last, value)

    return change


def shape_of(name: str, *sides: int) -> Change:
    """Say that the value has this shape."""

    def change(model: onnx.ModelProto) -> None:
        for value in (*model.graph.value_info, *model.graph.input, *model.graph.output):
            if value.name == name or (name == "any" and value in model.graph.value_info):
                del value.type.tensor_type.shape.dim[:]
                value.type.tensor_type.shape.dim.extend(
                    helper.make_tensor_value_info("", 1, sides).type.tensor_type.shape.dim
                )
                return

    return change


def grown(model: onnx.ModelProto) -> None:
    """Two hundred upsamplings one after the other, each well declared: 2 ** 200 numbers."""
    last = model.graph.node[-1]
    last.output[0] = "grown0"
    model.graph.initializer.append(onnx.numpy_helper.from_array(np.array([1, 1, 2, 2], np.float32), "twice"))
    for step in range(200):
        side = 64 * 2**step
        model.graph.value_info.append(
            helper.make_tensor_value_info(f"grown{step}", TensorProto.FLOAT, [1, 1, min(side, 2**62), min(side, 2**62)])
        )
        model.graph.node.append(helper.make_node("Resize", [f"grown{step}", "", "twice"], [f"grown{step + 1}"]))
    model.graph.node[-1].output[0] = "logits"


def computed_shape(model: onnx.ModelProto) -> None:
    """A reshape whose shape comes from the image."""
    inserted("Identity")(model)
    model.graph.node[-1].op_type = "Reshape"
    model.graph.node[-1].input.append("image")


def read_before(model: onnx.ModelProto) -> None:
    nodes = list(model.graph.node)
    del model.graph.node[:]
    model.graph.node.extend(nodes[::-1])


def many(model: onnx.ModelProto) -> None:
    for _ in range(MAX_NODES):
        model.graph.node.append(helper.make_node("Relu", ["image"], ["x"]))


def inline_weight(model: onnx.ModelProto) -> None:
    tensor = external(model)
    tensor.raw_data = b"\0" * 2


def constant(**fields: Any) -> Change:
    return appended("graph.initializer", TensorProto(name="c", data_type=TensorProto.FLOAT, **fields))


def constant_output(model: onnx.ModelProto) -> None:
    shape = [dim.dim_value for dim in model.graph.output[0].type.tensor_type.shape.dim]
    model.graph.initializer.append(onnx.numpy_helper.from_array(np.zeros(shape, np.float32), "logits"))
    model.graph.node[-1].output[0] = "unused"


def followed(*nodes: onnx.NodeProto, constants: tuple[TensorProto, ...] = (), **shapes: tuple[int, ...]) -> Change:
    """These nodes after the last one, which makes "before" now; `shapes` are those of what they make."""

    def change(model: onnx.ModelProto) -> None:
        inserted("Identity")(model)
        model.graph.initializer.extend(constants)
        model.graph.node.extend(nodes)
        model.graph.value_info.extend(helper.make_tensor_value_info(name, 1, shape) for name, shape in shapes.items())

    return change


def renamed(name: str) -> Change:
    """Another name, at all places."""

    def change(model: onnx.ModelProto) -> None:
        for value in (*model.graph.input, *model.graph.output):
            value.name = value.name.replace(name, "other")
        for node in model.graph.node:
            for names in (node.input, node.output):
                names[:] = ["other" if of == name else of for of in names]

    return change


def array(name: str, values: Any, kind: Any = np.int64) -> TensorProto:
    return onnx.numpy_helper.from_array(np.array(values, kind), name)


TILED = helper.make_node("Tile", ["before", "repeats"], ["tiled"])
REPEATS = array("repeats", [1, 1, 64, 64])

IF = helper.make_node("If", ["image"], ["x"], then_branch=helper.make_graph([], "g", [], []))
SPARSE = onnx.SparseTensorProto(values=helper.make_tensor("s", 1, [1], [1.0]))
FUNCTION = helper.make_function("d", "f", ["a"], ["b"], [], [helper.make_opsetid("", 20)])
FORBIDDEN = [*sorted({schema.name for schema in onnx.defs.get_all_schemas()} - OPERATORS), "os.system", "relu", "Conv2"]
LOCATIONS = [
    "/etc/passwd",
    "../model.safetensors",
    "./model.safetensors",
    "model.safetensors/",
    "MODEL.SAFETENSORS",
    "config.json",
    "member.json",
    "/dev/zero",
    "/proc/self/mem",
    "http://127.0.0.1/x",
    "file:///etc/passwd",
    "../../../../etc/shadow",
    "graph.onnx",
    ".",
    "model.safetensors%00",
    "C:\\windows\\win.ini",
    "\\\\server\\share",
    "model.safetensors\\..\\x",
    "~/.ssh/id_rsa",
    "*",
]
NUMBERS = "-1 0 1 7 0x10 1e3 +8 nan 18446744073709551616 -9223372036854775808".split(" ")  # noqa: SIM905 shorter

KINDS = ("Conv", "Relu", "Concat")

REFUSED: dict[str, Change] = {
    **{f"operator {name}": inserted(name) for name in FORBIDDEN},
    **{f"domain {name[:20]}": inserted("Relu", domain=name) for name in (
        "ai.onnx", "ai.onnx.ml", "com.microsoft", "ai.onnx.contrib", "com.microsoft.nchwc", "pytorch", "x" * 5000,
    )},
    **{f"location {name}": entry("location", name) for name in LOCATIONS},
    **{f"offset {name}": entry("offset", name) for name in NUMBERS},
    **{f"length {name}": entry("length", name) for name in NUMBERS},
    **{f"opset {version}": assigned("opset_import.0.version", version) for version in (-1, 0, 1, 7, 17, 24, 10**9)},
    **{f"ir version {version}": assigned("ir_version", version) for version in (-1, 0, 3, 7, 12, 10**6)},
    **{f"image {sides}": shape_of("image", *sides) for sides in (
        (), (1, 3, 64), (1, 3, 64, 128), (2, 3, 64, 64), (1, 4, 64, 64), (0, 3, 64, 64), (-1, 3, 64, 64),
    )},
    **{f"logits {sides}": shape_of("logits", *sides) for sides in (
        (), (1, 1, 64), (1, 2, 64, 64), (1, 1, 128, 128), (64, 64), (1, 1, 2**40, 2**40),
    )},
    **{f"value {sides}": shape_of("any", *sides) for sides in (
        (0,), (-1, 1), (2**31, 2**31), (2**62,), (1,) * 9, (10**9, 1, 1, 1), (1, 4, 65, 64), (4,), (1, 8, 64, 64),
    )},
    **{f"graph attribute of {kind}": attribute(kind, body=helper.make_graph([], "g", [], [])) for kind in KINDS},
    **{f"tensor attribute of {kind}": attribute(kind, value=helper.make_tensor("t", 1, [1], [1.0])) for kind in KINDS},
    **{f"text list of {kind}": attribute(kind, body=["a", "b"]) for kind in KINDS},
    **{f"pads {pads}": attribute("Conv", pads=pads) for pads in (
        [2**40] * 4, [10**6] * 4, [-5] * 4, [1, 1], [1] * 5, [0, 0, 0, 0], [64] * 4, [2**62, 0, 0, 0], [1] * 100,
    )},
    **{f"strides {s}": attribute("Conv", strides=s) for s in ([0, 0], [-1, -1], [2**40, 1], [2, 2], [1], [1] * 80)},
    **{f"dilations {d}": attribute("Conv", dilations=d) for d in ([0, 0], [-1, -1], [2**40, 1], [2, 2], [1])},
    **{f"group {group}": attribute("Conv", group=group) for group in (0, -1, 2, 7, 2**40)},
    **{f"kernel {k}": attribute("MaxPool", kernel_shape=k) for k in ([0, 0], [-2, -2], [3, 3], [2**40, 2], [2])},
    **{f"axis {axis}": attribute("Concat", axis=axis) for axis in (0, 2, 3, 4, -9, 2**40)},
    **{f"cast to {kind}": attribute("Cast", to=kind) for kind in (0, 7, 8, 9, 11, 14, 99, -1)},
    "no nodes": lambda model: model.graph.ClearField("node"),
    "too many nodes": many,
    "no graph": lambda model: model.ClearField("graph"),
    "backwards": read_before,
    "a function": appended("functions", FUNCTION),
    "training": appended("training_info", onnx.TrainingInfoProto()),
    "metadata": appended("metadata_props", onnx.StringStringEntryProto(key="a", value="b")),
    "a second opset": appended("opset_import", helper.make_opsetid("com.microsoft", 1)),
    "no opset": lambda model: model.ClearField("opset_import"),
    "an If": appended("graph.node", IF),
    "a sparse tensor": appended("graph.sparse_initializer", SPARSE),
    "a quantised tensor": appended("graph.quantization_annotation", onnx.TensorAnnotation(tensor_name="image")),
    "a second input": appended("graph.input", helper.make_tensor_value_info("extra", 1, [1])),
    "a second output": appended("graph.output", helper.make_tensor_value_info("image", 1, [1, 3, 64, 64])),
    "no output": lambda model: model.graph.ClearField("output"),
    "the image as output": assigned("graph.output.0.name", "image"),
    "an output that nothing computes": assigned("graph.output.0.name", "nothing"),
    "a constant as output": constant_output,
    "no shapes": lambda model: model.graph.ClearField("value_info"),
    "a symbolic side": assigned("graph.input.0.type.tensor_type.shape.dim.0.dim_param", "N"),
    "whole numbers in": assigned("graph.input.0.type.tensor_type.elem_type", TensorProto.INT64),
    "texts out": assigned("graph.output.0.type.tensor_type.elem_type", TensorProto.STRING),
    "another tensor's name": lambda model: setattr(external(model), "name", external(model, 1).name),
    "a tensor that is not there": lambda model: setattr(external(model), "name", "no.such.weight"),
    "a tensor as float32": lambda model: setattr(external(model), "data_type", TensorProto.FLOAT),
    "a tensor of texts": lambda model: setattr(external(model), "data_type", TensorProto.STRING),
    "a tensor of another shape": lambda model: external(model).dims.append(1),
    "a tensor with bytes of its own": inline_weight,
    "a tensor that is said to lie here": lambda model: setattr(external(model), "data_location", 0),
    "a checksum": lambda model: external(model).external_data.append(onnx.StringStringEntryProto(key="checksum")),
    "the location twice": lambda model: external(model).external_data.append(external(model).external_data[0]),
    "a segment": lambda model: external(model).segment.CopyFrom(TensorProto.Segment(begin=0, end=1)),
    "float data": appended("graph.initializer", helper.make_tensor("f", 1, [2], [1.0, 2.0])),
    "texts": appended("graph.initializer", helper.make_tensor("t", TensorProto.STRING, [1], [b"x"])),
    "a constant that is too short": constant(dims=[3], raw_data=b"1234"),
    "a constant of 2 ** 60": constant(dims=[2**60]),
    "a constant with a negative side": constant(dims=[-1]),
    "growth without end": grown,
    "a computed shape": computed_shape,
    "a value computed twice": lambda model: model.graph.node.append(model.graph.node[0]),
    "a weight's shape again": lambda model: model.graph.value_info.append(
        helper.make_tensor_value_info(external(model).name, TensorProto.FLOAT16, [1])
    ),
    "a reference to an attribute": lambda model: first(model, "Conv").attribute.append(
        AttributeProto(name="group", ref_attr_name="x", type=AttributeProto.INT)
    ),
    "an attribute of two values": lambda model: first(model, "Conv").attribute.append(
        AttributeProto(name="group", i=1, floats=[1.0], type=AttributeProto.INT)
    ),
    "an attribute of NaN": attribute("Relu", alpha=float("nan")),
    "an attribute of text without end": attribute("Conv", auto_pad="S" * 10_000),
}  # fmt: skip


OUT_OF_BOUNDS: dict[str, tuple[str, Change]] = {
    "a maximum of one value with itself, again and again": ("multiplications", followed(
        TILED, helper.make_node("Max", ["tiled"] * 50_000, ["most"]), constants=(REPEATS,),
        tiled=(1, 1, 4096, 4096), most=(1, 1, 4096, 4096),
    )),
    "a product of long rows": ("multiplications", followed(
        TILED, *(helper.make_node("Gemm", ["tiled", "row"], [f"g{n}"], transB=1) for n in range(9000)),
        constants=(array("repeats", [1, 1, 128, 128]), array("row", np.zeros((1, 8192)), np.float32)),
        tiled=(1, 1, 8192, 8192), **{f"g{n}": (8192, 1) for n in range(9000)},
    )),
    "the scratch of a transposed convolution": ("numbers at once", followed(
        helper.make_node("ConvTranspose", ["before", "kernel"], ["wide"]),
        constants=(array("kernel", np.zeros((1, 1, 400, 400)), np.float32),), wide=(1, 1, 463, 463),
    )),
    "what is computed when the graph is opened": ("numbers at once", followed(
        *(helper.make_node("Expand", ["one", "sides"], [f"e{n}"]) for n in range(40)),
        constants=(array("one", [1.0], np.float32), array("sides", [2**24])), **{f"e{n}": (2**24,) for n in range(40)},
    )),
    "a constant that a product takes out of 64 bits": ("out of range", followed(constants=(array("far", [2**40]),))),
    "a crop": ("Resize's coordinate_transformation_mode is out of range", followed(
        helper.make_node("Resize", ["before", "", "twice"], ["x"], coordinate_transformation_mode="tf_crop_and_resize"),
        constants=(array("twice", [1, 1, 2, 2], np.float32),), x=(1, 1, 128, 128),
    )),
    "an input of another name": ("its input is called 'other', wanted 'image'", renamed("image")),
    "an output of another name": ("its output is called 'other', wanted 'logits'", renamed("logits")),
    "a constant of NaN": ("'none' holds NaN", followed(constants=(array("none", [np.nan], np.float32),))),
    "a constant of NaN in half precision": ("'none' holds NaN", followed(constants=(array("none", [np.nan], "f2"),))),
    "a shape that is there twice": ("shape of a value is there twice", followed(logits=(1, 1, 64, 64))),
    "colours of a terminal in a name": ("printable", followed(helper.make_node("Relu", ["before"], ["\x1b[31m"]))),
    "a convolution of volumes": ("no image or no kernel", followed(
        helper.make_node("Identity", ["before"], ["volume"]), helper.make_node("Conv", ["volume", "kernel"], ["x"]),
        constants=(array("kernel", np.zeros((1, 1, 1, 1, 1)), np.float32),), volume=(1, 1, 1, 64, 64), x=(1,) * 5,
    )),
}  # fmt: skip
"""What each breaks, and the change."""


@pytest.mark.parametrize("name", OUT_OF_BOUNDS)
def test_what_a_graph_would_take_is_reckoned_before_it_is_opened(opened: MemberFiles, name: str) -> None:
    words, change = OUT_OF_BOUNDS[name]
    with pytest.raises(ValueError, match=words):
        check_graph(changed(opened, change), opened.slots, opened.image_shape, opened.logits_shape)


@pytest.mark.parametrize("name", REFUSED)
def test_a_hostile_graph_is_refused_in_one_sentence(opened: MemberFiles, name: str) -> None:
    with pytest.raises(ValueError, match=r"\w") as caught:
        open_graph(changed(opened, REFUSED[name]), opened)
    assert len(str(caught.value)) < 400
    assert "\n" not in str(caught.value)


def test_there_are_three_hundred_of_them() -> None:
    assert len(REFUSED) + len(BYTES) >= 300


def repeated_field(content: bytes) -> bytes:
    """The graph a second time: readers of protobuf would join the two."""
    return content + content[content.index(b"\x3a") :]


BYTES: dict[str, Callable[[bytes], bytes]] = {
    "nothing": lambda content: b"",
    "a pickle": lambda content: b"\x80\x04\x95",
    "text": lambda content: b"#!/bin/sh\nrm -rf /\n",
    "the first half": lambda content: content[: len(content) // 2],
    "one byte less": lambda content: content[:-1],
    "one byte more": lambda content: content + b"\0",
    "twice": lambda content: content * 2,
    "the graph twice": repeated_field,
    "too large": lambda content: content + b"\0" * 4_000_001,
    "zeros": lambda content: bytes(1000),
    "a length of 2 ** 63": lambda content: b"\x3a" + b"\xff" * 8 + b"\x7f",
    "a number without end": lambda content: b"\x08" + b"\xff" * 100,
    "a number in too many bytes": lambda content: b"\x08\x8a\x80\x00" + content[2:],
    "a group": lambda content: b"\x3b\x3c" + content,
    "an unknown field": lambda content: b"\xf8\x3e\x01" + content,
    "another wire type": lambda content: b"\x09" + bytes(8) + content,
    "one number as a row of numbers": lambda content: b"\x0a\x01" + content[1:],  # ONNX Runtime would see none
    "nested without end": lambda content: b"\x3a\x7f" * 50_000,
}


@pytest.mark.parametrize("name", BYTES)
def test_bytes_that_are_no_graph_are_refused(opened: MemberFiles, name: str) -> None:
    with pytest.raises(ValueError, match=r"\w"):
        open_graph(BYTES[name](graph_of(opened)), opened)


def test_flipped_bits_are_refused_or_leave_a_graph_that_runs(opened: MemberFiles) -> None:
    """A changed number may be a graph as good as any; no such file ends the process or leaves another exception."""
    draw, content = random.Random(0), graph_of(opened)
    image = np.zeros(opened.image_shape, np.float32)
    refused = 0
    for _ in range(200):
        damaged = bytearray(content)
        damaged[draw.randrange(len(content))] ^= 1 << draw.randrange(8)
        try:
            network = open_graph(bytes(damaged), opened)
        except ValueError:
            refused += 1
            continue
        try:
            assert network.logits(image).shape == opened.logits_shape
        except DamagedError:
            refused += 1
    assert refused > 150


def test_the_reader_reads_what_onnx_reads(opened: MemberFiles) -> None:
    ours, theirs = read_model(graph_of(opened)), onnx.ModelProto.FromString(graph_of(opened))
    assert [node["op_type"] for node in ours["graph"]["node"]] == [node.op_type for node in theirs.graph.node]
    assert [t["name"] for t in ours["graph"]["initializer"]] == [t.name for t in theirs.graph.initializer]
    for node, other in zip(ours["graph"]["node"], theirs.graph.node, strict=True):
        for found, attribute in zip(node["attribute"], other.attribute, strict=True):
            value = helper.get_attribute_value(attribute)
            key = {float: "f", int: "i", bytes: "s", list: "ints"}[type(value)]
            assert found[key] == value


def test_an_honest_graph_passes(opened: MemberFiles) -> None:
    check_graph(graph_of(opened), opened.slots, opened.image_shape, opened.logits_shape)


def put(folder: Path, graph: bytes) -> None:
    """The graph into the folder of a member, with its hash."""
    (folder / "graph.onnx").write_bytes(graph)
    described = json.loads((folder / "member.json").read_text(encoding="utf-8"))
    described["files"]["graph.onnx"] = file_sha256(folder / "graph.onnx")
    (folder / "member.json").write_text(json.dumps(described), encoding="utf-8")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    make_member(tmp_path / "plain", "plain", 0, plain=True)
    return tmp_path / "plain"


def test_a_member_with_a_hostile_graph_is_not_opened(folder: Path) -> None:
    put(folder, changed(read_member(folder), REFUSED["location /etc/passwd"]))
    with pytest.raises(DamagedError, match=r"graph\.onnx is not allowed \(the tensor .* is not the one in model\.safe"):
        load_member(folder, device="cpu")


def test_a_graph_that_fails_when_it_runs_names_its_member(folder: Path) -> None:
    far = followed(
        helper.make_node("Gather", ["before", "far"], ["x"]), constants=(array("far", [9]),), x=(1, 1, 64, 64)
    )
    put(folder, changed(read_member(folder), far))
    sentence = r"The member plain is damaged: graph\.onnx cannot be run: .*medseg export --graph"
    with pytest.raises(DamagedError, match=sentence):
        load_member(folder, device="cpu").probabilities(Image(np.zeros((64, 64, 3), np.float32)))
    make_member(folder.parent / "whole", "whole", 1, plain=True)
    places = (folder, folder.parent / "whole")
    members = tuple(MemberReference(place.name, file_sha256(place / "member.json"), 0.5) for place in places)
    schema.dump(EnsembleConfig("pair", "binary", ("blob",), members), folder.parent / "ensemble.json")
    with pytest.warns(MedsegWarning, match=f"{sentence}.* The ensemble goes on without it"):
        ensemble = Ensemble.from_pretrained(folder.parent, device="cpu")
    assert (ensemble.names, ensemble.weights) == (("whole",), (1.0,))


def test_a_graph_that_is_lost_or_altered_is_made_anew(folder: Path) -> None:
    graph = folder / "graph.onnx"
    content = graph.read_bytes()
    for lose in (graph.unlink, lambda: graph.write_bytes(content[:-1])):
        lose()
        with pytest.raises(
            DamagedError, match=r"graph\.onnx .*make its graph anew with `medseg export --graph FOLDER`"
        ):
            load_member(folder, device="cpu")
        add_graph(folder)
        assert graph.read_bytes() == content
