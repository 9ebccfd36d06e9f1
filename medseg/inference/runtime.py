"""Where networks run: ONNX Runtime on a CPU, torch on everything else. Imports neither before it is needed."""

from __future__ import annotations

import math
import os
import platform
import sys
from pathlib import Path
from typing import Protocol

import numpy as np
from jaxtyping import Float32

from medseg.errors import InputError

CPU = "cpu"
_UNITS = ("/dev/nvidia0", "/dev/nvidiactl", "/dev/kfd", "/dev/dxg")  # NVIDIA, AMD, either under Windows' Linux
_QUOTA = Path("/sys/fs/cgroup/cpu.max")


class Network(Protocol):
    """A network that is ready: `runtime` names what executes it."""

    runtime: str

    def logits(self, batch: Float32[np.ndarray, "N C h w"]) -> Float32[np.ndarray, "N K h w"]: ...


def run(network: Network, batch: Float32[np.ndarray, "N C h w"]) -> Float32[np.ndarray, "N K h w"]:
    """The logits of `batch`: every run of a network for an image passes here."""
    return network.logits(batch)


def choose_device(wanted: str | None = None) -> str:
    """The device `wanted`, or the best one here: CUDA, then Apple's MPS, then the CPU.

    torch is asked only where `wanted` is another than the CPU, or where this machine may have a GPU. Raises InputError
    for a device that this machine does not have.
    """
    if wanted == CPU:
        return CPU
    if wanted is None and not _may_have_gpu():
        return CPU
    try:
        import torch
    except ImportError:
        if wanted is None:
            return CPU
        raise InputError(f"The device {wanted!r} cannot be used: it needs torch, which is not installed.") from None
    if wanted is not None:
        try:
            return str(torch.empty(0, device=wanted).device)
        except (RuntimeError, AssertionError, NotImplementedError) as error:  # AssertionError: torch without CUDA
            raise InputError(f"The device {wanted!r} cannot be used: {str(error).splitlines()[0]}") from None
    if torch.cuda.is_available():
        return "cuda"
    return "mps" if torch.backends.mps.is_available() else CPU


def _may_have_gpu() -> bool:
    """Whether it is worth asking torch, which takes seconds to import; wrong only towards asking."""
    if sys.platform == "linux":
        return any(Path(unit).exists() for unit in _UNITS) or "SPACES_ZERO_GPU" in os.environ
    return sys.platform != "darwin" or platform.machine() == "arm64"


def count_threads() -> int:
    """How many threads one network runs on: OMP_NUM_THREADS where it is set, as `accelerate launch` and Ray set it for
    each of their processes; else the cores that this process may use, a container's quota included."""
    asked = os.environ.get("OMP_NUM_THREADS", "").partition(",")[0]
    if asked.isdecimal() and int(asked) > 0:
        return int(asked)
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    try:
        quota, period = _QUOTA.read_text(encoding="ascii").split()
        return max(1, min(cores, math.ceil(int(quota) / int(period))))
    except (OSError, ValueError):  # no quota, or another system
        return cores
