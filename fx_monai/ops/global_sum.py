"""Sums over all processes of a training, so that a loss doesn't depend on how a batch is divided among them."""

from __future__ import annotations

import torch.distributed as dist
from torch import Tensor


def global_sum(own: Tensor) -> Tensor:
    """Return the sum over the processes; the same tensor when there is one process.

    A loss that is a function of such sums has the same value everywhere, and its gradient in a process is that of the
    process's own images: the sum of the gradients over the processes is the gradient of the loss of the whole batch.

    Args:
        own: this process's part, any shape, the same in all processes; all of them must call.
    """
    if not (dist.is_available() and dist.is_initialized()) or dist.get_world_size() == 1:
        return own
    total = own.detach().clone()
    dist.all_reduce(total)
    return total + (own - own.detach())
