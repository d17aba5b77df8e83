"""The localization decoder and head of one dataset, size ``light``.

Source: RT-DETR (Zhao et al., CVPR 2024): the best memory tokens become queries, a few layers refine their boxes;
box refinement and deformable attention after Deformable DETR (ICLR 2021); optionally boxes as distributions after
D-FINE (ICLR 2025). Deviations, all for datasets of a few hundred images: every token is a supervised proposal (one
object has many, as in FCOS), and a decoder layer predicts what changes against the layer before for the classes too, so
that decoding starts from the proposals.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torchvision.ops import box_convert, box_iou

from fx_monai.models.config import LocalizationConfig
from fx_monai.models.denoising import Denoiser
from fx_monai.models.edge_distribution import move_edges
from fx_monai.models.layers import mlp
from fx_monai.models.localization_layers import (
    DecoderLayer,
    check_queries,
    gather,
    pack_predictions,
    refine,
    zero_last_linear,
)
from fx_monai.models.localization_memory import Memory
from fx_monai.ops.box_targets import BoxTargets

# side of a proposal's prior box on the finest level, as a fraction of the image; doubles with every level
_PRIOR_SIDE = 0.08
_PRIOR_LOGIT = math.log(0.01 / 0.99)
# proposals that overlap a better one by more than this IoU are repetitions
_DISTINCT_IOU = 0.5


class LightHead(nn.Module):
    """What belongs to one dataset beside its decoder: proposals, class and box outputs, denoising queries.

    Args:
        config: sizes.
        num_classes: classes of the dataset (sigmoid each, no background class).
    """

    def __init__(self, config: LocalizationConfig, num_classes: int) -> None:
        super().__init__()
        width, layers = config.width, config.decoder_layers
        outputs = 4 * (config.distribution_bins + 1) if config.distribution_bins else 4
        self.proposal = nn.Sequential(nn.Linear(width, width), nn.LayerNorm(width), nn.ReLU(inplace=True))
        self.proposal_class = nn.Linear(width, num_classes)
        self.proposal_box = mlp(width, width, 4, 2)
        self.classes = nn.ModuleList(nn.Linear(width, num_classes) for _ in range(layers))
        self.boxes = nn.ModuleList(mlp(width, width, outputs, 3) for _ in range(layers))
        self.denoiser = Denoiser(config, num_classes) if config.denoising_queries else None
        nn.init.constant_(self.proposal_class.bias, _PRIOR_LOGIT)
        # every output starts at what it refines: boxes at their prior, decoder layers at the proposals
        for module in (self.proposal_box, *self.classes, *self.boxes):
            zero_last_linear(module)

    def propose(self, memory: Memory) -> tuple[Tensor, Tensor]:
        """Return class logits (B, T, K) and boxes (B, T, 4), cxcywh normalised, of every token."""
        hidden = self.proposal(memory.tokens)
        side = _PRIOR_SIDE * 2.0 ** memory.levels()[:, None].expand(-1, 2)
        prior = torch.cat((memory.centres(), side), dim=-1)
        return self.proposal_class(hidden), refine(prior, self.proposal_box(hidden))


class LightDecoder(nn.Module):
    """Turns the best proposals into queries and refines them.

    Args:
        config: sizes.
    """

    def __init__(self, config: LocalizationConfig) -> None:
        super().__init__()
        self.num_queries, self.bins = config.num_queries, config.distribution_bins
        self.content = nn.Sequential(nn.Linear(config.width, config.width), nn.LayerNorm(config.width))
        self.position = mlp(4, 2 * config.width, config.width, 2)
        self.layers = nn.ModuleList(DecoderLayer(config) for _ in range(config.decoder_layers))

    def forward(self, memory: Memory, head: LightHead, targets: BoxTargets | None = None) -> dict[str, Tensor]:
        """Decode; see :func:`fx_monai.models.localization.build_decoder`.

        Raises:
            ConfigError: more queries than memory tokens.
        """
        proposal_logits, proposal_boxes = head.propose(memory)
        check_queries(self.num_queries, memory.tokens.shape[1])
        best = select_distinct(proposal_logits, proposal_boxes, self.num_queries)
        queries = self.content(gather(memory.tokens, best))
        boxes = gather(proposal_boxes, best).detach()
        logits = gather(proposal_logits, best).detach()
        denoising, blocked = None, None
        if head.denoiser is not None:
            queries, boxes, denoising = head.denoiser(queries, boxes, targets)
        if denoising is not None:
            blocked = denoising.blocked(self.num_queries)
            unknown = logits.new_full((*denoising.labels.shape, logits.shape[-1]), _PRIOR_LOGIT)
            logits = torch.cat((logits, unknown), dim=1)
        layers = self._refine(queries, logits, boxes, memory, head, blocked)
        return {
            **pack_predictions(layers, self.num_queries, denoising),
            "proposal_logits": proposal_logits,
            "proposal_boxes": proposal_boxes,
            "proposal_centres": memory.centres(),
            "proposal_spacing": memory.spacing(),
        }

    def _refine(
        self, queries: Tensor, logits: Tensor, boxes: Tensor, memory: Memory, head: LightHead, blocked: Tensor | None
    ) -> dict[str, list[Tensor]]:
        first = boxes
        edges = boxes.new_zeros(*boxes.shape, self.bins + 1)
        found: dict[str, list[Tensor]] = {"logits": [], "boxes": []}
        if self.bins:
            found |= {"edges": [], "edge_boxes": []}
        for layer, classify, locate in zip(self.layers, head.classes, head.boxes, strict=True):
            queries = layer(queries, self.position(boxes), boxes, memory, blocked)
            # gradients end between the layers: each answers for its own step
            logits = logits.detach() + classify(queries)
            if self.bins:
                edges = edges.detach() + locate(queries).unflatten(-1, (4, -1))
                boxes = move_edges(first, edges)
                found["edges"].append(edges)
                found["edge_boxes"].append(first)
            else:
                boxes = refine(boxes, locate(queries))
            found["logits"].append(logits)
            found["boxes"].append(boxes)
            boxes = boxes.detach()
        return found


@torch.no_grad()
def select_distinct(logits: Tensor, boxes: Tensor, num_queries: int) -> Tensor:
    """Choose the proposals that become queries: the best that don't repeat a better one, then the repetitions.

    Source: Dense Distinct Queries (Zhang et al., CVPR 2023). Without it many queries show the same object, and the
    decoder needs thousands of steps until it suppresses them. Deviation: what repeats a repetition counts as one too,
    so that all images are compared at once.

    Args:
        logits: (B, T, K).
        boxes: (B, T, 4), cxcywh normalised.
        num_queries: how many, at most T.

    Returns:
        (B, num_queries) int64, best first.
    """
    order = logits.amax(-1).topk(min(4 * num_queries, logits.shape[1]), dim=1).indices
    corners = box_convert(gather(boxes, order), "cxcywh", "xyxy")
    overlaps = torch.stack([box_iou(image, image) for image in corners])
    repeated = (overlaps.tril(-1) > _DISTINCT_IOU).any(dim=-1)
    rank = torch.arange(order.shape[1], device=order.device) + repeated * order.shape[1]
    return order.gather(1, rank.argsort(dim=1)[:, :num_queries])
