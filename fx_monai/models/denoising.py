"""Denoising queries: annotated boxes, moved and mislabelled, that the decoder learns to put right.

Source: DINO (Zhang et al., ICLR 2023), Sec. 3.3 contrastive denoising, after DN-DETR (CVPR 2022). They exist in
training only, come after the matching queries, and no matching query sees them. Deviations: only classes that count as
annotated in an image are used; a class that replaces the true one is drawn from the other classes.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torchvision.ops import box_convert

from fx_monai.models.config import LocalizationConfig
from fx_monai.ops.box_targets import BoxTargets

# entries of ``DenoisingQueries.target`` that are no index of a box
NOTHING, PADDING = -1, -2


@dataclass(frozen=True)
class DenoisingQueries:
    """Denoising queries of a batch, groups one after another.

    Args:
        labels: (B, N) int64, class that the query is asked with.
        boxes: (B, N, 4), cxcywh normalised, where the query starts.
        target: (B, N) int64: index of the box that is to be restored among the image's known boxes; NOTHING for a query
            so far off that it should answer with no class; PADDING where an image has fewer boxes than another.
        groups: each group shows every box once nearby and once far off, and sees no other group.
    """

    labels: Tensor
    boxes: Tensor
    target: Tensor
    groups: int

    def blocked(self, num_queries: int) -> Tensor:
        """Return the attention mask of matching queries followed by these, True = must not see, square bool."""
        size = self.labels.shape[1]
        group = torch.arange(size, device=self.labels.device) * self.groups // max(1, size)
        mask = torch.zeros(num_queries + size, num_queries + size, dtype=torch.bool, device=group.device)
        mask[:num_queries, num_queries:] = True
        mask[num_queries:, num_queries:] = group[:, None] != group
        return mask


def make_denoising_queries(targets: BoxTargets, config: LocalizationConfig) -> DenoisingQueries:
    """Draw denoising queries for a batch with torch's random state.

    Args:
        targets: what is annotated.
        config: ``denoising_queries`` restored boxes per image, spread over as many groups as fit, at least one; as many
            far-off queries come on top. Half of ``label_noise`` is the probability of a wrong class. Corners move by up
            to ``box_noise`` times half a side; those of far-off queries by up to twice that, and not less than that.
    """
    targets = targets.known()
    labels, boxes, real = targets.padded()
    batch, most = labels.shape
    # without any box there are no queries, but the label embedding still has a gradient, of zeros
    groups = max(1, config.denoising_queries // max(1, most))
    order = torch.arange(most, device=labels.device).expand(batch, most)
    near, far = order.masked_fill(~real, PADDING), torch.full_like(order, NOTHING).masked_fill(~real, PADDING)
    repeated = boxes.repeat(1, 2 * groups, 1)
    is_far = torch.tensor([0.0, 1.0], device=boxes.device).repeat_interleave(most).repeat(groups)
    return DenoisingQueries(
        _mislabel(labels.repeat(1, 2 * groups), targets.annotated.shape[1], config.label_noise / 2),
        _move(repeated, is_far[:, None], config.box_noise),
        torch.cat((near, far), dim=1).repeat(1, groups),
        groups,
    )


def _mislabel(labels: Tensor, num_classes: int, probability: float) -> Tensor:
    if num_classes == 1:
        return labels
    other = (labels + torch.randint_like(labels, 1, num_classes)) % num_classes
    return torch.where(torch.rand(labels.shape, device=labels.device) < probability, other, labels)


def _move(boxes: Tensor, is_far: Tensor, box_noise: float) -> Tensor:
    half = boxes[..., 2:].repeat(1, 1, 2) / 2
    sign = torch.randint_like(boxes, 0, 2) * 2 - 1
    shift = sign * (torch.rand_like(boxes) + is_far) * half * box_noise
    corners = (box_convert(boxes, "cxcywh", "xyxy") + shift).clamp(0, 1)
    # corners may have crossed
    low, high = torch.minimum(corners[..., :2], corners[..., 2:]), torch.maximum(corners[..., :2], corners[..., 2:])
    return box_convert(torch.cat((low, high), dim=-1), "xyxy", "cxcywh")


class Denoiser(nn.Module):
    """Adds denoising queries to the queries of one dataset while it trains.

    Args:
        config: number of queries and their noise.
        num_classes: classes of the dataset.
    """

    def __init__(self, config: LocalizationConfig, num_classes: int) -> None:
        super().__init__()
        self.config = config
        self.labels = nn.Embedding(num_classes, config.width)

    def forward(
        self, content: Tensor, references: Tensor, targets: BoxTargets | None
    ) -> tuple[Tensor, Tensor, DenoisingQueries | None]:
        """Append denoising queries to the matching queries.

        Args:
            content: (B, Q, D) of the matching queries.
            references: (B, Q, 4), their boxes, cxcywh normalised.
            targets: what is annotated, if known.

        Returns:
            ``content`` and ``references`` with N further queries, and what these are; unchanged, and None, in
            evaluation mode and where no targets are given.
        """
        if not self.training or targets is None:
            return content, references, None
        queries = make_denoising_queries(targets, self.config)
        content = torch.cat((content, self.labels(queries.labels)), dim=1)
        return content, torch.cat((references, queries.boxes.to(references.dtype)), dim=1), queries
