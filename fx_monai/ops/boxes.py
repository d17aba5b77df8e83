"""Boxes: formats, clipping, affine maps. IoU and GIoU come from torchvision.

The format stands in the name: ``xyxy`` = x1, y1, x2, y2 in pixels; ``cxcywh_norm`` = centre, width and height as
fractions of the image side.
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torchvision.ops import box_iou


def xyxy_to_cxcywh_norm(boxes_xyxy: Tensor, side: int) -> Tensor:
    """Convert (..., 4) xyxy in pixels of a square image of the given side to normalised centre and size."""
    x1, y1, x2, y2 = boxes_xyxy.unbind(-1)
    return torch.stack(((x1 + x2) / 2, (y1 + y2) / 2, x2 - x1, y2 - y1), dim=-1) / side


def cxcywh_norm_to_xyxy(boxes_cxcywh_norm: Tensor, side: int) -> Tensor:
    """Convert (..., 4) normalised centre and size to xyxy in pixels of a square image of the given side."""
    cx, cy, w, h = boxes_cxcywh_norm.unbind(-1)
    return torch.stack((cx - w / 2, cy - h / 2, cx + w / 2, cy + h / 2), dim=-1) * side


def elementwise_iou(boxes_cxcywh_norm: Tensor, others_cxcywh_norm: Tensor) -> tuple[Tensor, Tensor]:
    """Return intersection over union and its generalisation (GIoU) of boxes (..., 4) that are broadcast, (...) each.

    Source: Rezatofighi et al., CVPR 2019. torchvision has it for all pairs of one image, and elementwise for boxes of
    equal shape only. Boxes without any area have an IoU of 0.
    """
    centre, size = boxes_cxcywh_norm[..., :2], boxes_cxcywh_norm[..., 2:]
    other_centre, other_size = others_cxcywh_norm[..., :2], others_cxcywh_norm[..., 2:]
    low, high = centre - size / 2, centre + size / 2
    other_low, other_high = other_centre - other_size / 2, other_centre + other_size / 2
    shared = (torch.minimum(high, other_high) - torch.maximum(low, other_low)).clamp(min=0).prod(dim=-1)
    hull = (torch.maximum(high, other_high) - torch.minimum(low, other_low)).prod(dim=-1)
    union = size.prod(dim=-1) + other_size.prod(dim=-1) - shared
    iou = shared / union.clamp(min=1e-9)
    return iou, iou - (hull - union) / hull.clamp(min=1e-9)


def map_boxes_xyxy(boxes_xyxy: NDArray[np.float32], matrix: NDArray[np.float64]) -> NDArray[np.float32]:
    """Map (N, 4) boxes by a 2 x 3 affine matrix and return axis-aligned boxes.

    A rotated box becomes the hull of its inscribed ellipse: findings are round rather than rectangular, and the hull of
    the corners would grow with every degree. Exact for matrices that keep the axes. Positions are on the continuous
    pixel grid (0 = left edge of the first pixel).
    """
    boxes = boxes_xyxy.astype(np.float64)
    centres, half = (boxes[:, :2] + boxes[:, 2:]) / 2, (boxes[:, 2:] - boxes[:, :2]) / 2
    centres = centres @ matrix[:, :2].T + matrix[:, 2]
    half = np.sqrt(half**2 @ (matrix[:, :2] ** 2).T)
    return np.concatenate([centres - half, centres + half], axis=1).astype(np.float32)


def clip_boxes_xyxy(
    boxes_xyxy: NDArray[np.float32], side: int, *, min_visible: float = 0.3
) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    """Clip (N, 4) boxes to a square image; return the clipped boxes and which keep ``min_visible`` of their area.

    A box of which less than that fraction is left inside, or less than one pixel a side, counts as gone.
    """
    clipped = boxes_xyxy.clip(0, side)
    size, size_before = clipped[:, 2:] - clipped[:, :2], boxes_xyxy[:, 2:] - boxes_xyxy[:, :2]
    visible = size.prod(axis=1) >= min_visible * size_before.prod(axis=1).clip(1e-6)
    return clipped, visible & (size >= 1).all(axis=1)


def fuse_boxes_xyxy(boxes_xyxy: NDArray[np.float32], *, iou: float) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Fuse (N, 4) boxes that show the same thing: one after the other joins the fused box it overlaps most.

    Source: weighted boxes fusion (Solovyev et al., arXiv 1910.13302) with equal weights, since readers give no scores.
    The boxes are taken in the order of their corners, so that the result doesn't depend on the order of rows.

    Args:
        boxes_xyxy: in any pixels.
        iou: a box joins a fused box when their intersection over union is above this.

    Returns:
        (M, 4) means of the joined boxes, and (N,) the fused box of each box.
    """
    members: list[list[int]] = []
    fused = np.zeros((0, 4), dtype=np.float32)
    for index in np.lexsort(boxes_xyxy.T[::-1]):
        box = boxes_xyxy[index]
        overlaps = box_iou(torch.from_numpy(box[None]), torch.from_numpy(fused))[0].numpy()
        best = int(overlaps.argmax()) if len(members) else -1
        if best >= 0 and overlaps[best] > iou:
            members[best].append(int(index))
            fused[best] = boxes_xyxy[members[best]].mean(axis=0)
        else:
            members.append([int(index)])
            fused = np.concatenate([fused, box[None]])
    joined = np.zeros(len(boxes_xyxy), dtype=np.int64)
    for number, indices in enumerate(members):
        joined[indices] = number
    return fused, joined
