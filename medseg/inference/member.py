"""One trained network as a folder: config.json and model.safetensors as smp has them, and member.json for the rest.

The folder of an smp network opens with `smp.from_pretrained(folder)` alone, that of our own with
`PlainUNet.from_pretrained`; `load_member` first checks hashes, schema and finiteness. `graph.onnx` is the same network
for ONNX Runtime, over the same weights: with it nothing here imports torch on a CPU.
Safetensors only: nothing here unpickles.
"""

from __future__ import annotations

import copy
import hashlib
import json
import math
import shutil
import stat
import warnings
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Float16, Float32
from scipy.special import expit

from medseg import schema
from medseg.cards.card import member_card
from medseg.config import MemberConfig, Task
from medseg.errors import ConfigError, DamagedError, MedsegWarning
from medseg.hub.cache import shown_name
from medseg.hub.folders import GRAPH, MAX_GRAPH_BYTES, MAX_WEIGHTS_BYTES, PAPERS, WEIGHTS, member_files, read_settings
from medseg.image import Image
from medseg.inference import runtime
from medseg.inference.cache import ArrayCache
from medseg.inference.tta import Augmentation, choose_pairs
from medseg.inference.weights import Slot, check_finite, read_slots
from medseg.preprocess import Planes, normalise, to_input_grid, to_working_grid

if TYPE_CHECKING:
    import torch

HASHED_FILES = ("config.json", WEIGHTS)
_REMEDY_GRAPH = "Fetch it again, or make its graph anew with `medseg export --graph FOLDER`."


@dataclass(frozen=True, eq=False)
class LoadedMember:
    """A verified member, ready to run. `sha256` is that of its member.json, `parameters` counts what was trained."""

    config: MemberConfig
    network: runtime.Network
    sha256: str
    parameters: int

    def probabilities(self, image: Image, *, tta: Augmentation = False) -> Float16[np.ndarray, "K h w"]:
        """Probabilities (K, h, w) on the image's working grid; with `tta` the mean over its turns."""
        return self.from_logits((runtime.run(self.network, turn) for turn in self.inputs(image, tta)), image, tta)

    def try_out(self) -> None:
        """Run the network once, on a black image. Raises DamagedError as `probabilities`."""
        asked = self.config.preprocess
        black = Image(np.zeros((asked.height, asked.width, asked.channels), np.float32))
        self.from_logits(map(self.network.logits, self.inputs(black, False)), black, False)

    def inputs(self, image: Image, tta: Augmentation) -> Iterator[Float32[np.ndarray, "1 C height width"]]:
        """The network's input, once for each turn of `tta`."""
        preprocess = self.config.preprocess
        batch = normalise(_input_grid(image, self.config)[np.newaxis], preprocess)
        return (forward(batch) for forward, _ in choose_pairs(tta, preprocess.height, preprocess.width))

    def from_logits(
        self, turns: Iterable[Float32[np.ndarray, "1 K height width"]], image: Image, tta: Augmentation
    ) -> Float16[np.ndarray, "K h w"]:
        """`probabilities` of the logits of each of the `inputs`."""
        preprocess = self.config.preprocess
        pairs = choose_pairs(tta, preprocess.height, preprocess.width)
        try:
            planes = [
                inverse(to_probabilities(logits, self.config.task)[0])
                for logits, (_, inverse) in zip(turns, pairs, strict=True)
            ]
        except DamagedError as error:  # the runtime does not know whose network it runs
            raise DamagedError(f"The member {self.config.name} is damaged: {error} {_REMEDY_GRAPH}") from None
        mean = np.asarray(np.mean(planes, axis=0))
        if not np.isfinite(mean).all():  # finite weights can still overflow; an empty mask would hide it
            raise DamagedError(
                f"The member {self.config.name} predicts NaN for this image: take it out of the ensemble."
            )
        return to_working_grid(mean, preprocess, image.size).astype(np.float16)


@dataclass(frozen=True)
class MemberFiles:
    """What a member's folder holds, each file as its hash promises; `graph` is None in folders of older versions."""

    config: MemberConfig
    sha256: str
    settings: dict[str, Any]
    weights: bytes
    slots: dict[str, Slot]
    graph: bytes | None

    @property
    def parameters(self) -> int:
        """How many numbers training learnt: without the statistics that batch norm counts."""
        counted = ("running_mean", "running_var", "num_batches_tracked")
        return sum(math.prod(slot.shape) for name, slot in self.slots.items() if not name.endswith(counted))

    @property
    def image_shape(self) -> tuple[int, int, int, int]:
        """(1, channels, height, width) of the network's input."""
        preprocess = self.config.preprocess
        return 1, preprocess.channels, preprocess.height, preprocess.width

    @property
    def logits_shape(self) -> tuple[int, int, int, int]:
        """(1, channels, height, width) of the network's logits."""
        return 1, self.config.channels_out, self.config.preprocess.height, self.config.preprocess.width


