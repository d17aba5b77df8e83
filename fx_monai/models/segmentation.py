"""The segmentation branch of size ``light``: a shared decoder and one small head per dataset.

Source: UPerNet (Xiao et al., ECCV 2018): pyramid pooling on the coarsest map, top-down fusion. Deviations: GroupNorm
instead of BatchNorm, levels are summed instead of concatenated before the fusing convolution (a quarter of the cost).
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fx_monai.models.config import SegmentationConfig
from fx_monai.models.layers import conv_norm_act

_BINS = (1, 2, 4)


class SegmentationDecoder(nn.Module):
    """Fuses the feature maps of all strides into one at stride 4.

    Args:
        channels: of the maps at strides 4, 8, 16, 32.
        config: width.
    """

    def __init__(self, channels: Sequence[int], config: SegmentationConfig) -> None:
        super().__init__()
        width = config.width
        self.pools = nn.ModuleList(
            nn.Sequential(nn.AdaptiveAvgPool2d(bins), conv_norm_act(channels[-1], width, 1)) for bins in _BINS
        )
        self.pooled = conv_norm_act(channels[-1] + len(_BINS) * width, width, 1)
        self.laterals = nn.ModuleList(conv_norm_act(c, width, 1) for c in channels[:-1])
        self.smooth = nn.ModuleList(conv_norm_act(width, width) for _ in channels)
        self.fuse = conv_norm_act(width, width)

    def forward(self, maps: Sequence[Tensor]) -> Tensor:
        """Return the fused feature (B, width, H / 4, W / 4)."""
        coarsest = maps[-1]
        pools = [_resize(pool(coarsest), coarsest.shape[-2:]) for pool in self.pools]
        level = self.pooled(torch.cat([coarsest, *pools], dim=1))
        levels = [level]
        for lateral, features in zip(reversed(self.laterals), reversed(maps[:-1]), strict=True):
            level = lateral(features) + _resize(level, features.shape[-2:])
            levels.append(level)
        size = maps[0].shape[-2:]
        fused = torch.zeros_like(level)
        for smooth, level in zip(self.smooth, levels, strict=True):
            fused = fused + _resize(smooth(level), size)
        return self.fuse(fused)


class SegmentationHead(nn.Module):
    """Logits of one dataset's classes.

    Args:
        width: channels of the fused feature.
        num_classes: output channels; classes may overlap (sigmoid each).
    """

    def __init__(self, width: int, num_classes: int) -> None:
        super().__init__()
        self.conv = conv_norm_act(width, width)
        self.out = nn.Conv2d(width, num_classes, 1)

    def forward(self, fused: Tensor, size: tuple[int, int]) -> Tensor:
        """Return logits (B, K, H, W) at the size of the input image."""
        return _resize(self.out(self.conv(fused)), size)


def _resize(x: Tensor, size: Sequence[int]) -> Tensor:
    return F.interpolate(x, size=list(size), mode="bilinear", align_corners=False)
