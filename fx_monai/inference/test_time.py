"""Options at test time: the mirror image as a second opinion, and several views of one patient.

Mirror image (``flips``): the image is predicted as it is and mirrored. Probabilities of findings and of mask pixels are
the mean of both; classes with a side change places in the mirror image. Boxes are fused after Solovyev et al., Weighted
boxes fusion, Image and Vision Computing 107 (2021): boxes of one class that overlap by more than half become their
mean, weighted by the scores, with the mean score; what only one of the two passes sees keeps half its score. Deviation:
a box joins the best box of its class, not the running mean.

Views: the probabilities of each class are the mean over the images. Boxes and masks stay with their image.

Temperatures and thresholds were fitted on single images as they are, so nothing counts as calibrated here.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from statistics import fmean

import torch
from torch import Tensor
from torchvision.ops import box_iou

from fx_monai.data.catalog import CATALOG
from fx_monai.data.laterality import mirror_swaps
from fx_monai.inference.activations import Activations
from fx_monai.inference.result import Finding, Prediction
from fx_monai.models.foundation_x import FoundationX
from fx_monai.types import Task

FUSED_IOU = 0.5
FLIPS_NOTE = "means of the image and its mirror image; thresholds were fitted on images as they are"


def mirrored_back(found: Activations, network: FoundationX) -> Activations:
    """Return what was found in mirror images as if it had been found in the images themselves."""
    side = network.config.image_size
    return Activations(
        {task: values[:, _order(network, task)] for task, values in found.findings.items()},
        {task: [_unmirror(own, _order(network, task), side) for own in images] for task, images in found.boxes.items()},
        {task: values.flip(-1)[:, _order(network, task)] for task, values in found.masks.items()},
    )


def averaged(passes: Sequence[Activations]) -> Activations:
    """Return the mean of several passes over the same images."""
    first = passes[0]
    return Activations(
        {task: torch.stack([own.findings[task] for own in passes]).mean(0) for task in first.findings},
        {
            task: [fuse_boxes(images) for images in zip(*(own.boxes[task] for own in passes), strict=True)]
            for task in first.boxes
        },
        {task: torch.stack([own.masks[task] for own in passes]).mean(0) for task in first.masks},
    )


def fuse_boxes(passes: Sequence[dict[str, Tensor]]) -> dict[str, Tensor]:
    """Fuse the boxes that several passes found in one image, best first.

    Args:
        passes: each with ``boxes_xyxy`` (N, 4), ``scores`` (N,), ``labels`` (N,).
    """
    boxes, scores, labels = (torch.cat([own[key] for own in passes]) for key in ("boxes_xyxy", "scores", "labels"))
    origin = torch.cat([torch.full_like(own["labels"], number) for number, own in enumerate(passes)])
    joined = (box_iou(boxes, boxes) > FUSED_IOU) & (labels[:, None] == labels[None])
    left = torch.ones(len(boxes), dtype=torch.bool)
    fused: list[tuple[Tensor, Tensor, Tensor]] = []
    for index in scores.argsort(descending=True).tolist():
        if not left[index]:
            continue
        group = [index]
        for number in range(len(passes)):
            others = (joined[index] & left & (origin == number)).nonzero().ravel()
            if number != origin[index] and len(others):
                group.append(int(others[scores[others].argmax()]))
        left[joined[index]] = False
        left[index] = False
        weights = scores[group]
        mean = (boxes[group] * weights[:, None]).sum(0) / weights.sum().clamp(min=1e-9)
        fused.append((mean, weights.sum() / len(passes), labels[index]))
    if not fused:
        return dict(passes[0])
    order = torch.stack([score for _, score, _ in fused]).argsort(descending=True)
    columns = (torch.stack(list(column))[order] for column in zip(*fused, strict=True))
    return dict(zip(("boxes_xyxy", "scores", "labels"), columns, strict=True))


def combine_views(predictions: Sequence[Prediction]) -> tuple[Finding, ...]:
    """Return the findings of several images of one patient: the mean probability of each class.

    Args:
        predictions: at least one, all of the same weights.
    """
    return tuple(
        replace(views[0], probability=fmean(view.probability for view in views), calibrated=False)
        for views in zip(*(prediction.findings for prediction in predictions), strict=True)
    )


def _order(network: FoundationX, task: Task) -> list[int]:
    """Return for each class the class that shows it in the mirror image."""
    entry = CATALOG.get(task.dataset)
    classes = network.specs[task].classes
    swaps = mirror_swaps(classes, entry.laterality if entry else ())
    return [swaps.get(index, index) for index in range(len(classes))]


def _unmirror(found: dict[str, Tensor], order: list[int], side: int) -> dict[str, Tensor]:
    x1, y1, x2, y2 = found["boxes_xyxy"].unbind(-1)
    labels = torch.tensor(order)[found["labels"]]
    return {**found, "boxes_xyxy": torch.stack((side - x2, y1, side - x1, y2), dim=-1), "labels": labels}
