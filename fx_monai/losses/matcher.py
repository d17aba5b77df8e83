"""One-to-one matching of queries and boxes.

Source: DETR (Carion et al., ECCV 2020), Eq. 1, with the focal class cost of Deformable DETR (ICLR 2021).
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from scipy.optimize import linear_sum_assignment
from torch import Tensor
from torchvision.ops import box_convert, generalized_box_iou

CLASS_COST, L1_COST, GIOU_COST = 2.0, 5.0, 2.0


@torch.no_grad()
def match(
    logits: Tensor, boxes: Tensor, target_labels: Sequence[Tensor], target_boxes: Sequence[Tensor]
) -> list[tuple[Tensor, Tensor]]:
    """Match every box with the query that fits it at least total cost.

    Args:
        logits: (B, Q, K).
        boxes: (B, Q, 4), cxcywh normalised.
        target_labels: B tensors (N,) int64.
        target_boxes: B tensors (N, 4), cxcywh normalised.

    Returns:
        Per image the indices of queries and of boxes, (min(N, Q),) int64 each.
    """
    matches = []
    for image_logits, image_boxes, labels, targets in zip(logits, boxes, target_labels, target_boxes, strict=True):
        cost = pairwise_cost(image_logits, image_boxes, labels, targets)
        queries, chosen = linear_sum_assignment(cost.cpu().numpy())
        matches.append((torch.as_tensor(queries, device=boxes.device), torch.as_tensor(chosen, device=boxes.device)))
    return matches


def pairwise_cost(logits: Tensor, boxes: Tensor, labels: Tensor, targets: Tensor) -> Tensor:
    """Return the cost of every pair, (Q, N), for one image; arguments as in :func:`match`."""
    probability = logits.sigmoid()[:, labels]
    positive = 0.25 * (1 - probability).square() * -(probability + 1e-8).log()
    negative = 0.75 * probability.square() * -(1 - probability + 1e-8).log()
    giou = generalized_box_iou(box_convert(boxes, "cxcywh", "xyxy"), box_convert(targets, "cxcywh", "xyxy"))
    l1 = torch.cdist(boxes, targets, p=1)
    return CLASS_COST * (positive - negative) + L1_COST * l1 - GIOU_COST * giou
