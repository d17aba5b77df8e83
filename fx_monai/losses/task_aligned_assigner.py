"""One-to-many assignment of proposals to boxes.

Source: TOOD (Feng et al., ICCV 2021), Eq. 6 and Sec. 3.3: the proposals that classify and locate a box best learn it.
Deviation: a box that holds no token centre can be learnt by the tokens nearest to its centre.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torchvision.ops import box_convert, box_iou

_TOP = 10
_ALPHA, _BETA = 1.0, 6.0


@torch.no_grad()
def assign(
    logits: Tensor, boxes: Tensor, labels: Tensor, targets: Tensor, centres: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """Assign the proposals of one image.

    Args:
        logits: (T, K).
        boxes: (T, 4), cxcywh normalised.
        labels: (N,) int64.
        targets: (N, 4), cxcywh normalised.
        centres: (T, 2), x and y of the tokens as fractions of the image.

    Returns:
        Indices of the positive proposals (P,), of their boxes (P,), and the quality in (0, 1] that their class score
        should reach (P,).
    """
    if not len(targets):
        none = torch.zeros(0, dtype=torch.int64, device=boxes.device)
        return none, none, torch.zeros(0, device=boxes.device)
    iou = box_iou(box_convert(boxes, "cxcywh", "xyxy"), box_convert(targets, "cxcywh", "xyxy"))
    candidates = _candidates(centres, targets)
    alignment = (logits.sigmoid()[:, labels] ** _ALPHA * iou.clamp(min=1e-3) ** _BETA).masked_fill(~candidates, 0)
    best, tokens = alignment.topk(min(_TOP, len(boxes)), dim=0)
    chosen = torch.zeros_like(candidates).scatter_(0, tokens, best > 0)
    # a proposal that two boxes want learns the one it overlaps most
    wanted = chosen * (iou + 1e-3)
    positives = torch.nonzero(chosen.any(dim=1)).flatten()
    boxes_of = wanted[positives].argmax(dim=1)
    aligned = torch.zeros_like(alignment)
    aligned[positives, boxes_of] = alignment[positives, boxes_of]
    overlap = iou * (aligned > 0)
    quality = aligned / aligned.amax(dim=0).clamp(min=1e-12) * overlap.amax(dim=0).clamp(min=1e-3)
    return positives, boxes_of, quality[positives, boxes_of]


def _candidates(centres: Tensor, targets: Tensor) -> Tensor:
    low, high = box_convert(targets, "cxcywh", "xyxy").split(2, dim=1)
    inside = ((centres[:, None] > low) & (centres[:, None] < high)).all(dim=-1)
    distance = torch.cdist(centres, targets[:, :2])
    nearest = distance <= distance.amin(dim=0) + 1e-6
    return inside | nearest
