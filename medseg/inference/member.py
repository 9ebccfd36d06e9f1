"""One trained network as a folder: config.json and model.safetensors as smp has them, and member.json for the rest.

The folder of an smp network opens with `smp.from_pretrained(folder)` alone, that of our own with
`PlainUNet.from_pretrained`; `load_member` first checks hashes, schema and finiteness.
Safetensors only: nothing here unpickles.
"""

from __future__ import annotations

import copy
import hashlib
import inspect
import json
import re
import shutil
import stat
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import segmentation_models_pytorch as smp
import timm
import torch
from jaxtyping import Float, Float16
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file
from torch.overrides import TorchFunctionMode

from medseg import schema
from medseg.cards.card import member_card
from medseg.config import MemberConfig, Task
from medseg.errors import ConfigError, DamagedError
from medseg.hub.cache import shown_name
from medseg.hub.folders import MEMBER_FILES, PAPERS, read_settings
from medseg.image import Image
from medseg.inference import runtime
from medseg.inference.tta import Augmentation, choose_pairs
from medseg.inference.unet import PlainUNet
from medseg.preprocess import to_tensor, to_working_grid

ARCHITECTURES = {
    cls.__name__: cls
    for cls in (
        smp.Unet, smp.UnetPlusPlus, smp.MAnet, smp.Linknet, smp.FPN, smp.PSPNet,
        smp.PAN, smp.DeepLabV3, smp.DeepLabV3Plus, smp.UPerNet, smp.Segformer, PlainUNet,
    )
}  # fmt: skip
Shapes = dict[str, list[int]]
"""Name of a tensor → its sides."""

MAX_PARAMETERS = 200_000_000
_PRUNED = "feature_cls"
"""timm's argument that smp hands on: with "getter" a `tu-` encoder is built without the stages past `encoder_depth`."""
HASHED_FILES = ("config.json", "model.safetensors")


@dataclass(frozen=True, eq=False)
class LoadedMember:
    """A verified member, ready to answer. `sha256` is that of its member.json."""

    config: MemberConfig
    network: torch.nn.Module
    device: torch.device
    sha256: str

    def probabilities(self, image: Image, *, tta: Augmentation = False) -> Float16[np.ndarray, "K h w"]:
        """Probabilities (K, h, w) on the image's working grid; with `tta` the mean over its turns."""
        batch = to_tensor(image.pixels, self.config.preprocess)
        pairs = choose_pairs(tta, self.config.preprocess.height, self.config.preprocess.width)
        answers = [inverse(self._answer(forward(batch))) for forward, inverse in pairs]
        mean = torch.stack(answers).mean(dim=0)
        if not torch.isfinite(mean).all():  # finite weights can still overflow; an empty mask would hide it
            raise DamagedError(
                f"The member {self.config.name} answers this picture with NaN: take it out of the ensemble."
            )
        return to_working_grid(mean, self.config.preprocess, image.size).numpy().astype(np.float16)

    def _answer(self, batch: torch.Tensor) -> Float[torch.Tensor, "K height width"]:
        return to_probabilities(runtime.run(self.network, batch, self.device), self.config.task)[0]


def to_probabilities(logits: torch.Tensor, task: Task) -> Float[torch.Tensor, "N K height width"]:
    """Logits (N, channels, height, width) → probabilities (N, K, height, width) of the named labels.

    Sigmoid for binary and multilabel; softmax for multiclass, whose channel 0 is the background and is dropped.
    """
    return logits.softmax(dim=1)[:, 1:] if task == "multiclass" else logits.sigmoid()


def build_network(settings: dict[str, Any], member: MemberConfig) -> torch.nn.Module:
    """The network that a config.json describes, with random weights: never a download, never a local path.

    Raises ConfigError for an architecture or encoder that is not known, an unknown or ill-typed setting, more than
    MAX_PARAMETERS, or a network that does not turn `member`'s input into logits of its labels on the same grid (both
    found out on the meta device, before any memory is taken).
    """
    architecture, checked, _ = _checked(settings, member)
    network: torch.nn.Module = architecture(**checked)
    return network


