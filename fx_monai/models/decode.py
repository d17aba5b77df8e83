"""Boxes of an image out of the network's queries."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor
from torchvision.ops import batched_nms

# pairs that are looked at per pair that is returned
_CANDIDATES = 10


def decode_boxes(
    prediction: Mapping[str, Tensor], *, top: int = 100, nms_iou: float | None = 0.5
) -> list[dict[str, Tensor]]:
    """Return the best (query, class) pairs of every image, best first.

    Args:
        prediction: of a localization task, see :meth:`fx_monai.models.foundation_x.FoundationX.predict_tasks`.
        top: at most so many boxes per image.
        nms_iou: remove boxes that overlap a better one of the same class by more than this IoU; None = keep them. The
            decoder learns to suppress repetitions, but not in the few hundred steps of a short training.

    Returns:
        Per image ``boxes_xyxy`` (N, 4) in pixels of the input, ``scores`` (N,), ``labels`` (N,) int64.
    """
    return [
        _decode(scores, boxes_xyxy, top, nms_iou)
        for scores, boxes_xyxy in zip(prediction["scores"], prediction["boxes_xyxy"], strict=True)
    ]


def _decode(scores: Tensor, boxes_xyxy: Tensor, top: int, nms_iou: float | None) -> dict[str, Tensor]:
    num_classes = scores.shape[1]
    # 900 queries of 14 classes are 12,600 pairs, and suppression compares each with each
    best, order = scores.flatten().topk(min(_CANDIDATES * top, scores.numel()))
    boxes, labels = boxes_xyxy[order // num_classes], order % num_classes
    if nms_iou is None:
        keep = torch.arange(min(top, len(best)), device=best.device)
    else:
        keep = batched_nms(boxes, best, labels, nms_iou)[:top]
    return {"boxes_xyxy": boxes[keep], "scores": best[keep], "labels": labels[keep]}
