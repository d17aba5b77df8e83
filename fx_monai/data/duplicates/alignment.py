"""Whether two thumbnails show the same image: one is laid over the other, then their fine structure is compared.

Shift and scale of each axis are found by inverse compositional image alignment, coarse to fine (Baker and Matthews,
Lucas-Kanade 20 years on, IJCV 2004), restricted to what small crops do.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

# side of the thumbnails, blur in pixels, iterations
LEVELS = ((16, 0.7, 8), (32, 1.0, 4), (64, 1.0, 3))
# in half widths: crops of a little more than 5 % at each side
LIMIT = 0.13
# what is coarser than so many pixels of a thumbnail all chest radiographs share
COARSE = 4.0
_BATCH = 128


def similarity(first: Tensor, second: Tensor) -> Tensor:
    """Return the correlation (n,) of the fine structure where the laid-over thumbnails overlap.

    Args:
        first: (n, S, S) float thumbnails.
        second: as many, of the same polarity.
    """
    found = [first.new_zeros(0)]
    for start in range(0, len(first), _BATCH):
        a, b = first[start : start + _BATCH], second[start : start + _BATCH]
        scale, shift = _align(a, b)
        moved, inside = _warp(b, scale, shift)
        a, b = (_normalise(image - _blur(image, COARSE), inside) for image in (a, moved))
        found.append((a * b).sum((1, 2)) / inside.sum((1, 2)))
    return torch.cat(found)


def _align(template: Tensor, image: Tensor) -> tuple[Tensor, Tensor]:
    """Return scale and shift (n, 2), x then y, in half widths: template(x) matches image(scale x + shift)."""
    scale, shift = template.new_ones(len(template), 2), template.new_zeros(len(template), 2)
    for side, sigma, iterations in LEVELS:
        small = [
            _blur(F.interpolate(t[:, None], size=(side, side), mode="area")[:, 0], sigma) for t in (template, image)
        ]
        scale, shift = _refine(small[0], small[1], scale, shift, iterations)
    return scale, shift


def _refine(template: Tensor, image: Tensor, scale: Tensor, shift: Tensor, steps: int) -> tuple[Tensor, Tensor]:
    side = template.shape[-1]
    across, down = torch.zeros_like(template), torch.zeros_like(template)
    across[:, :, 1:-1] = (template[:, :, 2:] - template[:, :, :-2]) * side / 4
    down[:, 1:-1] = (template[:, 2:] - template[:, :-2]) * side / 4
    place = (torch.arange(side) + 0.5) * 2 / side - 1
    steepest = torch.stack([across, across * place, down, down * place[:, None]], dim=1)
    steepest = steepest / template.std((1, 2), keepdim=True).clamp_min(1e-6)[:, None]
    damping = 1e-4 * side * side * torch.eye(4)
    for _ in range(steps):
        moved, inside = _warp(image, scale, shift)
        error = _normalise(moved, inside) - _normalise(template, inside)
        jacobian = (steepest * inside[:, None]).flatten(2)
        gradient = jacobian @ error.flatten(1)[:, :, None]
        step = torch.linalg.solve(jacobian @ jacobian.transpose(1, 2) + damping, gradient)[:, :, 0].clamp(-0.1, 0.1)
        wider, further = 1 + step[:, 1::2], step[:, 0::2]
        shift = (shift - scale * further / wider).clamp(-LIMIT, LIMIT)
        scale = (scale / wider).clamp(1 - LIMIT, 1 + LIMIT)
    return scale, shift


def _warp(image: Tensor, scale: Tensor, shift: Tensor) -> tuple[Tensor, Tensor]:
    """Return image(scale x + shift), and where that lies inside the image (1 or 0)."""
    matrix = torch.cat([torch.diag_embed(scale), shift[:, :, None]], dim=2)
    grid = F.affine_grid(matrix, [len(image), 1, *image.shape[1:]], align_corners=False)
    moved = F.grid_sample(image[:, None], grid, padding_mode="border", align_corners=False)[:, 0]
    return moved, (grid.abs() <= 1).all(dim=-1).to(image)


def _normalise(image: Tensor, inside: Tensor) -> Tensor:
    """Return the image with mean 0 and variance 1 inside, 0 outside."""
    area = inside.sum((1, 2), keepdim=True)
    centred = (image - (image * inside).sum((1, 2), keepdim=True) / area) * inside
    return centred / (centred.square().sum((1, 2), keepdim=True) / area).sqrt().clamp_min(1e-6)


def _blur(image: Tensor, sigma: float) -> Tensor:
    reach = int(3 * sigma + 0.5)
    kernel = torch.exp(-torch.arange(-reach, reach + 1.0).square() / (2 * sigma * sigma))
    kernel = kernel / kernel.sum()
    padded = F.pad(image[:, None], (reach, reach, reach, reach), mode="replicate")
    return F.conv2d(F.conv2d(padded, kernel.view(1, 1, 1, -1)), kernel.view(1, 1, -1, 1))[:, 0]
