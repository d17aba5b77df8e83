"""TorchScript for callers that script: MONAI's ``ckpt_export`` and the Model Zoo's verification."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn


class TracedForward(nn.Module):
    """A network traced at one input size, in a form that ``torch.jit.script`` takes.

    Backbones of timm and the choice of tasks are beyond the scripting language; a trace holds the operations alone.

    Args:
        network: in evaluation mode; returns one tensor.
        side: of its square input in pixels. The batch size stays free, but for localization.
    """

    def __init__(self, network: nn.Module, side: int) -> None:
        super().__init__()
        trace: Any = torch.jit.trace
        device = next(network.parameters()).device
        with torch.no_grad():
            self.network = trace(network, torch.zeros(1, 1, side, side, device=device), check_trace=False)

    def forward(self, image: Tensor) -> Tensor:
        """Return what the network returns.

        Args:
            image: (B, 1, S, S) in [0, 1].
        """
        return self.network(image)
