"""One-to-one matching of queries and boxes.

Source: DETR (Carion et al., ECCV 2020), Eq. 1, with the focal class cost of Deformable DETR (ICLR 2021).
"""

from __future__ import annotations

import torch
from scipy.optimize import linear_sum_assignment
from torch import Tensor

from fx_monai.ops.box_targets import BoxTargets
from fx_monai.ops.boxes import elementwise_iou

CLASS_COST, L1_COST, GIOU_COST = 2.0, 5.0, 2.0


@torch.no_grad()
def match(logits: Tensor, boxes: Tensor, targets: BoxTargets) -> tuple[Tensor, Tensor, Tensor]:
    """Match every box with the query that fits it at least total cost, in every layer for itself.

    Args:
        logits: (layers, B, Q, K).
        boxes: (layers, B, Q, 4), cxcywh normalised.
        targets: what is there.

    Returns:
        Of every match its position in layers x B (counted layer by layer), its query, and its box in the image:
        (P,) int64 each.
    """
    layers, batch = boxes.shape[:2]
    labels, target_boxes, _ = targets.padded()
    # one transfer; a cost that isn't finite belongs to a loss that isn't, which the trainer reports
    cost = pairwise_cost(logits, boxes, labels, target_boxes).nan_to_num().cpu().numpy()
    places, queries, chosen = [], [], []
    for place in range(layers * batch):
        layer, image = divmod(place, batch)
        found, box = linear_sum_assignment(cost[layer, image, :, : len(targets.boxes[image])])
        queries += found.tolist()
        chosen += box.tolist()
        places += [place] * len(found)
    found_all = torch.tensor([places, queries, chosen], dtype=torch.int64, device=boxes.device)
    return found_all[0], found_all[1], found_all[2]


def pairwise_cost(logits: Tensor, boxes: Tensor, labels: Tensor, targets: Tensor) -> Tensor:
    """Return the cost of every pair of query and box, (..., B, Q, M).

    Args:
        logits: (..., B, Q, K).
        boxes: (..., B, Q, 4), cxcywh normalised.
        labels: (B, M) int64.
        targets: (B, M, 4), cxcywh normalised.
    """
    probability = logits.sigmoid().gather(-1, labels[:, None].expand(*logits.shape[:-1], -1))
    positive = 0.25 * (1 - probability).square() * -(probability + 1e-8).log()
    negative = 0.75 * probability.square() * -(1 - probability + 1e-8).log()
    found, wanted = boxes[..., None, :], targets[:, None]
    l1 = (found - wanted).abs().sum(dim=-1)
    _, giou = elementwise_iou(found, wanted)
    return CLASS_COST * (positive - negative) + L1_COST * l1 - GIOU_COST * giou