_grids = ArrayCache(16 * 2**20)
"""Images on an input grid: members that share it resize an image once."""


def _input_grid(image: Image, member: MemberConfig) -> Planes:
    asked = member.preprocess
    key = (image.sha256, asked.height, asked.width, asked.channels, asked.resize, asked.intensity)
    return _grids.get(key, lambda: to_input_grid(image.pixels, asked))


def to_probabilities(
    logits: Float32[np.ndarray, "N channels height width"], task: Task
) -> Float32[np.ndarray, "N K height width"]:
    """Logits (N, channels, height, width) → probabilities (N, K, height, width) of the named labels.

    Sigmoid for binary and multilabel; softmax for multiclass, whose channel 0 is the background and is dropped.
    """
    if task != "multiclass":
        return np.asarray(expit(logits))
    raised = np.exp(logits - logits.max(axis=1, keepdims=True))
    return np.asarray((raised / raised.sum(axis=1, keepdims=True))[:, 1:])


def save_member(network: torch.nn.Module, member: MemberConfig, folder: Path) -> MemberConfig:
    """Write the member folder in half precision, with its graph and card; returns `member` with the hashes filled in.

    A network whose graph cannot be made, or differs from it, is saved without, with a MedsegWarning that says why.
    Raises DamagedError where a weight is not finite in half precision, ConfigError for a member that could not be
    loaded again.
    """
    from medseg.inference.networks import check_settings

    folder.mkdir(parents=True, exist_ok=True)
    halved: Any = copy.deepcopy(network).cpu().half()
    if "encoder_weights" in halved.config:
        halved.config["encoder_weights"] = None  # or smp asks the Hub for them at every load
    written = json.loads(json.dumps({"_model_class": type(network).__name__, **halved.config}))  # its tuples are lists
    check_settings(written, member)
    _check_finite(halved)
    halved.save_pretrained(folder)
    member = _with_graph(replace(member, files=_hashes(folder)), folder, halved.float().eval())
    # in place of smp's own card, which claims the MIT licence for everybody's weights
    card = member_card(member, str(written["_model_class"]), str(written.get("encoder_name")))
    (folder / "README.md").write_text(card, encoding="utf-8")
    return member


