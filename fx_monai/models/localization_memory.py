"""The memory: tokens of all feature levels, and where they lie."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Memory:
    """What the encoder hands to the decoders.

    Args:
        tokens: (B, T, D), levels from fine to coarse one after another, each row by row.
        shapes: (H, W) of each level; their areas add up to T.
        content: (Q, D), what the queries of all datasets begin with, where the encoder owns that.
    """

    tokens: Tensor
    shapes: tuple[tuple[int, int], ...]
    content: Tensor | None = None

    def centres(self) -> Tensor:
        """Return the centre of every token as fractions of the image, (T, 2) x and y."""
        return torch.cat([centres(height, width, self.tokens) for height, width in self.shapes])

    def spacing(self) -> Tensor:
        """Return the larger distance between neighbours of every token on its level, fraction of the image, (T,)."""
        like = self.tokens
        return torch.cat([like.new_full((height * width,), 1 / min(height, width)) for height, width in self.shapes])

    def levels(self) -> Tensor:
        """Return the level of every token, (T,) int64, 0 = finest."""
        device = self.tokens.device
        return torch.cat(
            [torch.full((height * width,), level, device=device) for level, (height, width) in enumerate(self.shapes)]
        )


def centres(height: int, width: int, like: Tensor) -> Tensor:
    """Return the pixel centres of a map, row by row, as fractions of its sides, (H * W, 2) x and y."""
    y = (torch.arange(height, device=like.device, dtype=like.dtype) + 0.5) / height
    x = (torch.arange(width, device=like.device, dtype=like.dtype) + 0.5) / width
    grid_y, grid_x = torch.meshgrid(y, x, indexing="ij")
    return torch.stack((grid_x, grid_y), dim=-1).flatten(0, 1)


def sine_positions(values: Tensor, width: int, temperature: float) -> Tensor:
    """Encode numbers, (..., N), as sines and cosines, (..., width), ``width / N`` for each, in turn.

    Source: Attention Is All You Need (2017); a value of 1 is one full turn of the fastest pair.

    Args:
        values: fractions of the image.
        width: a multiple of 2 N.
        temperature: wavelength of the slowest pair over that of the fastest, nearly.
    """
    per_value = width // values.shape[-1]
    powers = torch.arange(per_value // 2, device=values.device, dtype=values.dtype) * (2 / per_value)
    angles = values[..., None] * (2 * torch.pi * temperature**-powers)
    return torch.stack((angles.sin(), angles.cos()), dim=-1).flatten(-3)
