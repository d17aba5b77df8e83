"""The localization branch ``light``: a shared encoder; per dataset a small decoder and a head.

Source: RT-DETR (Zhao et al., CVPR 2024, arXiv 2304.08069): one attention layer on the coarsest map, convolutional
fusion of the levels, query selection, three decoder layers with box refinement (Deformable DETR, arXiv 2010.04159).
Deviations: GroupNorm; the proposals are supervised densely (see :mod:`fx_monai.losses.set_criterion`), because that is
what makes a few hundred images enough.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fx_monai.errors import ConfigError
from fx_monai.models.config import LocalizationConfig
from fx_monai.models.deformable_attention import DeformableAttention
from fx_monai.models.layers import conv_norm_act, mlp

PRIOR_PROBABILITY = 0.01
# side of the box a token proposes before it has learnt anything, fraction of the image side, strides 8, 16, 32
_PRIOR_SIZES = (0.08, 0.16, 0.32)


@dataclass(frozen=True)
class Memory:
    """The encoder's output.

    Args:
        tokens: (B, T, D), levels of strides 8, 16, 32 one after another, each row by row.
        shapes: (H, W) of each level.
        anchors: (T, 4), cxcywh normalised, box each token proposes a priori.
    """

    tokens: Tensor
    shapes: tuple[tuple[int, int], ...]
    anchors: Tensor


@dataclass(frozen=True)
class BoxLayer:
    """Predictions of the proposals or of one decoder layer.

    Args:
        logits: (B, N, K) before the sigmoid.
        boxes: (B, N, 4), cxcywh normalised.
    """

    logits: Tensor
    boxes: Tensor


@dataclass(frozen=True)
class BoxPredictions:
    """All that one dataset's decoder predicts for a batch.

    Args:
        layers: decoder layers, the last one is the answer.
        proposals: of every token, or None at inference.
        anchors: (T, 4), cxcywh normalised, prior boxes of the tokens.
    """

    layers: tuple[BoxLayer, ...]
    proposals: BoxLayer | None
    anchors: Tensor


class LocalizationEncoder(nn.Module):
    """Turns feature maps into memory tokens.

    Args:
        channels: of the maps at strides 8, 16, 32.
        config: sizes.
    """

    def __init__(self, channels: Sequence[int], config: LocalizationConfig) -> None:
        super().__init__()
        width = config.width
        self.projections = nn.ModuleList(
            nn.Sequential(nn.Conv2d(c, width, 1, bias=False), nn.GroupNorm(8, width)) for c in channels
        )
        self.attention = nn.TransformerEncoderLayer(
            width, config.heads, config.feedforward, dropout=0.0, activation="gelu", batch_first=True
        )
        self.top_down = nn.ModuleList(conv_norm_act(width, width) for _ in channels[1:])
        self.down = nn.ModuleList(nn.Conv2d(width, width, 3, stride=2, padding=1) for _ in channels[1:])
        self.bottom_up = nn.ModuleList(conv_norm_act(width, width) for _ in channels[1:])
        self.level_embedding = nn.Parameter(torch.zeros(len(channels), width))
        nn.init.normal_(self.level_embedding, std=0.02)

    def forward(self, maps: Sequence[Tensor]) -> Memory:
        """Encode the maps at strides 8, 16, 32."""
        fine, middle, coarse = (project(m) for project, m in zip(self.projections, maps, strict=True))
        height, width = coarse.shape[-2:]
        tokens = coarse.flatten(2).transpose(1, 2)
        tokens = self.attention(tokens + _sine_positions(height, width, tokens.shape[-1], tokens.device))
        coarse = tokens.transpose(1, 2).reshape(coarse.shape)

        middle = self.top_down[0](middle + F.interpolate(coarse, size=middle.shape[-2:]))
        fine = self.top_down[1](fine + F.interpolate(middle, size=fine.shape[-2:]))
        middle = self.bottom_up[0](middle + self.down[0](fine))
        coarse = self.bottom_up[1](coarse + self.down[1](middle))

        levels = (fine, middle, coarse)
        shapes = tuple((level.shape[2], level.shape[3]) for level in levels)
        flat = [level.flatten(2).transpose(1, 2) + e for level, e in zip(levels, self.level_embedding, strict=True)]
        return Memory(torch.cat(flat, dim=1), shapes, _anchors(shapes, fine.device))


class LocalizationHead(nn.Module):
    """What belongs to one dataset's boxes: proposal, class and box layers.

    Args:
        num_classes: of the dataset.
        config: sizes.
    """

    def __init__(self, num_classes: int, config: LocalizationConfig) -> None:
        super().__init__()
        width = config.width
        self.proposal_features = nn.Sequential(nn.Linear(width, width), nn.LayerNorm(width), nn.ReLU(inplace=True))
        self.proposal_classes = _classifier(width, num_classes)
        self.proposal_boxes = _box_layers(width)
        self.classes = nn.ModuleList(_classifier(width, num_classes) for _ in range(config.decoder_layers))
        self.boxes = nn.ModuleList(_box_layers(width) for _ in range(config.decoder_layers))

    def propose(self, memory: Memory) -> BoxLayer:
        """Return class logits and a box for every memory token."""
        features = self.proposal_features(memory.tokens)
        return BoxLayer(
            self.proposal_classes(features),
            (torch.logit(memory.anchors) + self.proposal_boxes(features)).sigmoid(),
        )


class LocalizationDecoder(nn.Module):
    """Refines the most promising proposals of one dataset.

    Args:
        config: sizes.
        levels: feature levels of the memory.
    """

    def __init__(self, config: LocalizationConfig, levels: int = 3) -> None:
        super().__init__()
        width = config.width
        self.num_queries = config.num_queries
        self.content = nn.Sequential(nn.Linear(width, width), nn.LayerNorm(width))
        self.position = mlp(4, width, width, 2)
        self.layers = nn.ModuleList(_DecoderLayer(config, levels) for _ in range(config.decoder_layers))

    def forward(self, memory: Memory, head: LocalizationHead) -> BoxPredictions:
        """Predict boxes and classes.

        Raises:
            ConfigError: more queries than tokens.
        """
        if self.num_queries > memory.tokens.shape[1]:
            raise ConfigError(
                where="model.localization.num_queries",
                problem=f"{self.num_queries} queries, but the image gives {memory.tokens.shape[1]} tokens",
                expected="at most as many queries as tokens",
                remedy="Lower num_queries or raise model.image_size",
            )
        proposals = head.propose(memory)
        best = proposals.logits.detach().amax(-1).topk(self.num_queries, dim=1).indices
        # proposals are trained by their own loss; the decoder only starts from them
        references = proposals.boxes.detach().gather(1, best[..., None].expand(-1, -1, 4))
        tokens = memory.tokens.gather(1, best[..., None].expand(-1, -1, memory.tokens.shape[-1]))
        queries = self.content(tokens)
        layers = []
        for layer, classes, boxes in zip(self.layers, head.classes, head.boxes, strict=True):
            queries = layer(queries, self.position(references), references, memory)
            refined = (torch.logit(references, eps=1e-5) + boxes(queries)).sigmoid()
            layers.append(BoxLayer(classes(queries), refined))
            references = refined.detach()
        return BoxPredictions(tuple(layers), proposals, memory.anchors)


class _DecoderLayer(nn.Module):
    def __init__(self, config: LocalizationConfig, levels: int) -> None:
        super().__init__()
        width = config.width
        self.self_attention = nn.MultiheadAttention(width, config.heads, batch_first=True)
        self.cross_attention = DeformableAttention(width, config.heads, levels, config.points)
        self.feedforward = nn.Sequential(
            nn.Linear(width, config.feedforward), nn.ReLU(inplace=True), nn.Linear(config.feedforward, width)
        )
        self.norms = nn.ModuleList(nn.LayerNorm(width) for _ in range(3))

    def forward(self, queries: Tensor, positions: Tensor, references: Tensor, memory: Memory) -> Tensor:
        placed = queries + positions
        attended, _ = self.self_attention(placed, placed, queries, need_weights=False)
        queries = self.norms[0](queries + attended)
        attended = self.cross_attention(queries + positions, references, memory.tokens, memory.shapes)
        queries = self.norms[1](queries + attended)
        return self.norms[2](queries + self.feedforward(queries))


def _classifier(width: int, num_classes: int) -> nn.Linear:
    layer = nn.Linear(width, num_classes)
    nn.init.constant_(layer.bias, -math.log((1 - PRIOR_PROBABILITY) / PRIOR_PROBABILITY))
    return layer


def _box_layers(width: int) -> nn.Sequential:
    layers = mlp(width, width, 4, 3)
    nn.init.zeros_(layers[-1].weight)
    nn.init.zeros_(layers[-1].bias)
    return layers


def _anchors(shapes: Sequence[tuple[int, int]], device: torch.device) -> Tensor:
    anchors = []
    for (height, width), size in zip(shapes, _PRIOR_SIZES, strict=True):
        y, x = torch.meshgrid(
            (torch.arange(height, device=device) + 0.5) / height,
            (torch.arange(width, device=device) + 0.5) / width,
            indexing="ij",
        )
        anchors.append(torch.stack([x, y, torch.full_like(x, size), torch.full_like(y, size)], -1).flatten(0, 1))
    return torch.cat(anchors)


def _sine_positions(height: int, width: int, channels: int, device: torch.device) -> Tensor:
    """Return (H * W, channels) sine-cosine positions (Vaswani et al., 2017), a quarter of the channels for each."""
    frequencies = 10000.0 ** (-torch.arange(channels // 4, device=device) / (channels // 4))
    y = torch.arange(height, device=device)[:, None] * frequencies
    x = torch.arange(width, device=device)[:, None] * frequencies
    rows = torch.cat([y.sin(), y.cos()], -1)[:, None].expand(-1, width, -1)
    columns = torch.cat([x.sin(), x.cos()], -1)[None].expand(height, -1, -1)
    return torch.cat([rows, columns], -1).flatten(0, 1)
