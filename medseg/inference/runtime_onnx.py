"""ONNX Runtime: a checked `graph.onnx` over the bytes of model.safetensors, on the CPU."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float32

from medseg.errors import DamagedError
from medseg.hub.folders import WEIGHTS
from medseg.inference.graph_check import IMAGE, LOGITS, check_graph
from medseg.inference.runtime import count_threads
from medseg.inference.weights import Slot


class GraphNetwork:
    """A network as ONNX Runtime executes it; the same batch gives the same bits at every run."""

    runtime = "onnxruntime"

    def __init__(
        self, graph: bytes, weights: bytes, slots: dict[str, Slot], image: tuple[int, ...], logits: tuple[int, ...]
    ) -> None:
        """Raises ValueError that says what is wrong for a graph that `check_graph` or ONNX Runtime refuses."""
        import onnxruntime

        check_graph(graph, slots, image, logits)
        try:
            self.session = onnxruntime.InferenceSession(graph, _options(weights), providers=["CPUExecutionProvider"])
        except Exception as error:  # ONNX Runtime's errors have no class of their own in common
            raise ValueError(f"ONNX Runtime refuses it: {_first_line(error)}") from None

    def logits(self, batch: Float32[np.ndarray, "N C h w"]) -> Float32[np.ndarray, "N K h w"]:
        """One image a run: the graph has a fixed shape, and no result depends on its neighbours."""
        try:
            each = [self.session.run([LOGITS], {IMAGE: np.ascontiguousarray(image[None])})[0] for image in batch]
        except Exception as error:
            raise DamagedError(f"graph.onnx cannot be run: {_first_line(error)}.") from None
        return np.concatenate(each)


def _options(weights: bytes) -> object:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = count_threads()
    options.inter_op_num_threads = 1
    options.log_severity_level = 4  # what is wrong comes as an exception
    # threads that wait for work by spinning take the cores from everybody else: 78 ms instead of 300 beside a busy one
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    # the shapes that `check_graph` counted are those that are computed, or the session is refused
    options.add_session_config_entry("session.strict_shape_type_inference", "1")
    options.add_external_initializers_from_files_in_memory([WEIGHTS], [weights], [len(weights)])
    return options


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0][:200].rstrip(".")
