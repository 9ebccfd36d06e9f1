"""How a network is executed: which device, which memory layout."""

from __future__ import annotations

import torch

from medseg.errors import InputError


def choose_device(wanted: str | None = None) -> torch.device:
    """The device `wanted`, or the best one here: CUDA, then Apple's MPS, then the CPU.

    Raises InputError for a device that this machine does not have.
    """
    if wanted:
        try:
            return torch.empty(0, device=wanted).device
        except (RuntimeError, AssertionError, NotImplementedError) as error:  # AssertionError: torch without CUDA
            raise InputError(f"The device {wanted!r} cannot be used: {str(error).splitlines()[0]}") from None
    if torch.cuda.is_available():
        return torch.device("cuda")
    return torch.device("mps" if torch.backends.mps.is_available() else "cpu")


def prepare(network: torch.nn.Module, device: torch.device) -> torch.nn.Module:
    """The network in evaluation mode on `device`; channels last, the faster layout for convolutions on CPU and GPU."""
    network.eval().to(device)
    return network.to(memory_format=torch.channels_last)  # type: ignore[no-any-return,call-overload,unused-ignore]


@torch.inference_mode()
def run(network: torch.nn.Module, batch: torch.Tensor, device: torch.device) -> torch.Tensor:
    """The logits of `batch` as float32 on the CPU. One case a batch, so that no answer depends on its neighbours."""
    answer: torch.Tensor = network(batch.to(device=device, memory_format=torch.channels_last))
    return answer.float().cpu()
