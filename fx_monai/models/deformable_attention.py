"""Multi-scale deformable attention in pure PyTorch, CPU and GPU.

Source: Deformable DETR (Zhu et al., ICLR 2021), Eq. 2 and 3, around points or boxes. Deviation: none.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class DeformableAttention(nn.Module):
    """Each query samples a few points around its reference box on every level.

    Args:
        width: channels of queries and memory.
        heads: attention heads.
        levels: feature levels.
        points: sampling points per head and level.
    """

    def __init__(self, width: int, heads: int, levels: int, points: int) -> None:
        super().__init__()
        self.heads, self.levels, self.points = heads, levels, points
        self.value = nn.Linear(width, width)
        self.offsets = nn.Linear(width, heads * levels * points * 2)
        self.weights = nn.Linear(width, heads * levels * points)
        self.out = nn.Linear(width, width)
        self._reset()

    def _reset(self) -> None:
        # heads look in different directions, points farther and farther out
        nn.init.zeros_(self.offsets.weight)
        angles = torch.arange(self.heads) * (2 * math.pi / self.heads)
        directions = torch.stack((angles.cos(), angles.sin()), -1)
        directions = directions / directions.abs().amax(-1, keepdim=True)
        steps = torch.arange(1, self.points + 1)[None, None, :, None]
        bias = (directions[:, None, None] * steps).expand(-1, self.levels, -1, -1)
        with torch.no_grad():
            self.offsets.bias.copy_(bias.flatten())
        nn.init.zeros_(self.weights.weight)
        nn.init.zeros_(self.weights.bias)

    def _unit(self, references: Tensor, shapes: Sequence[tuple[int, int]]) -> Tensor:
        """Return what an offset of 1 means, fractions of the image, broadcastable to (B, Q, heads, L, points, 2)."""
        if references.shape[-1] == 2:
            return 1 / references.new_tensor([[width, height] for height, width in shapes])[:, None]
        # the farthest point of the initial pattern lies on the border of the box
        return references[:, :, None, None, None, 2:] * (0.5 / self.points)

    def forward(self, queries: Tensor, references: Tensor, memory: Tensor, shapes: Sequence[tuple[int, int]]) -> Tensor:
        """Attend.

        Args:
            queries: (B, Q, D).
            references: (B, Q, 4), cxcywh normalised, offsets count in half boxes; or (B, Q, 2), x and y, offsets count
                in tokens of the level.
            memory: (B, T, D), levels one after another, each row by row.
            shapes: (H, W) of each level; their areas add up to T.

        Returns:
            (B, Q, D).
        """
        batch, num_queries, width = queries.shape
        value = self.value(memory).view(batch, -1, self.heads, width // self.heads)
        offsets = self.offsets(queries).view(batch, num_queries, self.heads, self.levels, self.points, 2)
        weights = self.weights(queries).view(batch, num_queries, self.heads, -1).softmax(-1)
        places = references[:, :, None, None, None, :2] + offsets * self._unit(references, shapes)
        # exporters and compilers know grid_sample
        recorded = torch.compiler.is_compiling() or torch.jit.is_tracing()  # type: ignore[no-untyped-call, attr-defined]
        sample = sample_rows if value.device.type == "cpu" and not recorded else sample_planes
        return self.out(sample(value, places, weights, shapes))


def sample_planes(value: Tensor, places: Tensor, weights: Tensor, shapes: Sequence[tuple[int, int]]) -> Tensor:
    """Return the weighted sum of what lies at some places of the levels, between tokens bilinearly, outside zero.

    Args:
        value: (B, T, heads, D / heads), levels one after another, each row by row.
        places: (B, Q, heads, L, points, 2), x and y as fractions of the image.
        weights: (B, Q, heads, L * points).
        shapes: (H, W) of each level.

    Returns:
        (B, Q, D).
    """
    batch, num_queries, heads, _, points, _ = places.shape
    grid = places * 2 - 1
    sampled = []
    start = 0
    for level, (height, width) in enumerate(shapes):
        stop = start + height * width
        plane = value[:, start:stop].permute(0, 2, 3, 1).reshape(batch * heads, -1, height, width)
        own = grid[:, :, :, level].transpose(1, 2).reshape(batch * heads, num_queries, points, 2)
        sampled.append(F.grid_sample(plane, own, mode="bilinear", padding_mode="zeros", align_corners=False))
        start = stop
    values = torch.cat(sampled, dim=-1)
    weights = weights.transpose(1, 2).reshape(batch * heads, 1, num_queries, -1)
    return (values * weights).sum(-1).view(batch, -1, num_queries).transpose(1, 2)


def sample_rows(value: Tensor, places: Tensor, weights: Tensor, shapes: Sequence[tuple[int, int]]) -> Tensor:
    """Return what :func:`sample_planes` returns, as sums of weighted rows; on a CPU several times as fast.

    Measured by ``python tests/benchmarks/network_cost.py``.
    """
    batch, num_queries, heads, _, points, _ = places.shape
    areas = torch.tensor([[width, height, width * height] for height, width in shapes], dtype=places.dtype)
    starts = areas[:, 2].cumsum(0) - areas[:, 2]
    width, height, start = (of.repeat_interleave(points) for of in (areas[:, 0], areas[:, 1], starts))
    # both: queries of all images, heads, points of all levels
    x, y = (places[..., axis].flatten(3).flatten(0, 1) for axis in (0, 1))
    columns = _neighbours(x, width)
    indices, shares = [], []
    for row, share_y in _neighbours(y, height):
        row = row * width + start
        share_y = share_y * weights.flatten(0, 1)
        for column, share_x in columns:
            indices.append(row + column)
            shares.append(share_x * share_y)
    first = torch.arange(batch).repeat_interleave(num_queries)[:, None, None] * value.shape[1]
    tokens = torch.cat(indices, dim=-1).int() + first.int()
    rows = tokens * heads + torch.arange(heads, dtype=torch.int32)[:, None]
    bags = batch * num_queries * heads
    summed = F.embedding_bag(
        rows.view(bags, -1),
        value.to(weights.dtype).reshape(-1, value.shape[-1]),
        per_sample_weights=torch.cat(shares, dim=-1).view(bags, -1),
        mode="sum",
    )
    return summed.view(batch, num_queries, -1)


def _neighbours(place: Tensor, size: Tensor) -> list[tuple[Tensor, Tensor]]:
    """Return the two tokens around places along one axis, kept inside, and the share of each; outside it is 0."""
    centre = place * size - 0.5
    low = centre.detach().floor()
    fraction = centre - low
    found = []
    for index, share in ((low, 1 - fraction), (low + 1, fraction)):
        inside = (index >= 0) & (index < size)
        found.append((index.clamp(min=0).minimum(size - 1), share * inside))
    return found
