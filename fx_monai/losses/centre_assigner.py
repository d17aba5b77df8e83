"""One-to-many assignment of proposals to boxes: the tokens around a box's centre learn it.

Source: centre sampling of FCOS (Tian et al., TPAMI 2020), with the IoU as the score to reach (VarifocalNet, CVPR 2021).
Deviations, for a few hundred steps: boxes stay on the finest level as long as it can reach their edges, the score to
reach has a floor, so that learning begins before boxes fit, and every box counts about the same, so that a nodule of
two tokens learns beside a heart of twenty.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torchvision.ops import box_convert, box_iou

# in token spacings: the longest side that a level is for, and how far from a box's centre its tokens lie
_LONGEST_SIDE, _RADIUS = 16.0, 2.25
_LEAST_QUALITY = 0.2
# a box counts as much as this number of tokens, a token at most as much as so many
_PER_BOX, _PER_TOKEN = 4.0, 4.0


@torch.no_grad()
def assign(boxes: Tensor, targets: Tensor, centres: Tensor, spacing: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Assign the proposals of one image.

    Args:
        boxes: (T, 4), cxcywh normalised.
        targets: (N, 4), cxcywh normalised.
        centres: (T, 2), x and y of the tokens as fractions of the image.
        spacing: (T,), distance between neighbouring tokens of the token's level, fraction of the image.

    Returns:
        Indices of the positive proposals (P,), of their boxes (P,), the class score that a proposal should reach, in
        (0, 1], (P,), and what it counts (P,).
    """
    if not len(targets):
        none = torch.zeros(0, dtype=torch.int64, device=boxes.device)
        nothing = torch.zeros(0, device=boxes.device)
        return none, none, nothing, nothing
    wanted = _candidates(targets, centres, spacing)
    positives = wanted.any(dim=1).nonzero().flatten()
    # a token that several boxes want learns the smallest
    area = targets[:, 2:].prod(dim=1).expand(len(wanted), -1).masked_fill(~wanted, torch.inf)
    boxes_of = area[positives].argmin(dim=1)
    iou = box_iou(box_convert(boxes[positives], "cxcywh", "xyxy"), box_convert(targets, "cxcywh", "xyxy"))
    quality = iou.gather(1, boxes_of[:, None])[:, 0].clamp(min=_LEAST_QUALITY)
    tokens_of = torch.bincount(boxes_of, minlength=len(targets))[boxes_of]
    return positives, boxes_of, quality, (_PER_BOX / tokens_of).clamp(max=_PER_TOKEN)


def _candidates(targets: Tensor, centres: Tensor, spacing: Tensor) -> Tensor:
    """Return which tokens lie around the centre of which box, on the box's level, (T, N) bool; at least one a box."""
    reaches = _LONGEST_SIDE * spacing[:, None] >= targets[:, 2:].amax(dim=1)
    finest = spacing[:, None].masked_fill(~reaches, torch.inf).amin(dim=0)
    on_level = spacing[:, None] == finest.minimum(spacing.amax())
    offset = (centres[:, None] - targets[:, :2]).abs()
    inside = (offset < targets[:, 2:] / 2).all(dim=-1)
    distance = offset.amax(dim=-1).masked_fill(~on_level, torch.inf)
    nearest = distance <= distance.amin(dim=0) + 1e-6
    return on_level & (nearest | (inside & (distance < _RADIUS * spacing[:, None])))
