"""torch: on a GPU, and on a CPU where a member has no `graph.onnx`.

On CUDA networks compute in half precision, the precision in which their weights are stored; an image's normalisation,
the logits that come back and all that is made of them are float32. `python -m benchmarks.gpu dice` says what that
changes.
"""

from __future__ import annotations

import os
import threading
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from typing import Any

import numpy as np
from jaxtyping import Float32

from medseg.errors import InputError

# Before torch's own threads are made: those that wait by spinning double the time beside a busy process.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

import torch

Batch = Float32[np.ndarray, "N C h w"]
Logits = Float32[np.ndarray, "N K h w"]


class TorchNetwork:
    """A network in evaluation mode on `device`; channels last, the faster layout for convolutions."""

    def __init__(self, module: torch.nn.Module, device: str, *, half: bool | None = None) -> None:
        """`half`: in half precision, as on CUDA where it is None."""
        self.device = torch.device(device)
        self.half = (self.device.type == "cuda" if half is None else half) and _fits_half(module)
        self.runtime = f"torch on {device}"
        self.module = module.eval().to(self.device, torch.float16 if self.half else torch.float32)
        self.module.to(memory_format=torch.channels_last)  # type: ignore[call-overload,unused-ignore]
        self._turn = threading.Lock()

    def logits(self, batch: Batch) -> Logits:
        """On a CPU one case a batch, so that no result depends on its neighbours. Raises InputError as `begin`."""
        begun = self.begin(batch)
        mark(self.device)()
        return self.checked(begun.numpy(), batch)

    @torch.inference_mode()
    def begin(self, batch: Batch) -> torch.Tensor:
        """The logits in float32, on their way into pinned memory of the CPU: there once a later `mark` has passed.

        Raises InputError where the memory of the GPU is too small.
        """
        tensor = torch.from_numpy(np.ascontiguousarray(batch))
        if self.device.type == "cuda":
            tensor = tensor.pin_memory()  # else the copy waits for all that the GPU has to do
        try:
            with self._turn:
                kind = torch.float16 if self.half else torch.float32
                placed = tensor.to(self.device, non_blocking=True).to(kind, memory_format=torch.channels_last)
                logits: torch.Tensor = self.module(placed).float()
            return logits.to("cpu", non_blocking=True)
        except torch.OutOfMemoryError:
            torch.cuda.empty_cache()
            raise InputError(
                f"The memory of {self.device} is too small for an input of {batch.shape[0]} × {batch.shape[2]} × "
                f'{batch.shape[3]}: end what else uses it, or choose the device "cpu".'
            ) from None

    def checked(self, logits: Logits, batch: Batch) -> Logits:
        """`logits` of `batch`; where half precision overflowed, those of float32, in which it computes from now on."""
        if not self.half or np.isfinite(logits).all():
            return logits
        with self._turn:
            self.half = False
            self.module.float()
        return self.logits(batch)


class Batches:
    """Networks on a GPU: what threads ask of them at the same time goes through each as one batch.

    All networks are begun before any is waited for, and the next batch is begun while one is computed.
    """

    AT_ONCE = 32
    MOST_PIXELS = 64 * 256**2
    """Of one batch: more gain nothing, and a U-Net in half precision takes 2 GB for so many."""

    def __init__(self, networks: Sequence[TorchNetwork]) -> None:
        self.networks = tuple(networks)
        self._waiting: deque[_Asked] = deque()
        self._turn = threading.Lock()
        self._last: Callable[[], None] = _passed

    def logits(self, inputs: Sequence[Batch]) -> list[Logits]:
        """Each network's logits of its own input. Raises InputError as `TorchNetwork.begin`."""
        asked = _Asked(inputs)
        self._waiting.append(asked)
        while not asked.begun.done():
            with self._turn:
                if not asked.begun.done():
                    self._begin(self._next())
        pieces, passed = asked.begun.result()
        passed()
        ends = zip(self.networks, pieces, inputs, strict=True)
        return [network.checked(piece.numpy(), batch) for network, piece, batch in ends]

    def _next(self) -> list[_Asked]:
        """Those who waited longest, up to MOST_PIXELS."""
        taken = [self._waiting.popleft()]
        pixels = taken[0].pixels
        while self._waiting and (pixels := pixels + self._waiting[0].pixels) <= self.MOST_PIXELS:
            taken.append(self._waiting.popleft())
        return taken

    def _begin(self, taken: list[_Asked]) -> None:
        """Begin one batch; return when the one before it has passed, so that two at the most are under way."""
        try:
            logits = [self._begin_network(index, taken) for index in range(len(self.networks))]
        except Exception as error:
            if isinstance(error, InputError) and len(taken) > 1:  # alone each may have room
                for asked in taken:
                    self._begin([asked])
                return
            for asked in taken:
                asked.begun.set_exception(error)
            return
        passed = mark(self.networks[0].device)
        for place, asked in enumerate(taken):
            asked.begun.set_result(([pieces[place] for pieces in logits], passed))
        self._last()
        self._last = passed

    def _begin_network(self, index: int, taken: list[_Asked]) -> tuple[torch.Tensor, ...]:
        inputs = [asked.inputs[index] for asked in taken]
        logits = self.networks[index].begin(np.concatenate(inputs))
        return torch.split(logits, [len(each) for each in inputs])


class _Asked:
    """What one thread asks for: each network's input; and, once begun, the logits and how to wait for them."""

    def __init__(self, inputs: Sequence[Batch]) -> None:
        self.inputs = inputs
        self.pixels = max(batch.shape[0] * batch.shape[2] * batch.shape[3] for batch in inputs)
        self.begun: Future[tuple[list[torch.Tensor], Callable[[], None]]] = Future()


def _fits_half(module: torch.nn.Module) -> bool:
    tensors = (tensor for tensor in module.state_dict().values() if tensor.is_floating_point())
    return all(bool(tensor.half().isfinite().all()) for tensor in tensors)


def mark(device: torch.device) -> Callable[[], None]:
    """Waits, when called, until `device` has done what was begun so far, and not for what is begun later."""
    if device.type != "cuda":
        return torch.mps.synchronize if device.type == "mps" else _passed
    event: Any = torch.cuda.Event(blocking=True)  # type: ignore[no-untyped-call]  # a thread that waits leaves its core to the decoders
    event.record(torch.cuda.current_stream(device))
    wait: Callable[[], None] = event.synchronize
    return wait


def _passed() -> None:
    """A CPU has done it when the call returns."""
