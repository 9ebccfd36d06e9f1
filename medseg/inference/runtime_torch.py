"""torch: on a GPU, and on a CPU where a member has no `graph.onnx`."""

from __future__ import annotations

import os

import numpy as np
from jaxtyping import Float32

# Before torch's own threads are made: those that wait by spinning double the time beside a busy process.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

import torch


class TorchNetwork:
    """A network in evaluation mode on `device`; channels last, the faster layout for convolutions."""

    def __init__(self, module: torch.nn.Module, device: str) -> None:
        self.runtime = f"torch on {device}"
        self.device = torch.device(device)
        self.module = module.eval().to(self.device).to(memory_format=torch.channels_last)  # type: ignore[call-overload,unused-ignore]

    @torch.inference_mode()
    def logits(self, batch: Float32[np.ndarray, "N C h w"]) -> Float32[np.ndarray, "N K h w"]:
        """One case a batch, so that no result depends on its neighbours."""
        tensor = torch.from_numpy(np.ascontiguousarray(batch))
        logits: torch.Tensor = self.module(tensor.to(device=self.device, memory_format=torch.channels_last))
        return np.asarray(logits.float().cpu().numpy())
