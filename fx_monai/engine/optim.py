"""One optimiser that holds every trainable parameter exactly once."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import torch
from torch import nn


def build_optimiser(
    groups: Mapping[str, nn.Module], *, backbone: float, trunk: float, heads: float, weight_decay: float
) -> torch.optim.AdamW:
    """Return AdamW over the module groups, two parameter groups each: weights, and vectors without weight decay.

    Args:
        groups: module groups of the network.
        backbone: base learning rate of the group ``backbone``.
        trunk: base learning rate of ``projector``, ``loc_encoder``, ``seg_decoder`` and a shared ``loc_decoder``.
        heads: base learning rate of all groups that belong to one task.
        weight_decay: decoupled weight decay of matrices and kernels.

    Raises:
        ValueError: a parameter stands in two groups (a mistake in the network, not the user's).
    """
    shared = ("projector", "loc_encoder", "loc_decoder", "seg_decoder")
    rates = {"backbone": backbone, **dict.fromkeys(shared, trunk)}
    parameter_groups: list[dict[str, object]] = []
    seen: set[int] = set()
    for name, module in groups.items():
        parameters = list(module.parameters())
        if seen & {id(p) for p in parameters}:
            raise ValueError(f"the module group {name} shares a parameter with another group")
        seen |= {id(p) for p in parameters}
        for decay in (True, False):
            chosen = [p for p in parameters if (p.ndim > 1) is decay]
            if chosen:
                rate = rates.get(name, heads)
                parameter_groups.append(
                    {
                        "params": chosen,
                        "name": name,
                        "lr": rate,
                        "base_lr": rate,
                        "weight_decay": weight_decay if decay else 0.0,
                    }
                )
    return torch.optim.AdamW(parameter_groups, fused=True)


def clip_active(parameters: Iterable[nn.Parameter], max_norm: float) -> torch.Tensor:
    """Clip the gradient norm over the parameters that have a gradient; return the norm before clipping, ()."""
    return nn.utils.clip_grad_norm_([p for p in parameters if p.grad is not None], max_norm)
