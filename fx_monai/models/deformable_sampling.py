"""Weighted sums of bilinear samples of several feature levels, in pure PyTorch.

Two ways to the same numbers: ``grid_sample`` per level (GPU, ``torch.compile``, export), and one gather for all levels,
which is faster on CPU (``tests/benchmarks/deformable_attention.py``).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.function import once_differentiable


def sample_levels(value: Tensor, points: Tensor, weights: Tensor, shapes: Sequence[tuple[int, int]]) -> Tensor:
    """Sample points, zero outside the map, and add them up.

    Args:
        value: (B, T, heads, D), levels one after another, each row by row.
        points: (B, Q, heads, L, points, 2), x and y as fractions of the map.
        weights: (B, Q, heads, L * points).
        shapes: (H, W) of each level.

    Returns:
        (B, Q, heads * D).
    """
    translated = torch.compiler.is_compiling() or torch.jit.is_tracing()  # type: ignore[no-untyped-call, attr-defined]
    if translated or value.device.type != "cpu":
        return sample_planes(value, points, weights, shapes)
    return sample_rows(value, points, weights, shapes)


def sample_planes(value: Tensor, points: Tensor, weights: Tensor, shapes: Sequence[tuple[int, int]]) -> Tensor:
    """Do what :func:`sample_levels` does with ``grid_sample``."""
    batch, _, heads, width = value.shape
    num_queries, num_points = points.shape[1], points.shape[4]
    grid = points * 2 - 1
    sampled, start = [], 0
    for level, (height, width_level) in enumerate(shapes):
        stop = start + height * width_level
        plane = value[:, start:stop].permute(0, 2, 3, 1).reshape(batch * heads, width, height, width_level)
        at = grid[:, :, :, level].transpose(1, 2).reshape(batch * heads, num_queries, num_points, 2)
        sampled.append(F.grid_sample(plane, at, mode="bilinear", padding_mode="zeros", align_corners=False))
        start = stop
    values = torch.cat(sampled, dim=-1)
    weights = weights.transpose(1, 2).reshape(batch * heads, 1, num_queries, -1)
    return (values * weights).sum(-1).view(batch, heads * width, num_queries).transpose(1, 2)


def sample_rows(value: Tensor, points: Tensor, weights: Tensor, shapes: Sequence[tuple[int, int]]) -> Tensor:
    """Do what :func:`sample_levels` does with a weighted gather of the four pixels around each point."""
    batch, tokens, heads, width = value.shape
    sizes = torch.tensor(shapes, dtype=torch.int32).repeat_interleave(points.shape[4], dim=0)
    x, y = points.flatten(3, 4).unbind(-1)
    columns, column_shares = _neighbours(x, sizes[:, 1])
    rows, row_shares = _neighbours(y, sizes[:, 0])
    areas = torch.tensor([height * width_level for height, width_level in shapes], dtype=torch.int32)
    start = (areas.cumsum(0, dtype=torch.int32) - areas).repeat_interleave(points.shape[4])
    first = torch.arange(batch, dtype=torch.int32)[:, None] * (tokens * heads) + torch.arange(heads, dtype=torch.int32)
    begins = [(row * sizes[:, 1] + start) * heads + first[:, None, :, None] for row in rows]
    index = torch.cat([begin + column * heads for begin in begins for column in columns], dim=-1)
    weighted = [weights * share for share in row_shares]
    weights = torch.cat([share * column for share in weighted for column in column_shares], dim=-1)
    table = value.to(weights.dtype).reshape(-1, width)
    found = _WeightedGather.apply(table, index.flatten(0, 2), weights.flatten(0, 2))
    return found.view(batch, points.shape[1], heads * width)


def _neighbours(place: Tensor, size: Tensor) -> tuple[tuple[Tensor, Tensor], tuple[Tensor, Tensor]]:
    """Return the pixels before and after each place on an axis, int32, and their shares, 0 outside the map.

    Args:
        place: fractions of the axis.
        size: of the axis in pixels, int32, broadcastable.
    """
    # centres of pixels lie at one half; far outside stays an int32
    place = (place * size - 0.5).clamp(-2, 2**20)
    low = place.detach().floor()
    share = place - low
    before = low.to(torch.int32)
    after = before + 1
    last = size - 1
    shares = (1 - share) * ((before >= 0) & (before <= last)), share * ((after >= 0) & (after <= last))
    return (torch.minimum(before.clamp(min=0), last), torch.minimum(after.clamp(min=0), last)), shares


class _WeightedGather(torch.autograd.Function):
    """Add up rows (R, D) of a table, weighted, named by an index (N, n) int32: (N, D).

    The table's gradient is a weighted gather too, after the index is sorted: PyTorch's own adds row by row.
    """

    @staticmethod
    def forward(ctx: Any, table: Tensor, index: Tensor, weights: Tensor) -> Tensor:
        ctx.save_for_backward(table, index, weights)
        return F.embedding_bag(index, table, per_sample_weights=weights, mode="sum")

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, None, Tensor | None]:
        table, index, weights = ctx.saved_tensors
        grad = grad.contiguous()
        table_grad = weights_grad = None
        if ctx.needs_input_grad[0]:
            rows, order = index.flatten().sort()
            first = torch.searchsorted(rows, torch.arange(len(table), dtype=torch.int32)).to(torch.int64)
            table_grad = F.embedding_bag(
                order // index.shape[1], grad, first, per_sample_weights=weights.flatten()[order], mode="sum"
            )
        if ctx.needs_input_grad[2]:
            with torch.enable_grad():
                leaf = weights.detach().requires_grad_()
                found = F.embedding_bag(index, table.detach(), per_sample_weights=leaf, mode="sum")
                (weights_grad,) = torch.autograd.grad(found, leaf, grad)
        return table_grad, None, weights_grad