def save_member(network: torch.nn.Module, member: MemberConfig, folder: Path) -> MemberConfig:
    """Write the member folder in half precision, with its card; returns `member` with the hashes filled in.

    Raises DamagedError where a weight is not finite in half precision, ConfigError for a member that could not be
    loaded again.
    """
    folder.mkdir(parents=True, exist_ok=True)
    halved: Any = copy.deepcopy(network).cpu().half()
    _check_finite(halved.state_dict())
    if "encoder_weights" in halved.config:
        halved.config["encoder_weights"] = None  # or smp asks the Hub for them at every load
    written = json.loads(json.dumps({"_model_class": type(network).__name__, **halved.config}))  # its tuples are lists
    _checked(written, member)
    halved.save_pretrained(folder)
    member = replace(member, files={name: file_sha256(folder / name) for name in HASHED_FILES})
    schema.dump(member, folder / "member.json")
    # in place of smp's own card, which claims the MIT licence for everybody's weights
    card = member_card(member, str(written["_model_class"]), str(written.get("encoder_name")))
    (folder / "README.md").write_text(card, encoding="utf-8")
    return member


def load_member(folder: Path, *, sha256: str | None = None, device: torch.device | None = None) -> LoadedMember:
    """Open a member folder: hashes first, then schema, then weights.

    `sha256` is what member.json must hash to (from ensemble.json). Raises ConfigError for a description that breaks
    the schema, DamagedError for files that are not what their hashes promise, or weights that do not fit or are not
    finite.
    """
    description = folder / "member.json"
    found = file_sha256(description)
    if sha256 is not None and found != sha256:
        raise _damaged(folder, "member.json is not the one that ensemble.json names.")
    member = schema.load(MemberConfig, description)
    for name in HASHED_FILES:
        if file_sha256(folder / name) != member.files.get(name):
            raise _damaged(folder, f"{name} is not what member.json promises.")
    architecture, checked, shapes = _checked(read_settings(folder / "config.json"), member)
    _check_shapes(shapes, folder / "model.safetensors")
    network: torch.nn.Module = architecture(**checked)
    _fill(network, folder / "model.safetensors")
    device = device or runtime.choose_device()
    return LoadedMember(member, runtime.prepare(network, device), device, found)


def copy_member(folder: Path, target: Path) -> None:
    """Copy the member's own files and nothing else that lies beside them, such as checkpoints or caches."""
    target.mkdir(parents=True)
    for name in (*MEMBER_FILES, *PAPERS):
        if (folder / name).is_file():
            shutil.copyfile(folder / name, target / name)


def file_sha256(path: Path) -> str:
    """Hash of a file's bytes. Raises DamagedError where it cannot be read, or may never end as pipes do."""
    try:
        if not stat.S_ISREG(path.stat().st_mode):
            raise _damaged(path.parent, f"{path.name} is no ordinary file.")
        with path.open("rb") as stream:
            return hashlib.file_digest(stream, "sha256").hexdigest()
    except OSError as error:
        raise _damaged(path.parent, f"{path.name} cannot be read ({error.strerror}).") from None


def _checked(
    settings: dict[str, Any], member: MemberConfig
) -> tuple[Callable[..., torch.nn.Module], dict[str, Any], Shapes]:
    """The architecture and its arguments that `settings` name, and the shapes of its weights; refused as
    `build_network` says."""
    settings = dict(settings)
    name = settings.pop("_model_class", None)
    if not isinstance(name, str) or name not in ARCHITECTURES:
        raise ConfigError(f"config.json: architecture {str(name)[:80]!r} is not one of {', '.join(ARCHITECTURES)}.")
    architecture = ARCHITECTURES[name]
    _check_settings(architecture, settings, member)
    if architecture is not PlainUNet:
        _check_smp(settings)
    try:
        with torch.device("meta"), _CountingOnTheCpu():
            sketch = architecture(**settings).eval()
            _check_sketch(sketch, member)
    except (ValueError, TypeError, KeyError, RuntimeError, AssertionError, IndexError, ArithmeticError) as error:
        raise ConfigError(f"config.json does not describe a network that can be built: {error}") from None
    return architecture, settings, {name: list(tensor.shape) for name, tensor in sketch.state_dict().items()}


class _CountingOnTheCpu(TorchFunctionMode):
    """Keeps `torch.linspace` on the CPU: smp's mit_b0 to mit_b5 count their drop path with it, and read the numbers,
    which the meta device does not hold."""

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        return func(*args, **{**(kwargs or {}), **({"device": "cpu"} if func is torch.linspace else {})})


