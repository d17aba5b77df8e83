"""The localization branch of size ``dino``, the paper's.

Source: DINO (Zhang et al., ICLR 2023) with four scales, as Foundation X (WACV 2025) uses it: deformable encoder,
two-stage selection of the positions where queries start, learned content of the queries, look-forward-twice. Boxes of
all layers come from one head. Deviations: proposal heads have a loss; classes are the dataset's own; every token is a
proposal that can learn (as in size ``light``), not only the selected ones.

Where the tensors of a published checkpoint belong (``d`` dataset, ``l`` layer or level; linear layers of a perceptron
stand at 0, 2, 4 here):

======================================  ============================================================
published                               here
======================================  ============================================================
``input_proj.l.{0,1}``                  ``trunk.loc_encoder.projections.l.{0,1}``
``transformer.level_embed``             ``trunk.loc_encoder.level_embedding``
``transformer.tgt_embed.weight``        ``trunk.loc_encoder.content``
``transformer.encoder.layers.l``        ``trunk.loc_encoder.layers.l``: ``self_attn`` is ``attention`` with ``offsets,
                                        weights, value, out``; ``norm1, norm2`` are ``norms.{0,1}``;
                                        ``linear1, linear2`` are ``feedforward.{0,2}``
``enc_outputMem_LinearProjection.d``    ``heads.loc_decoder.d.memory_projection``
``decoder.d.ref_point_head.layers``     ``heads.loc_decoder.d.position``
``decoder.d.layers.l``                  ``heads.loc_decoder.d.layers.l``: ``self_attn`` is ``self_attention``,
                                        ``cross_attn`` is ``cross_attention``; ``norm2, norm1, norm3`` are
                                        ``norms.{0,1,2}`` (in the order of use)
``decoder.d.norm``                      ``heads.loc_decoder.d.norm``
``decoder.d.bbox_embed.l`` (shared)     ``heads.loc_head.d.refinement`` (option ``own_refinement``)
``enc_output.d``, ``enc_output_norm.d``  ``heads.loc_head.d.proposal.{0,1}``
``enc_out_class_embed.d``               ``heads.loc_head.d.proposal_class``
``enc_out_bbox_embed.d.layers``         ``heads.loc_head.d.proposal_box``
``class_embed_.d.l`` (shared)           ``heads.loc_head.d.classes``
``bbox_embed_.d.l.layers`` (shared)     ``heads.loc_head.d.boxes``
``label_enc.weight``                    ``heads.loc_head.d.denoiser.labels.weight``, the rows of its classes
``decoder.d.class_embed``               nowhere: no output depends on it
======================================  ============================================================
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from fx_monai.models.config import LocalizationConfig
from fx_monai.models.deformable_attention import DeformableAttention
from fx_monai.models.denoising import Denoiser
from fx_monai.models.layers import mlp
from fx_monai.models.localization_layers import DecoderLayer, check_queries, gather, pack_predictions, zero_last_linear
from fx_monai.models.localization_memory import Memory, sine_positions
from fx_monai.ops.box_targets import BoxTargets

# side of a proposal's prior box on the finest level, as a fraction of the image; doubles with every level
_PRIOR_SIDE = 0.05
_PRIOR_PROBABILITY = 0.01
# proposals with a coordinate outside this margin don't count
_MARGIN = 0.01
_POSITION_TEMPERATURE, _REFERENCE_TEMPERATURE = 20.0, 10_000.0


class DinoEncoderLayer(nn.Module):
    """Deformable self-attention of the tokens over all levels, feed-forward; norms come last."""

    def __init__(self, config: LocalizationConfig) -> None:
        super().__init__()
        width = config.width
        self.attention = DeformableAttention(width, config.heads, config.levels, config.points)
        self.feedforward = mlp(width, config.feedforward, width, 2)
        self.norms = nn.ModuleList(nn.LayerNorm(width) for _ in range(2))

    def forward(
        self, tokens: Tensor, positions: Tensor, references: Tensor, shapes: tuple[tuple[int, int], ...]
    ) -> Tensor:
        """Return the updated tokens (B, T, D)."""
        tokens = self.norms[0](tokens + self.attention(tokens + positions, references, tokens, shapes))
        return self.norms[1](tokens + self.feedforward(tokens))


class DinoEncoder(nn.Module):
    """Maps at strides 8, 16 and 32, and a fourth at 64, become memory tokens; owns the content of the queries.

    Args:
        channels: of the maps at strides 8, 16, 32.
        config: sizes.
    """

    def __init__(self, channels: Sequence[int], config: LocalizationConfig) -> None:
        super().__init__()
        width = config.width
        convolutions = [nn.Conv2d(c, width, 1) for c in channels]
        convolutions.append(nn.Conv2d(channels[-1], width, 3, stride=2, padding=1))
        self.projections = nn.ModuleList(nn.Sequential(conv, nn.GroupNorm(32, width)) for conv in convolutions)
        self.layers = nn.ModuleList(DinoEncoderLayer(config) for _ in range(config.encoder_layers))
        self.level_embedding = nn.Parameter(torch.randn(config.levels, width))
        # with one decoder for all datasets, each dataset has its own content of the queries instead
        self.content = None if config.shared_decoder else nn.Parameter(torch.randn(config.num_queries, width))

    def forward(self, maps: Sequence[Tensor]) -> Memory:
        """Return the memory of the maps at strides 8, 16, 32."""
        inputs = [*maps, maps[-1]]
        levels = [projection(x) for projection, x in zip(self.projections, inputs, strict=True)]
        shapes = tuple((x.shape[-2], x.shape[-1]) for x in levels)
        tokens = torch.cat([x.flatten(2).transpose(1, 2) for x in levels], dim=1)
        memory = Memory(tokens, shapes, self.content)
        positions = torch.cat(
            [_positions(*shape, tokens) + self.level_embedding[level] for level, shape in enumerate(shapes)]
        )
        references = memory.centres()[None]
        for layer in self.layers:
            tokens = layer(tokens, positions, references, shapes)
        return dataclasses.replace(memory, tokens=tokens)


class DinoHead(nn.Module):
    """What belongs to one dataset beside its decoder: proposals, class and box outputs, denoising queries.

    Args:
        config: sizes.
        num_classes: classes of the dataset (sigmoid each, no background class).
    """

    def __init__(self, config: LocalizationConfig, num_classes: int) -> None:
        super().__init__()
        width = config.width
        self.proposal = nn.Sequential(nn.Linear(width, width), nn.LayerNorm(width))
        self.proposal_class = nn.Linear(width, num_classes)
        self.proposal_box = mlp(width, width, 4, 3)
        self.classes = nn.Linear(width, num_classes)
        self.boxes = mlp(width, width, 4, 3)
        self.refinement = mlp(width, width, 4, 3) if config.own_refinement else None
        self.content = nn.Parameter(torch.randn(config.num_queries, width)) if config.shared_decoder else None
        self.denoiser = Denoiser(config, num_classes) if config.denoising_queries else None
        for classifier in (self.proposal_class, self.classes):
            nn.init.constant_(classifier.bias, math.log(_PRIOR_PROBABILITY / (1 - _PRIOR_PROBABILITY)))
        for module in (self.proposal_box, self.boxes, self.refinement):
            if module is not None:
                zero_last_linear(module)

    def propose(self, memory: Memory) -> tuple[Tensor, Tensor]:
        """Return class logits (B, T, K) of every token, and its box as logits of cxcywh, (B, T, 4)."""
        side = _PRIOR_SIDE * 2.0 ** memory.levels()[:, None].expand(-1, 2)
        prior = torch.cat((memory.centres(), side), dim=-1)
        valid = ((prior > _MARGIN) & (prior < 1 - _MARGIN)).all(dim=-1, keepdim=True)
        hidden = self.proposal(memory.tokens * valid)
        # a box of the whole image's size, which no finding has, stands where there is no valid proposal
        return self.proposal_class(hidden), self.proposal_box(hidden) + prior.logit().masked_fill(~valid, math.inf)

    def refine(self, queries: Tensor, boxes: Tensor) -> Tensor:
        """Return the boxes (B, Q, 4) that the next layer starts from."""
        module = self.boxes if self.refinement is None else self.refinement
        return (_logit(boxes) + module(queries)).sigmoid()


class DinoDecoder(nn.Module):
    """Refines queries that start at the best proposals.

    Args:
        config: sizes.
    """

    def __init__(self, config: LocalizationConfig) -> None:
        super().__init__()
        width = config.width
        self.num_queries, self.width = config.num_queries, width
        self.memory_projection = None if config.shared_decoder else nn.Linear(width, width)
        self.position = mlp(2 * width, width, width, 2)
        self.layers = nn.ModuleList(DecoderLayer(config) for _ in range(config.decoder_layers))
        self.norm = nn.LayerNorm(width)

    def forward(self, memory: Memory, head: DinoHead, targets: BoxTargets | None = None) -> dict[str, Tensor]:
        """Decode; see :func:`fx_monai.models.localization.build_decoder`.

        Raises:
            ConfigError: more queries than memory tokens.
        """
        if self.memory_projection is not None:
            memory = dataclasses.replace(memory, tokens=self.memory_projection(memory.tokens))
        proposal_logits, proposal_boxes = head.propose(memory)
        check_queries(self.num_queries, memory.tokens.shape[1])
        best = proposal_logits.detach().amax(-1).topk(self.num_queries, dim=1).indices
        references = gather(proposal_boxes, best).detach().sigmoid()
        content = memory.content if head.content is None else head.content
        assert content is not None
        queries = content.expand(references.shape[0], -1, -1)
        denoising, blocked = None, None
        if head.denoiser is not None:
            queries, references, denoising = head.denoiser(queries, references, targets)
        if denoising is not None:
            blocked = denoising.blocked(self.num_queries)
        logits, boxes = self._refine(queries, references, memory, head, blocked)
        return {
            **pack_predictions({"logits": logits, "boxes": boxes}, self.num_queries, denoising),
            "proposal_logits": proposal_logits,
            "proposal_boxes": proposal_boxes.sigmoid(),
            "proposal_centres": memory.centres(),
            "proposal_spacing": memory.spacing(),
        }

    def _refine(
        self, queries: Tensor, references: Tensor, memory: Memory, head: DinoHead, blocked: Tensor | None
    ) -> tuple[list[Tensor], list[Tensor]]:
        logits: list[Tensor] = []
        boxes: list[Tensor] = []
        start = references
        for number, layer in enumerate(self.layers, start=1):
            if number > 1:
                # look-forward-twice: the loss of a layer also corrects the refinement before it
                start = head.refine(queries, references)
                references = start.detach()
            queries = layer(queries, self.position(_embed(references, 2 * self.width)), references, memory, blocked)
            if number < len(self.layers) and not (self.training or torch.is_grad_enabled()):
                # nobody reads what the layers before the last would predict
                continue
            normed = self.norm(queries)
            logits.append(head.classes(normed))
            boxes.append((_logit(start) + head.boxes(normed)).sigmoid())
        return logits, boxes


def _positions(height: int, width: int, like: Tensor) -> Tensor:
    """Return the position embedding of a map, (H * W, D); pixels count from 1, the last one is a full turn."""
    y = torch.arange(1, height + 1, device=like.device, dtype=like.dtype) / (height + 1e-6)
    x = torch.arange(1, width + 1, device=like.device, dtype=like.dtype) / (width + 1e-6)
    grid = torch.stack(torch.meshgrid(y, x, indexing="ij"), dim=-1).flatten(0, 1)
    return sine_positions(grid, like.shape[-1], _POSITION_TEMPERATURE)


def _embed(boxes: Tensor, width: int) -> Tensor:
    """Return the sine embedding of boxes (B, Q, 4) cxcywh, (B, Q, width), in the order y, x, width, height."""
    ordered = torch.cat((boxes[..., 1:2], boxes[..., :1], boxes[..., 2:]), dim=-1)
    return sine_positions(ordered, width, _REFERENCE_TEMPERATURE)


def _logit(boxes: Tensor) -> Tensor:
    """Return the inverse of the sigmoid, with both probabilities at least 0.001."""
    boxes = boxes.clamp(0, 1)
    return boxes.clamp(min=1e-3).log() - (1 - boxes).clamp(min=1e-3).log()
