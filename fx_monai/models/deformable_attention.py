"""Multi-scale deformable attention in pure PyTorch, CPU and GPU.

Source: Deformable DETR (Zhu et al., ICLR 2021), Eq. 2 and 3, around points or boxes. Deviation: none.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from fx_monai.models.deformable_sampling import sample_levels


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
        points = references[:, :, None, None, None, :2] + offsets * self._unit(references, shapes)
        attended = sample_levels(value, points, weights, shapes)
        return self.out(attended)
