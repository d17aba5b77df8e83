"""The localization decoder and head of one dataset, size ``light``.

Source: RT-DETR (Zhao et al., CVPR 2024): the best memory tokens become queries, a few layers refine their boxes;
box refinement and deformable attention after Deformable DETR (Zhu et al., ICLR 2021). Deviations, all for datasets of
a few hundred images: every token is a supervised proposal (one object has many, as in TOOD), and a decoder layer
predicts what changes against the layer before for the classes too, so that decoding starts from the proposals.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torchvision.ops import box_convert, nms

from fx_monai.errors import ConfigError
from fx_monai.models.config import LocalizationConfig
from fx_monai.models.deformable_attention import DeformableAttention
from fx_monai.models.layers import mlp
from fx_monai.models.localization_encoder import LOC_STRIDES, Memory

# side of a proposal's prior box on the finest level, as a fraction of the image; doubles with every level
_PRIOR_SIDE = 0.08
_PRIOR_PROBABILITY = 0.01
# proposals that overlap a better one by more than this IoU are repetitions
_DISTINCT_IOU = 0.5


class LocalizationHead(nn.Module):
    """Class and box outputs of one dataset: of every memory token (proposals) and of every decoder layer.

    Args:
        config: sizes.
        num_classes: classes of the dataset (sigmoid each, no background class).
    """

    def __init__(self, config: LocalizationConfig, num_classes: int) -> None:
        super().__init__()
        width = config.width
        self.proposal = nn.Sequential(nn.Linear(width, width), nn.LayerNorm(width), nn.ReLU(inplace=True))
        self.proposal_class = nn.Linear(width, num_classes)
        self.proposal_box = mlp(width, width, 4, 2)
        self.classes = nn.ModuleList(nn.Linear(width, num_classes) for _ in range(config.decoder_layers))
        self.boxes = nn.ModuleList(mlp(width, width, 4, 3) for _ in range(config.decoder_layers))
        nn.init.constant_(self.proposal_class.bias, math.log(_PRIOR_PROBABILITY / (1 - _PRIOR_PROBABILITY)))
        # every output starts at what it refines: boxes at their prior, decoder layers at the proposals
        for module in (self.proposal_box, *self.classes, *self.boxes):
            last = [layer for layer in module.modules() if isinstance(layer, nn.Linear)][-1]
            nn.init.zeros_(last.weight)
            nn.init.zeros_(last.bias)

    def propose(self, memory: Memory) -> tuple[Tensor, Tensor]:
        """Return class logits (B, T, K) and boxes (B, T, 4), cxcywh normalised, of every token."""
        hidden = self.proposal(memory.tokens)
        side = _PRIOR_SIDE * 2.0 ** memory.levels()[:, None].expand(-1, 2)
        prior = torch.cat((memory.centres(), side), dim=-1)
        return self.proposal_class(hidden), refine(prior, self.proposal_box(hidden))


class DecoderLayer(nn.Module):
    """Self-attention among the queries, deformable attention to the memory, feed-forward; norms come last."""

    def __init__(self, config: LocalizationConfig) -> None:
        super().__init__()
        width = config.width
        self.self_attention = nn.MultiheadAttention(width, config.heads, batch_first=True)
        self.cross_attention = DeformableAttention(width, config.heads, len(LOC_STRIDES), config.points)
        self.feedforward = mlp(width, config.feedforward, width, 2)
        self.norms = nn.ModuleList(nn.LayerNorm(width) for _ in range(3))

    def forward(self, queries: Tensor, positions: Tensor, references: Tensor, memory: Memory) -> Tensor:
        """Return the updated queries (B, Q, D)."""
        placed = queries + positions
        queries = self.norms[0](queries + self.self_attention(placed, placed, queries, need_weights=False)[0])
        attended = self.cross_attention(queries + positions, references, memory.tokens, memory.shapes)
        queries = self.norms[1](queries + attended)
        return self.norms[2](queries + self.feedforward(queries))


class LocalizationDecoder(nn.Module):
    """Turns the best proposals into queries and refines them.

    Args:
        config: sizes.
    """

    def __init__(self, config: LocalizationConfig) -> None:
        super().__init__()
        self.num_queries = config.num_queries
        self.content = nn.Sequential(nn.Linear(config.width, config.width), nn.LayerNorm(config.width))
        self.position = mlp(4, 2 * config.width, config.width, 2)
        self.layers = nn.ModuleList(DecoderLayer(config) for _ in range(config.decoder_layers))

    def forward(self, memory: Memory, head: LocalizationHead) -> dict[str, Tensor]:
        """Decode.

        Args:
            memory: of the shared encoder.
            head: of the same dataset.

        Returns:
            ``logits`` (layers, B, Q, K), ``boxes`` (layers, B, Q, 4) cxcywh normalised, ``proposal_logits`` (B, T, K),
            ``proposal_boxes`` (B, T, 4), ``proposal_centres`` (T, 2).

        Raises:
            ConfigError: more queries than memory tokens.
        """
        proposal_logits, proposal_boxes = head.propose(memory)
        check_queries(self.num_queries, memory.tokens.shape[1])
        best = select_distinct(proposal_logits, proposal_boxes, self.num_queries)
        queries = self.content(_gather(memory.tokens, best))
        boxes = _gather(proposal_boxes, best).detach()
        logits = _gather(proposal_logits, best).detach()
        all_logits, all_boxes = [], []
        for layer, classify, locate in zip(self.layers, head.classes, head.boxes, strict=True):
            # gradients end between the layers: each answers for its own step
            queries = layer(queries, self.position(boxes), boxes, memory)
            new_logits = logits + classify(queries)
            new_boxes = refine(boxes, locate(queries))
            all_logits.append(new_logits)
            all_boxes.append(new_boxes)
            logits, boxes = new_logits.detach(), new_boxes.detach()
        return {
            "logits": torch.stack(all_logits),
            "boxes": torch.stack(all_boxes),
            "proposal_logits": proposal_logits,
            "proposal_boxes": proposal_boxes,
            "proposal_centres": memory.centres(),
        }


def refine(boxes: Tensor, deltas: Tensor) -> Tensor:
    """Move boxes, cxcywh normalised, by deltas in logit space; the result stays inside (0, 1)."""
    return (torch.logit(boxes, eps=1e-4) + deltas).sigmoid()


def num_tokens(image_size: int) -> int:
    """Return the number of memory tokens of a square input."""
    return sum((image_size // stride) ** 2 for stride in LOC_STRIDES)


def check_queries(num_queries: int, tokens: int) -> None:
    """Refuse more queries than there are memory tokens to select them from.

    Raises:
        ConfigError: with both numbers.
    """
    if num_queries > tokens:
        raise ConfigError(
            where="model.localization.num_queries",
            problem=f"{num_queries} queries, but the input has {tokens} memory tokens",
            expected=f"at most {tokens} queries at this image size",
            remedy="Take fewer queries or a larger model.image_size",
        )


@torch.no_grad()
def select_distinct(logits: Tensor, boxes: Tensor, num_queries: int) -> Tensor:
    """Choose the proposals that become queries: the best that don't repeat a better one, then the repetitions.

    Source: Dense Distinct Queries (Zhang et al., CVPR 2023). Without it many queries show the same object, and the
    decoder needs thousands of steps until it suppresses them.

    Args:
        logits: (B, T, K).
        boxes: (B, T, 4), cxcywh normalised.
        num_queries: how many, at most T.

    Returns:
        (B, num_queries) int64, best first.
    """
    scores, order = logits.amax(-1).topk(min(4 * num_queries, logits.shape[1]), dim=1)
    chosen = []
    for image_scores, image_order, image_boxes in zip(scores, order, boxes, strict=True):
        kept = nms(box_convert(image_boxes[image_order], "cxcywh", "xyxy"), image_scores, _DISTINCT_IOU)
        repeated = torch.ones_like(image_order).index_fill_(0, kept, 0) > 0
        chosen.append(torch.cat((image_order[kept], image_order[repeated]))[:num_queries])
    return torch.stack(chosen)


def _gather(values: Tensor, indices: Tensor) -> Tensor:
    return values.gather(1, indices[..., None].expand(-1, -1, values.shape[-1]))
