"""The localization loss: of every decoder layer (one query per box) and of the proposals (several tokens per box).

Source: DETR (ECCV 2020) for the set loss, RT-DETR (CVPR 2024) for its IoU-aware varifocal class loss (VarifocalNet,
CVPR 2021), TOOD (ICCV 2021) for the proposals. Deviations: classes that were not annotated in an image count for
nothing; layers are averaged, not summed, so that their number doesn't change the scale.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor
from torchvision.ops import box_convert, box_iou, generalized_box_iou_loss

from fx_monai.losses.matcher import match
from fx_monai.losses.task_aligned_assigner import assign

CLASS_WEIGHT, L1_WEIGHT, GIOU_WEIGHT = 1.0, 5.0, 2.0


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

    def known(self) -> BoxTargets:
        """Return the targets without boxes of classes that don't count as annotated in their image."""
        keep = [annotated[labels] for annotated, labels in zip(self.annotated, self.labels, strict=True)]
        return BoxTargets(
            [labels[k] for labels, k in zip(self.labels, keep, strict=True)],
            [boxes[k] for boxes, k in zip(self.boxes, keep, strict=True)],
            self.annotated,
        )


@dataclass(frozen=True)
class Assignment:
    """Which predictions of a batch learn which box: positions, their box and label, class target and weight, (P,)."""

    image: Tensor
    index: Tensor
    boxes: Tensor
    labels: Tensor
    quality: Tensor
    weight: Tensor


def at_least_one(counts: Tensor) -> Tensor:
    """Return the divisors for sums over so many positives, in one process."""
    return counts.clamp(min=1)


def set_criterion(
    predictions: Mapping[str, Tensor],
    targets: BoxTargets,
    *,
    normalise: Callable[[Tensor], Tensor] = at_least_one,
) -> dict[str, Tensor]:
    """Return the parts of the loss, weighted: ``class_loss``, ``box_loss``, ``proposal_loss``, () each.

    Args:
        predictions: ``logits`` (layers, B, Q, K), ``boxes`` (layers, B, Q, 4) cxcywh normalised, ``proposal_logits``
            (B, T, K), ``proposal_boxes`` (B, T, 4), ``proposal_centres`` (T, 2).
        targets: what is there.
        normalise: turns numbers of positives of this process into what the sums are divided by.
    """
    targets = targets.known()
    layers = [
        _loss(logits, boxes, _one_to_one(logits, boxes, targets), targets.annotated, normalise)
        for logits, boxes in zip(predictions["logits"], predictions["boxes"], strict=True)
    ]
    class_loss, box_loss = torch.stack([torch.stack(layer) for layer in layers]).mean(dim=0)
    logits, boxes = predictions["proposal_logits"], predictions["proposal_boxes"]
    proposals = _one_to_many(logits, boxes, predictions["proposal_centres"], targets)
    proposal_loss = torch.stack(_loss(logits, boxes, proposals, targets.annotated, normalise)).sum()
    return {"class_loss": class_loss, "box_loss": box_loss, "proposal_loss": proposal_loss}


def varifocal_loss(logits: Tensor, quality: Tensor, counted: Tensor) -> Tensor:
    """Return the sum of the varifocal loss, ().

    Args:
        logits: (B, N, K).
        quality: (B, N, K), the score to reach: 0 for negatives, the overlap for positives.
        counted: (B, K) bool, classes that were looked for.
    """
    weight = torch.where(quality > 0, quality, 0.75 * logits.detach().sigmoid().square())
    losses = F.binary_cross_entropy_with_logits(logits, quality, reduction="none")
    return (losses * weight * counted[:, None]).sum()


def _loss(
    logits: Tensor, boxes: Tensor, found: Assignment, annotated: Tensor, normalise: Callable[[Tensor], Tensor]
) -> tuple[Tensor, Tensor]:
    quality = torch.zeros_like(logits)
    quality[found.image, found.index, found.labels] = found.quality
    normaliser = normalise(found.weight.sum())
    class_loss = varifocal_loss(logits, quality, annotated) / normaliser
    chosen = boxes[found.image, found.index]
    l1 = (chosen - found.boxes).abs().sum(dim=-1)
    giou = generalized_box_iou_loss(
        box_convert(chosen, "cxcywh", "xyxy"), box_convert(found.boxes, "cxcywh", "xyxy"), reduction="none"
    )
    # times zero: predictions stay in the graph when no box is there
    box_loss = ((L1_WEIGHT * l1 + GIOU_WEIGHT * giou) * found.weight).sum() / normaliser + 0.0 * boxes.sum()
    return CLASS_WEIGHT * class_loss, box_loss


def _one_to_one(logits: Tensor, boxes: Tensor, targets: BoxTargets) -> Assignment:
    matches = match(logits, boxes, targets.labels, targets.boxes)
    image, index, target_boxes, labels = _flatten(matches, targets)
    with torch.no_grad():
        found = box_convert(boxes[image, index], "cxcywh", "xyxy")
        overlap = (
            box_iou(found, box_convert(target_boxes, "cxcywh", "xyxy")).diagonal() if len(index) else index.float()
        )
    return Assignment(image, index, target_boxes, labels, overlap, torch.ones_like(overlap))


def _one_to_many(logits: Tensor, boxes: Tensor, centres: Tensor, targets: BoxTargets) -> Assignment:
    results = [assign(*image, centres) for image in zip(logits, boxes, targets.labels, targets.boxes, strict=True)]
    image, index, target_boxes, labels = _flatten([(tokens, chosen) for tokens, chosen, _ in results], targets)
    quality = torch.cat([quality for *_, quality in results])
    return Assignment(image, index, target_boxes, labels, quality, quality)


def _flatten(matches: Sequence[tuple[Tensor, Tensor]], targets: BoxTargets) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    image = torch.cat([torch.full_like(index, i) for i, (index, _) in enumerate(matches)])
    index = torch.cat([index for index, _ in matches])
    boxes = torch.cat([b[chosen] for b, (_, chosen) in zip(targets.boxes, matches, strict=True)])
    labels = torch.cat([c[chosen] for c, (_, chosen) in zip(targets.labels, matches, strict=True)])
    return image, index, boxes, labels
