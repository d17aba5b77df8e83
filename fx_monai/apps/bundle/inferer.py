"""The bundle's inferer: every head in one pass."""

from __future__ import annotations

from typing import Any

from monai.inferers import Inferer
from torch import Tensor

from fx_monai.models.exported import named_outputs
from fx_monai.models.foundation_x import FoundationX


class AllOutputs(Inferer):
    """Returns all outputs that the metadata names, as tensors whose first dimension is the image."""

    def __call__(self, inputs: Tensor, network: FoundationX, *args: Any, **kwargs: Any) -> dict[str, Tensor]:
        """Run the network once.

        Args:
            inputs: (B, 1, S, S) in [0, 1].
            network: the bundle's ``network_def``.
            *args: not used; MONAI's engines may pass some.
            **kwargs: not used.

        Returns:
            See :func:`fx_monai.models.exported.named_outputs`.
        """
        return named_outputs(network, inputs)
