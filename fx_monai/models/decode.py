"""From predictions to boxes."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torchvision.ops import batched_nms

from fx_monai.models.localization import BoxPredictions
from fx_monai.ops.boxes import cxcywh_norm_to_xyxy


@dataclass(frozen=True)
class Detections:
    """Boxes found in one image, best first.

    Args:
        boxes_xyxy: (N, 4) float, pixels of the network input.
        scores: (N,) in [0, 1].
        labels: (N,) int64, class indices.
    """

    boxes_xyxy: Tensor
    scores: Tensor
    labels: Tensor


def decode_boxes(prediction: BoxPredictions, side: int, *, limit: int = 100, nms_iou: float = 0.6) -> list[Detections]:
    """Return the best boxes of each image of a batch.

    Args:
        prediction: of one dataset.
        side: of the network input in pixels.
        limit: most boxes per image.
        nms_iou: boxes of one class that overlap a better one by more are dropped; 1 keeps all.
    """
    last = prediction.layers[-1]
    found = []
    for logits, boxes in zip(last.logits, last.boxes, strict=True):
        scores, flat = logits.sigmoid().flatten().sort(descending=True)
        scores, flat = scores[: 3 * limit], flat[: 3 * limit]
        query, labels = torch.div(flat, logits.shape[-1], rounding_mode="floor"), flat % logits.shape[-1]
        xyxy = cxcywh_norm_to_xyxy(boxes[query], side).clamp(0, side)
        keep = batched_nms(xyxy.float(), scores.float(), labels, nms_iou)[:limit]
        found.append(Detections(xyxy[keep], scores[keep], labels[keep]))
    return found