def add_graph(folder: Path) -> None:
    """Add `graph.onnx` to a member folder that has none, or make it anew; nothing else of its member.json changes.

    Raises as `load_member` does, and ConfigError where no graph can be made of the network.
    """
    opened = read_member(folder, graph=False)
    try:
        graph = _graph_of(_torch_network(opened, folder).eval(), opened)
    except (ValueError, ModuleNotFoundError) as error:
        raise ConfigError(f"The member {opened.config.name} gets no {GRAPH}: {error}.") from None
    (folder / GRAPH).write_bytes(graph)
    described = json.loads((folder / "member.json").read_bytes())
    described["files"][GRAPH] = file_sha256(folder / GRAPH)
    writing = folder / ".member.json.writing"
    writing.write_text(json.dumps(described, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    writing.replace(folder / "member.json")


def load_member(folder: Path, *, sha256: str | None = None, device: str | None = None) -> LoadedMember:
    """Open a member folder: hashes first, then schema, then weights.

    `sha256` is what member.json must hash to (from ensemble.json). On a CPU the graph is opened, where there is one;
    everything else is torch's. Raises ConfigError for a description that breaks the schema, DamagedError for files
    that are not what their hashes promise, weights that do not fit or are not finite, or a graph that is not allowed.
    """
    opened = read_member(folder, sha256)
    device = device or runtime.choose_device()
    network: runtime.Network
    if device == runtime.CPU and opened.graph is not None:
        network = _graph_network(opened, folder, opened.graph)
    else:
        module = _torch_network(opened, folder)  # which says so where there is no torch
        from medseg.inference.runtime_torch import TorchNetwork

        network = TorchNetwork(module, device)
    return LoadedMember(opened.config, network, opened.sha256, opened.parameters)


def load_network(folder: Path, *, sha256: str | None = None) -> torch.nn.Module:
    """The member's network in torch, float32, on the CPU and in evaluation mode: to train on, or to look inside.

    Raises as `load_member` does.
    """
    return _torch_network(read_member(folder, sha256), folder).eval()


def read_member(folder: Path, sha256: str | None = None, *, graph: bool = True) -> MemberFiles:
    """The member's files, all hashes checked, all weights finite; its graph if `graph`. Raises as `load_member`."""
    description = folder / "member.json"
    digest = file_sha256(description)
    if sha256 is not None and digest != sha256:
        raise _damaged(folder, "member.json is not the one that ensemble.json names.")
    member = schema.load(MemberConfig, description)
    _read(folder, "config.json", member, schema.MAX_FILE_BYTES)
    weights = _read(folder, WEIGHTS, member, MAX_WEIGHTS_BYTES)
    program = _read(folder, GRAPH, member, MAX_GRAPH_BYTES) if graph and GRAPH in member.files else None
    settings = read_settings(folder / "config.json")
    try:
        slots = read_slots(weights)
    except ValueError as error:
        raise _misfit(folder, error) from None
    check_finite(weights, slots)
    return MemberFiles(member, digest, settings, weights, slots, program)


def copy_member(folder: Path, target: Path) -> None:
    """Copy the member's own files and nothing else that lies beside them, such as checkpoints or caches."""
    target.mkdir(parents=True)
    for name in (*member_files(folder), *PAPERS):
        if (folder / name).is_file():
            shutil.copyfile(folder / name, target / name)


def file_sha256(path: Path) -> str:
    """Hash of a file's bytes. Raises DamagedError where it cannot be read."""
    try:
        _check_regular(path)
        with path.open("rb") as stream:
            return hashlib.file_digest(stream, "sha256").hexdigest()
    except OSError as error:
        raise _damaged(path.parent, f"{path.name} cannot be read ({error.strerror}).") from None


def _check_regular(path: Path) -> None:
    if not stat.S_ISREG(path.stat().st_mode):  # a pipe would wait for ever, /dev/zero never ends
        raise _damaged(path.parent, f"{path.name} is no ordinary file.")


def _read(folder: Path, name: str, member: MemberConfig, limit: int) -> bytes:
    """The file's bytes, read once, so that what is opened is what was hashed."""
    try:
        _check_regular(folder / name)
        with (folder / name).open("rb") as stream:
            content = stream.read(limit + 1)
    except OSError as error:
        raise _damaged(folder, f"{name} cannot be read ({error.strerror}).") from None
    if len(content) > limit and name != "config.json":  # `read_settings` has its own sentence
        raise _damaged(folder, f"{name} has more than {limit:,} bytes.")
    if hashlib.sha256(content).hexdigest() != member.files.get(name) and len(content) <= limit:
        raise _damaged(folder, f"{name} is not what member.json promises.")
    return content


def _graph_network(opened: MemberFiles, folder: Path, graph: bytes) -> runtime.Network:
    from medseg.inference.runtime_onnx import GraphNetwork

    try:
        return GraphNetwork(graph, opened.weights, opened.slots, opened.image_shape, opened.logits_shape)
    except ValueError as error:
        raise _damaged(folder, f"{GRAPH} is not allowed ({error}).") from None


def _torch_network(opened: MemberFiles, folder: Path) -> torch.nn.Module:
    try:
        from medseg.inference.networks import fill_network
    except ModuleNotFoundError as error:
        raise ConfigError(
            f"The member {opened.config.name} needs torch here, and {error.name} is not installed: install medseg's "
            f"requirements.txt, or add a {GRAPH} where they are, with `medseg export --graph FOLDER`."
        ) from None
    try:
        return fill_network(opened.settings, opened.config, opened.weights, opened.slots)
    except (ValueError, RuntimeError) as error:
        raise _misfit(folder, error) from None


def _graph_of(network: torch.nn.Module, opened: MemberFiles) -> bytes:
    from medseg.inference.graph_export import checked_graph

    kind = json.dumps(opened.settings, sort_keys=True)
    ends = (opened.image_shape, opened.logits_shape)
    return checked_graph(network, opened.weights, opened.slots, *ends, kind=kind)


def _with_graph(member: MemberConfig, folder: Path, network: torch.nn.Module) -> MemberConfig:
    """Write member.json, with the graph of `network` beside it where there can be one that predicts the same."""
    (folder / GRAPH).unlink(missing_ok=True)
    schema.dump(member, folder / "member.json")
    try:
        graph = _graph_of(network, read_member(folder))
    except (ValueError, ModuleNotFoundError) as error:
        sentence = f"The member {member.name} has no {GRAPH}, and runs on torch: {error}."
        warnings.warn(sentence, MedsegWarning, stacklevel=3)
        return member
    (folder / GRAPH).write_bytes(graph)
    member = replace(member, files=member.files | {GRAPH: file_sha256(folder / GRAPH)})
    schema.dump(member, folder / "member.json")
    return member


def _hashes(folder: Path) -> dict[str, str]:
    return {name: file_sha256(folder / name) for name in HASHED_FILES}


def _check_finite(network: torch.nn.Module) -> None:
    for name, tensor in network.state_dict().items():
        if not tensor.isfinite().all():
            raise DamagedError(f"The weights hold NaN or infinity in {name}: train again or fetch another copy.")


def _misfit(folder: Path, error: Exception) -> DamagedError:
    return _damaged(folder, f"{WEIGHTS} does not fit config.json ({str(error).splitlines()[0]}).")


def _damaged(folder: Path, reason: str) -> DamagedError:
    remedy = _REMEDY_GRAPH if reason.startswith(GRAPH) else "Fetch it again."
    return DamagedError(f"The member {shown_name(folder)} is damaged: {reason} {remedy}")
