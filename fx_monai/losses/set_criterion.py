"""The localization loss, of every decoder layer (one query per box), denoising queries and proposals (several per box).

Source: DETR (ECCV 2020) for the set loss, RT-DETR (CVPR 2024) for its IoU-aware varifocal class loss (VarifocalNet,
CVPR 2021), DINO (ICLR 2023) for denoising, D-FINE (ICLR 2025) for edges, FCOS (TPAMI 2020) for the proposals.
Deviations: classes that were not annotated in an image count for nothing; layers are averaged, not summed, so that
their number doesn't change the scale.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import torch
import torch.nn.functional as F
from torch import Tensor

from fx_monai.losses.centre_assigner import assign
from fx_monai.losses.edge_loss import edge_loss
from fx_monai.losses.matcher import match
from fx_monai.models.denoising import PADDING
from fx_monai.ops.box_targets import BoxTargets
from fx_monai.ops.boxes import elementwise_iou
from fx_monai.ops.global_sum import global_sum

CLASS_WEIGHT, L1_WEIGHT, GIOU_WEIGHT, EDGE_WEIGHT = 1.0, 5.0, 2.0, 0.15


@dataclass(frozen=True)
class QuerySet:
    """Predictions that learn together, and which of them learns which box.

    Args:
        logits: (N, Q, K).
        boxes: (N, Q, 4), cxcywh normalised.
        counted: broadcastable to ``logits``: what a class output counts, 0 for one that doesn't learn.
        place, index: (P,) int64, positions of the positives in N and Q.
        targets, labels: (P, 4) and (P,), the boxes they learn.
        quality: (P,), the class score that a positive should reach; its class output counts so much too.
        weight: (P,), what a positive's box counts.
        share: (P,), factor on what its class output counts.
    """

    logits: Tensor
    boxes: Tensor
    counted: Tensor
    place: Tensor
    index: Tensor
    targets: Tensor
    labels: Tensor
    quality: Tensor
    weight: Tensor
    share: Tensor


def set_criterion(predictions: Mapping[str, Tensor], targets: BoxTargets) -> dict[str, Tensor]:
    """Return the parts of the loss, weighted, () each; sums and numbers of positives are those of all processes.

    ``class_loss``, ``box_loss`` of the matching queries, ``proposal_loss``, and where the predictions have them
    ``edge_loss`` and ``denoising_loss``.

    Args:
        predictions: see :func:`fx_monai.models.localization.build_decoder`.
        targets: what is there.
    """
    targets = targets.known()
    sets = {"": _matched(predictions, targets), "proposal_": _proposals(predictions, targets)}
    if "denoising_target" in predictions:
        sets["denoising_"] = _denoising(predictions, targets)
    sums = {}
    for name, found in sets.items():
        sums[f"{name}count"] = found.weight.sum()
        sums[f"{name}class_loss"], sums[f"{name}box_loss"] = _class_sum(found), _box_sum(found)
        if f"{name}edges" in predictions:
            edges, boxes = predictions[f"{name}edges"], predictions[f"{name}edge_boxes"]
            sums[f"{name}edge_loss"] = _edge_sum(found, edges, boxes)
    totals = dict(zip(sums, global_sum(torch.stack(list(sums.values()))), strict=True))
    parts: dict[str, Tensor] = {}
    for name in sets:
        # every layer has its positives, so that this is the mean over layers too; at least one box in all
        depth = 1 if name == "proposal_" else len(predictions["logits"])
        divisor = totals.pop(f"{name}count").clamp(min=depth)
        for part in ("class_loss", "box_loss", "edge_loss"):
            if f"{name}{part}" in totals:
                whole = f"{name}loss" if name else part
                parts[whole] = parts.get(whole, 0.0) + totals[f"{name}{part}"] / divisor
    return parts


def varifocal_loss(logits: Tensor, quality: Tensor, share: Tensor, counted: Tensor) -> Tensor:
    """Return the sum of the varifocal loss, ().

    Args:
        logits: (B, N, K).
        quality: (B, N, K), the score to reach: 0 for negatives, the overlap for positives.
        share: (B, N, K), factor on what positives count.
        counted: broadcastable to (B, N, K), what an output counts: 0 for one that doesn't learn.
    """
    weight = torch.where(quality > 0, quality * share, 0.75 * logits.detach().sigmoid().square())
    losses = F.binary_cross_entropy_with_logits(logits, quality, reduction="none")
    return (losses * weight * counted).sum()


def _class_sum(found: QuerySet) -> Tensor:
    quality, share = torch.zeros_like(found.logits), torch.zeros_like(found.logits)
    quality[found.place, found.index, found.labels] = found.quality.to(quality.dtype)
    share[found.place, found.index, found.labels] = found.share.to(share.dtype)
    return CLASS_WEIGHT * varifocal_loss(found.logits, quality, share, found.counted)


def _box_sum(found: QuerySet) -> Tensor:
    chosen = found.boxes[found.place, found.index]
    l1 = (chosen - found.targets).abs().sum(dim=-1)
    _, giou = elementwise_iou(chosen, found.targets)
    # times zero: predictions stay in the graph when no box is there
    return ((L1_WEIGHT * l1 + GIOU_WEIGHT * (1 - giou)) * found.weight).sum() + 0.0 * found.boxes.sum()


def _edge_sum(found: QuerySet, edges: Tensor, boxes: Tensor) -> Tensor:
    edges, boxes = edges.flatten(0, 1), boxes.flatten(0, 1)
    losses = edge_loss(edges[found.place, found.index], boxes[found.place, found.index], found.targets)
    # a distribution is worth learning where the box is nearly right
    return EDGE_WEIGHT * (losses * found.quality * found.weight).sum() + 0.0 * edges.sum()


def _matched(predictions: Mapping[str, Tensor], targets: BoxTargets) -> QuerySet:
    logits, boxes = predictions["logits"], predictions["boxes"]
    place, index, chosen = match(logits.detach(), boxes.detach(), targets)
    return _one_to_one(logits, boxes, targets.annotated[:, None], (place, index, chosen), targets)


def _denoising(predictions: Mapping[str, Tensor], targets: BoxTargets) -> QuerySet:
    target = predictions["denoising_target"].repeat(len(predictions["denoising_logits"]), 1)
    place, index = (target >= 0).nonzero(as_tuple=True)
    real = (predictions["denoising_target"] != PADDING)[..., None]
    # every box once: a process has as many groups as its own images have room for
    groups = (predictions["denoising_target"] == 0).sum(dim=1).amax().clamp(min=1)
    found = _one_to_one(
        predictions["denoising_logits"],
        predictions["denoising_boxes"],
        targets.annotated[:, None] & real,
        (place, index, target[place, index]),
        targets,
    )
    return replace(found, counted=found.counted / groups, weight=found.weight / groups)


def _one_to_one(
    logits: Tensor, boxes: Tensor, counted: Tensor, matches: tuple[Tensor, Tensor, Tensor], targets: BoxTargets
) -> QuerySet:
    place, index, chosen = matches
    labels, target_boxes, _ = targets.padded()
    image = place % len(labels)
    wanted = target_boxes[image, chosen]
    flat = boxes.flatten(0, 1)
    overlap, _ = elementwise_iou(flat[place, index].detach(), wanted)
    counted = counted.repeat(len(logits), 1, 1)
    every = overlap.new_ones(len(overlap))
    return QuerySet(
        logits.flatten(0, 1),
        flat,
        counted,
        place,
        index,
        wanted,
        labels[image, chosen],
        overlap,
        every,
        every,
    )


def _proposals(predictions: Mapping[str, Tensor], targets: BoxTargets) -> QuerySet:
    logits, boxes, centres, spacing = (
        predictions[f"proposal_{name}"] for name in ("logits", "boxes", "centres", "spacing")
    )
    results = [assign(*image, centres, spacing) for image in zip(boxes.detach(), targets.boxes, strict=True)]
    place = torch.cat([torch.full_like(tokens, image) for image, (tokens, *_) in enumerate(results)])
    index, chosen, quality, share = (torch.cat(values) for values in zip(*results, strict=True))
    labels, target_boxes, _ = targets.padded()
    return QuerySet(
        logits,
        boxes,
        targets.annotated[:, None],
        place,
        index,
        target_boxes[place, chosen],
        labels[place, chosen],
        quality,
        quality * share,
        share,
    )
