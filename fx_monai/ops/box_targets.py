"""The annotated boxes of a batch, as loss and denoising queries read them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from fx_monai.keys import BOX_LABELS, BOXES, BOXES_ANNOTATED, IMAGE
from fx_monai.ops.boxes import xyxy_to_cxcywh_norm


@dataclass(frozen=True)
class BoxTargets:
    """Boxes of a batch.

    Args:
        labels: B tensors (N,) int64.
        boxes: B tensors (N, 4), cxcywh normalised.
        annotated: (B, K) bool, classes that were looked for.
    """

    labels: Sequence[Tensor]
    boxes: Sequence[Tensor]
    annotated: Tensor

    @classmethod
    def of_batch(cls, batch: Mapping[str, Any]) -> BoxTargets:
        """Return the boxes of a batch of a localization task, see :mod:`fx_monai.keys`."""
        side = batch[IMAGE].shape[-1]
        boxes = [xyxy_to_cxcywh_norm(boxes_xyxy, side) for boxes_xyxy in batch[BOXES]]
        return cls(batch[BOX_LABELS], boxes, batch[BOXES_ANNOTATED])

    def known(self) -> BoxTargets:
        """Return the targets without boxes of classes that don't count as annotated in their image."""
        keep = [annotated[labels] for annotated, labels in zip(self.annotated, self.labels, strict=True)]
        return BoxTargets(
            [labels[k] for labels, k in zip(self.labels, keep, strict=True)],
            [boxes[k] for boxes, k in zip(self.boxes, keep, strict=True)],
            self.annotated,
        )

    def padded(self) -> tuple[Tensor, Tensor, Tensor]:
        """Return labels (B, M), boxes (B, M, 4) and which of them are real (B, M) bool; M is the largest number.

        Padding has label 0 and the box in the middle of the image, so that it can be computed with.
        """
        most = max((len(labels) for labels in self.labels), default=0)
        device = self.annotated.device
        labels = torch.zeros(len(self.labels), most, dtype=torch.int64, device=device)
        boxes = torch.full((len(self.labels), most, 4), 0.5, device=device)
        for image, (image_labels, image_boxes) in enumerate(zip(self.labels, self.boxes, strict=True)):
            labels[image, : len(image_labels)] = image_labels
            boxes[image, : len(image_boxes)] = image_boxes
        counts = torch.tensor([len(labels) for labels in self.labels], device=device)
        return labels, boxes, torch.arange(most, device=device) < counts[:, None]
