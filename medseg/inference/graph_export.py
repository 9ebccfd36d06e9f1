"""A torch network as `graph.onnx`: its operators alone, over the weights in the model.safetensors beside it.

Only training and `medseg export --graph` come here; the tools are those of the extra `train`.
"""

from __future__ import annotations

import hashlib
import warnings
from collections.abc import Mapping
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from medseg.hub.folders import WEIGHTS
from medseg.inference.graph_check import IMAGE, LOGITS, check_graph
from medseg.inference.runtime_onnx import GraphNetwork
from medseg.inference.weights import Slot

if TYPE_CHECKING:
    import onnx_ir as ir

Shape = tuple[int, ...]

MAX_DIFFERENCE = 1e-4
"""Largest difference in probability between graph and torch that is accepted; the embedded members differ by 3e-5."""
_OPSET = 20
_graphs: dict[bytes, bytes] = {}
_MOST_GRAPHS = 8


def make_graph(network: torch.nn.Module, slots: Mapping[str, Slot], image: Shape, logits: Shape) -> bytes:
    """The graph of `network` (float32, on the CPU) from one batch of shape `image` to `logits`.

    Its constants are folded while the weights are inputs: folded too, they would be copies; and unfolded, ONNX Runtime
    fuses nothing and is as slow as torch. Then each weight becomes external data, at its place in the safetensors file,
    and a cast to float32, which ONNX Runtime folds when it opens the graph. So the graph depends on the kind of network
    and on no weight. Raises ValueError for a network that cannot be exported or whose graph `check_graph` refuses,
    ImportError without the tools.
    """
    from onnx_ir import to_proto

    model = _exported(network, image)
    hidden = _hide(model.graph, slots)
    _fold(model)
    _bind(model.graph, hidden, slots)
    _strip(model)
    written = to_proto(model)
    typed = [value for value in written.graph.value_info if value.name not in model.graph.initializers]
    del written.graph.value_info[:]  # an initializer has its shape of its own
    written.graph.value_info.extend(typed)
    content: bytes = written.SerializeToString()
    check_graph(content, slots, image, logits)
    return content


def checked_graph(
    network: torch.nn.Module, weights: bytes, slots: dict[str, Slot], image: Shape, logits: Shape, *, kind: str
) -> bytes:
    """`make_graph`, opened over the safetensors file `weights` and compared with `network`, which has these weights.

    `kind` is the text of config.json. Raises as `make_graph` does, ValueError also where the two differ by more than
    MAX_DIFFERENCE in probability.
    """
    # a training saves the same network many times, with other weights, and folds train a few networks in turn
    key = hashlib.sha256(repr((kind, sorted(slots.items()), image, logits)).encode()).digest()
    if key not in _graphs:
        if len(_graphs) == _MOST_GRAPHS:
            del _graphs[next(iter(_graphs))]
        _graphs[key] = make_graph(network, slots, image, logits)
    opened = GraphNetwork(_graphs[key], weights, slots, image, logits)
    difference = largest_difference(network, opened, image)
    if not difference <= MAX_DIFFERENCE:
        raise ValueError(f"its probabilities differ from torch's by {difference:.1e}, more than {MAX_DIFFERENCE:g}")
    return _graphs[key]


def largest_difference(network: torch.nn.Module, graph: GraphNetwork, image: Shape) -> float:
    """Between the sigmoids of both networks' logits for a test image of smooth waves and noise."""
    batch = _test_image(image)
    with torch.inference_mode():
        wanted = network(torch.from_numpy(batch)).sigmoid().numpy()
    probabilities = torch.from_numpy(graph.logits(batch)).sigmoid().numpy()
    return float(np.abs(wanted - probabilities).max())


@lru_cache(maxsize=4)
def _test_image(shape: Shape) -> np.ndarray:
    """Normalised values of about −2 to 2."""
    rows, columns = np.mgrid[: shape[2], : shape[3]] / 20
    waves = [np.sin(rows + channel) + np.cos(columns * (1 + channel / 3)) for channel in range(shape[1])]
    noise = np.random.default_rng(0).normal(0, 0.3, shape)
    return (np.stack(waves)[None] + noise).astype(np.float32)


