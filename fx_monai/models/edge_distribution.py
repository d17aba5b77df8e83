"""Boxes as distributions: how far each edge lies from the edge of a reference box.

Source: D-FINE (Peng et al., ICLR 2025), Sec. 4.1, Eq. 2 and 3: bins that are dense around no change, layers that add to
the logits of the layer before. Deviation: an edge never crosses the centre of the reference box.
"""

from __future__ import annotations

import torch
from torch import Tensor

# an edge moves by up to twice this fraction of the side; the smaller the curvature, the denser the bins around 0
_REACH, _CURVATURE = 0.5, 0.25
# least distance of an edge from the centre of its reference box, as a fraction of the side
_LEAST = 0.01


def bin_values(bins: int, like: Tensor) -> Tensor:
    """Return the shift that each bin stands for, (bins + 1,), ascending, odd around 0, as fractions of the side."""
    half = torch.arange(1, bins // 2, device=like.device, dtype=like.dtype)
    dense = _CURVATURE * ((_REACH / _CURVATURE + 1) ** (2 * half / (bins - 2)) - 1)
    positive = torch.cat((dense, dense.new_tensor([2 * _REACH])))
    return torch.cat((-positive.flip(0), positive.new_zeros(1), positive))


def move_edges(boxes: Tensor, edges: Tensor) -> Tensor:
    """Move the edges of boxes by the mean of their distributions.

    Args:
        boxes: (..., 4), cxcywh normalised.
        edges: (..., 4, bins + 1), logits of the shifts of left, top, right, bottom, outwards positive.

    Returns:
        (..., 4), cxcywh normalised; may reach beyond the image.
    """
    shifts = edges.softmax(-1) @ bin_values(edges.shape[-1] - 1, edges)
    reach = (0.5 + shifts).clamp(min=_LEAST)
    centre, size = boxes[..., :2], boxes[..., 2:]
    low, high = reach[..., :2] * size, reach[..., 2:] * size
    return torch.cat((centre + (high - low) / 2, low + high), dim=-1)


def edge_shifts(boxes: Tensor, targets: Tensor) -> Tensor:
    """Return the shifts (..., 4) that :func:`move_edges` needs to turn boxes into targets, both cxcywh normalised."""
    offset, half = targets[..., :2] - boxes[..., :2], targets[..., 2:] / 2
    size = boxes[..., 2:].clamp(min=1e-6)
    return torch.cat(((half - offset) / size, (half + offset) / size), dim=-1) - 0.5
