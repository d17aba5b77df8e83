"""The shared localization encoder of size ``light``: feature maps at strides 8, 16 and 32 become the memory.

Source: the hybrid encoder of RT-DETR (Zhao et al., CVPR 2024, arXiv 2304.08069): attention inside the coarsest map
only, then convolutional fusion top-down and bottom-up. Deviations: GroupNorm instead of BatchNorm, levels are summed
before a convolution instead of concatenated (a third of the cost).
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fx_monai.models.config import LocalizationConfig
from fx_monai.models.layers import conv_norm_act
from fx_monai.models.localization_memory import Memory, centres, sine_positions

_POSITION_TEMPERATURE = 20.0


class LightEncoder(nn.Module):
    """Fuses feature maps into memory tokens.

    Args:
        channels: of the maps at strides 8, 16, 32.
        config: width and feed-forward size.
    """

    def __init__(self, channels: Sequence[int], config: LocalizationConfig) -> None:
        super().__init__()
        width = config.width
        self.projections = nn.ModuleList(
            nn.Sequential(nn.Conv2d(c, width, 1, bias=False), nn.GroupNorm(8, width)) for c in channels
        )
        self.attention = nn.Sequential(*(_attention(config) for _ in range(config.encoder_layers)))
        self.top_down = nn.ModuleList(conv_norm_act(width, width) for _ in channels[1:])
        self.down = nn.ModuleList(nn.Conv2d(width, width, 3, stride=2, padding=1) for _ in channels[1:])
        self.bottom_up = nn.ModuleList(conv_norm_act(width, width) for _ in channels[1:])
        self.level_embedding = nn.Parameter(torch.empty(len(channels), width))
        nn.init.normal_(self.level_embedding, std=0.02)

    def forward(self, maps: Sequence[Tensor]) -> Memory:
        """Return the memory of the maps at strides 8, 16, 32."""
        levels = [projection(x) for projection, x in zip(self.projections, maps, strict=True)]
        levels[-1] = self._attend(levels[-1])
        for index in reversed(range(len(levels) - 1)):
            coarse = F.interpolate(levels[index + 1], size=levels[index].shape[-2:], mode="nearest")
            levels[index] = self.top_down[index](levels[index] + coarse)
        for index in range(1, len(levels)):
            fine = self.down[index - 1](levels[index - 1])
            levels[index] = self.bottom_up[index - 1](levels[index] + fine)
        tokens = [x.flatten(2).transpose(1, 2) + self.level_embedding[i] for i, x in enumerate(levels)]
        return Memory(torch.cat(tokens, dim=1), tuple((x.shape[-2], x.shape[-1]) for x in levels))

    def _attend(self, x: Tensor) -> Tensor:
        height, width = x.shape[-2:]
        tokens = x.flatten(2).transpose(1, 2) + sine_positions(
            centres(height, width, x), x.shape[1], _POSITION_TEMPERATURE
        )
        return self.attention(tokens).transpose(1, 2).unflatten(2, (height, width))


def _attention(config: LocalizationConfig) -> nn.Module:
    return nn.TransformerEncoderLayer(
        config.width,
        config.heads,
        config.feedforward,
        dropout=0.0,
        activation="gelu",
        batch_first=True,
        norm_first=True,
    )