def _check_settings(architecture: type, settings: dict[str, Any], member: MemberConfig) -> None:
    allowed = set(inspect.signature(architecture).parameters) - {"kwargs"}
    allowed |= {_PRUNED} if "encoder_name" in allowed else set()
    unknown = sorted(set(settings) - allowed)
    if unknown:
        raise ConfigError(f"config.json: unknown key {unknown[0][:80]!r} for {architecture.__name__}.")
    for key, value in settings.items():
        if not _is_plain(value):
            raise ConfigError(f"config.json: {key} must be a number, a word or a list of small numbers.")
    wanted = {"in_channels": member.preprocess.channels, "classes": member.channels_out}
    for (key, want), default in zip(wanted.items(), (3, 1), strict=True):  # smp's defaults
        if settings.get(key, default) != want:
            raise ConfigError(f"config.json: {key} must be {want}, as member.json has it.")


def _check_smp(settings: dict[str, Any]) -> None:
    if settings.get("activation") not in (None, "identity"):
        raise ConfigError("config.json: activation must be null, since a member answers in logits.")
    name = settings.get("encoder_name", "resnet34")
    _check_encoder(name)
    if _PRUNED in settings and (settings[_PRUNED] != "getter" or not name.startswith("tu-")):
        raise ConfigError(f'config.json: {_PRUNED} must be "getter", and the encoder one of timm (tu-…).')
    settings["encoder_weights"] = None  # anything else makes smp ask the Hub


def _check_sketch(network: torch.nn.Module, member: MemberConfig) -> None:
    """Refuse a network on the meta device that is too large or answers on another grid or with other channels."""
    parameters = sum(p.numel() for p in network.parameters())
    if parameters > MAX_PARAMETERS:
        raise ConfigError(f"config.json: {parameters:,} parameters are over the limit of {MAX_PARAMETERS:,}.")
    grid = (member.preprocess.height, member.preprocess.width)
    wanted = (1, member.channels_out, *grid)
    found = tuple(network(torch.empty(1, member.preprocess.channels, *grid)).shape)
    if found != wanted:
        raise ConfigError(f"config.json: the network answers {found}, member.json wants {wanted}.")


def _is_plain(value: Any) -> bool:
    """Numbers small enough for any sane network; the lists are channel counts and dilation rates."""
    if isinstance(value, list):
        return len(value) <= 8 and all(isinstance(item, int) and 1 <= item <= 4096 for item in value)
    return value is None or isinstance(value, bool | str) or (isinstance(value, int | float) and 0 <= value <= 4096)


def _check_encoder(name: Any) -> None:
    """timm names may carry a scheme (`hf_hub:`, `local-dir:`) that fetches or opens files: plain known names only.

    A dot parts a timm name from the tag of its weights, as in `tu-resnet18.a1_in1k`.
    """
    plain = isinstance(name, str) and re.fullmatch(r"(tu-)?[a-z0-9_.-]+", name)
    known = plain and (timm.is_model(name[3:]) if name.startswith("tu-") else name in smp.encoders.encoders)
    if not known:
        raise ConfigError(f"config.json: the encoder {str(name)[:80]!r} is not one that smp or timm builds by name.")


def _check_shapes(shapes: Shapes, path: Path) -> None:
    """Refuse weights of other names or shapes by the file's header: a network of 200 million parameters takes 800 MB to
    build, weights that no network asks for any amount to load."""
    try:
        with safe_open(path, framework="pt") as file:
            held = {name: file.get_slice(name).get_shape() for name in file.keys()}  # noqa: SIM118 (it is no dict)
    except (SafetensorError, OSError) as error:
        raise _damaged(path.parent, f"{path.name} does not fit config.json ({str(error).splitlines()[0]}).") from None
    odd = sorted(name for name in shapes.keys() | held.keys() if shapes.get(name) != held.get(name))
    if odd:
        wanted, given = shapes.get(odd[0], "nothing"), held.get(odd[0], "nothing")
        name = odd[0][:80]
        raise _damaged(path.parent, f"{path.name} does not fit config.json ({name!r} is {given}, wanted {wanted}).")


def _fill(network: torch.nn.Module, path: Path) -> None:
    try:
        state = load_file(path)
        _check_finite(state)
        network.load_state_dict(state)  # half precision values are copied into float32 parameters
    except (SafetensorError, RuntimeError) as error:
        reason = str(error).splitlines()[0]
        raise _damaged(path.parent, f"{path.name} does not fit config.json ({reason}).") from None


def _check_finite(state: dict[str, torch.Tensor]) -> None:
    for name, tensor in state.items():
        if not torch.isfinite(tensor).all():
            raise DamagedError(f"The weights hold NaN or infinity in {name}: train again or fetch another copy.")


def _damaged(folder: Path, reason: str) -> DamagedError:
    return DamagedError(f"The member {shown_name(folder)} is damaged: {reason} Fetch it again.")
