"""The paper's segmentation branch: pyramid pooling and feature fusion of UPerNet, and one convolution per dataset.

Source: UPerNet (Xiao et al., ECCV 2018) as Foundation X (WACV 2025) uses it: one smoothing convolution serves all
levels, and every level is fused with the input of the next coarser one instead of the running top-down sum. Deviation:
GroupNorm unless published weights are imported; a batch of one uses the running statistics of BatchNorm.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fx_monai.models.config import SegmentationConfig

_BINS = (1, 2, 4, 6)
_DROPOUT = 0.1


class UPerNetDecoder(nn.Module):
    """Fuses the feature maps of all strides into one at stride 4.

    Args:
        channels: of the maps at strides 4, 8, 16, 32.
        config: width and norm.
    """

    def __init__(self, channels: Sequence[int], config: SegmentationConfig) -> None:
        super().__init__()
        width, batch = config.width, config.norm == "batch"
        coarsest = channels[-1]
        part = coarsest // len(_BINS)
        self.pools = nn.ModuleList(
            nn.Sequential(nn.AdaptiveAvgPool2d(bins), *_conv_norm_act(coarsest, part, 1, batch)) for bins in _BINS
        )
        self.bottleneck = nn.Sequential(
            *_conv_norm_act(coarsest + part * len(_BINS), coarsest, 3, batch), nn.Dropout2d(_DROPOUT)
        )
        self.laterals = nn.ModuleList(
            nn.Identity() if c == width and stage == 0 else nn.Conv2d(c, width, 1) for stage, c in enumerate(channels)
        )
        self.smooth = nn.Conv2d(width, width, 3, padding=1)
        self.fuse = nn.Sequential(*_conv_norm_act(width * len(channels), width, 3, batch))

    def forward(self, maps: Sequence[Tensor]) -> Tensor:
        """Return the fused feature (B, width, H / 4, W / 4)."""
        coarsest = maps[-1]
        pooled = [_resize(pool(coarsest), coarsest.shape[-2:]) for pool in self.pools]
        inputs = [*maps[:-1], self.bottleneck(torch.cat([coarsest, *pooled], dim=1))]
        levels = [lateral(level) for lateral, level in zip(self.laterals, inputs, strict=True)]
        fused = [self.smooth(fine + _resize(coarse, fine.shape[-2:])) for fine, coarse in pairwise(levels)]
        size = maps[0].shape[-2:]
        return self.fuse(torch.cat([_resize(level, size) for level in (*fused, levels[-1])], dim=1))


class UPerNetHead(nn.Module):
    """Logits of one dataset's classes: one 3 x 3 convolution.

    Args:
        width: channels of the fused feature.
        num_classes: output channels; classes may overlap (sigmoid each).
    """

    def __init__(self, width: int, num_classes: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(width, num_classes, 3, padding=1)

    def forward(self, fused: Tensor, size: tuple[int, int]) -> Tensor:
        """Return logits (B, K, H, W) at the size of the input image."""
        return F.interpolate(self.conv(fused), size=list(size), mode="bilinear", align_corners=False)


class BatchNorm(nn.BatchNorm2d):
    """Batch normalisation that uses its running statistics for a batch of one, which has none of its own."""

    def forward(self, x: Tensor) -> Tensor:
        """Normalise (B, C, H, W)."""
        if self.training and x.shape[0] == 1:
            return F.batch_norm(x, self.running_mean, self.running_var, self.weight, self.bias, eps=self.eps)
        return super().forward(x)


def _conv_norm_act(in_channels: int, out_channels: int, kernel: int, batch: bool) -> list[nn.Module]:
    return [
        nn.Conv2d(in_channels, out_channels, kernel, padding=kernel // 2, bias=False),
        BatchNorm(out_channels) if batch else nn.GroupNorm(8, out_channels),
        nn.ReLU(inplace=True),
    ]


def _resize(x: Tensor, size: Sequence[int]) -> Tensor:
    return F.interpolate(x, size=list(size), mode="bilinear", align_corners=True)
