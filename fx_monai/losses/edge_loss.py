"""The loss of edge distributions.

Source: D-FINE (Peng et al., ICLR 2025), Sec. 4.1, fine-grained localization loss, after the distribution focal loss of
GFL (NeurIPS 2020). Deviation: none.
"""

from __future__ import annotations

import torch
from torch import Tensor

from fx_monai.models.edge_distribution import bin_values, edge_shifts


def edge_loss(edges: Tensor, boxes: Tensor, targets: Tensor) -> Tensor:
    """Return the cross-entropy of the two bins next to each edge's true shift, mean over the edges, (P,).

    Args:
        edges: (P, 4, bins + 1), logits.
        boxes: (P, 4), cxcywh normalised, that the shifts start from.
        targets: (P, 4), cxcywh normalised.
    """
    values = bin_values(edges.shape[-1] - 1, edges)
    shifts = edge_shifts(boxes, targets).clamp(values[0], values[-1])
    upper = torch.bucketize(shifts, values).clamp(1, len(values) - 1)
    lower = upper - 1
    share = (shifts - values[lower]) / (values[upper] - values[lower])
    logs = edges.log_softmax(-1)
    low, high = (logs.gather(-1, index[..., None])[..., 0] for index in (lower, upper))
    return -((1 - share) * low + share * high).mean(dim=-1)