def _exported(network: torch.nn.Module, image: Shape) -> ir.Model:
    """torch's own export, unoptimised: each weight still has its name, each operator is of ONNX's own set."""
    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")  # of its own deprecations
        try:
            program: Any = torch.onnx.export(
                network, (torch.zeros(image),), dynamo=True, optimize=False, verbose=False, opset_version=_OPSET,
                input_names=[IMAGE], output_names=[LOGITS],
            )  # fmt: skip
        except ImportError:
            raise
        except Exception as error:  # whatever an operator of somebody's encoder makes the exporter raise
            raise ValueError(f"torch cannot export it ({(str(error).splitlines() or [''])[0][:200]})") from None
    if program.model.functions:
        raise ValueError("its export holds functions")
    model: ir.Model = program.model
    return model


def _hide(graph: ir.Graph, slots: Mapping[str, Slot]) -> list[ir.Value]:
    """Make the weights inputs of the graph, so that no folding knows their values."""
    hidden = [value for name, value in graph.initializers.items() if name in slots]
    for value in hidden:
        del graph.initializers[str(value.name)]
        value.const_value = None
        graph.inputs.append(value)
    return hidden


def _bind(graph: ir.Graph, hidden: list[ir.Value], slots: Mapping[str, Slot]) -> None:
    """Make the hidden inputs initializers again, whose data lie in the safetensors file; those without use go."""
    import onnx_ir as ir

    kinds = {"F16": ir.DataType.FLOAT16, "F32": ir.DataType.FLOAT}
    casts = []
    for value in hidden:
        graph.inputs.remove(value)
        name = str(value.name)
        slot = slots[name]
        if not value.uses():
            continue
        if slot.dtype not in kinds:
            raise ValueError(f"the weight {name} is of the type {slot.dtype}")
        kind = kinds[slot.dtype]
        stored = ir.Value(name=name, shape=ir.Shape(slot.shape), type=ir.TensorType(kind))
        stored.const_value = ir.ExternalTensor(
            WEIGHTS, slot.offset, slot.length, kind, shape=ir.Shape(slot.shape), name=name
        )
        if slot.dtype == "F32":
            replacement = stored
        else:
            cast = ir.node("Cast", [stored], attributes={"to": ir.DataType.FLOAT.value})
            casts.append(cast)
            replacement = cast.outputs[0]
            replacement.name, replacement.shape = f"{name}/32", ir.Shape(slot.shape)
            replacement.dtype = ir.DataType.FLOAT
        ir.convenience.replace_all_uses_with(value, replacement)
        value.name = None
        graph.initializers[name] = stored
    graph.insert_before(graph[0], casts)


def _fold(model: ir.Model) -> None:
    """Compute what no image decides. What is left of constants becomes initializers, equal ones the same."""
    from onnx_ir.passes import common
    from onnxscript import optimizer

    optimizer.fold_constants(model)
    common.ShapeInferencePass()(model)  # some operators (GroupNorm's) are folded once their types are known
    optimizer.fold_constants(model)
    common.ShapeInferencePass()(model)
    common.LiftConstantsToInitializersPass(lift_all_constants=True, size_limit=0)(model)
    common.IdentityEliminationPass()(model)
    common.DeduplicateInitializersPass()(model)


def _strip(model: ir.Model) -> None:
    """What nothing uses goes, and words for people: names of nodes, paths of source files."""
    from onnx_ir.passes import common

    common.RemoveUnusedNodesPass()(model)
    common.ClearMetadataAndDocStringPass()(model)
    model.producer_name, model.producer_version = "medseg", None
    model.graph.name = "network"
    model.metadata_props.clear()
    for node in model.graph:
        node.name = None
        for value in node.outputs:
            value.metadata_props.clear()
    for value in (*model.graph.inputs, *model.graph.outputs, *model.graph.initializers.values()):
        value.metadata_props.clear()
