"""What the localization branch of both sizes is made of."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from fx_monai.errors import ConfigError
from fx_monai.models.config import LocalizationConfig
from fx_monai.models.deformable_attention import DeformableAttention
from fx_monai.models.denoising import DenoisingQueries
from fx_monai.models.layers import mlp
from fx_monai.models.localization_memory import Memory


class DecoderLayer(nn.Module):
    """Self-attention among the queries, deformable attention to the memory, feed-forward; norms come last."""

    def __init__(self, config: LocalizationConfig) -> None:
        super().__init__()
        width = config.width
        self.self_attention = nn.MultiheadAttention(width, config.heads, batch_first=True)
        self.cross_attention = DeformableAttention(width, config.heads, config.levels, config.points)
        self.feedforward = mlp(width, config.feedforward, width, 2)
        self.norms = nn.ModuleList(nn.LayerNorm(width) for _ in range(3))

    def forward(
        self, queries: Tensor, positions: Tensor, references: Tensor, memory: Memory, blocked: Tensor | None = None
    ) -> Tensor:
        """Return the updated queries (B, Q, D).

        Args:
            queries: (B, Q, D).
            positions: (B, Q, D), added where attention asks and is asked, not to what it returns.
            references: (B, Q, 4), cxcywh normalised.
            memory: of the encoder.
            blocked: (Q, Q) bool, True where a query (row) must not see another (column).
        """
        placed = queries + positions
        attended, _ = self.self_attention(placed, placed, queries, need_weights=False, attn_mask=blocked)
        queries = self.norms[0](queries + attended)
        attended = self.cross_attention(queries + positions, references, memory.tokens, memory.shapes)
        queries = self.norms[1](queries + attended)
        return self.norms[2](queries + self.feedforward(queries))


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


def refine(boxes: Tensor, deltas: Tensor) -> Tensor:
    """Move boxes, cxcywh normalised, by deltas in logit space; the result stays inside (0, 1)."""
    return (torch.logit(boxes, eps=1e-4) + deltas).sigmoid()


def gather(values: Tensor, indices: Tensor) -> Tensor:
    """Return the rows (B, N, D) of (B, T, D) that (B, N) names."""
    return values.gather(1, indices[..., None].expand(-1, -1, values.shape[-1]))


def zero_last_linear(module: nn.Module) -> None:
    """Make a head answer with nothing at first, so that boxes begin at what they refine."""
    last = [layer for layer in module.modules() if isinstance(layer, nn.Linear)][-1]
    nn.init.zeros_(last.weight)
    nn.init.zeros_(last.bias)


def pack_predictions(
    layers: Mapping[str, Sequence[Tensor]], num_queries: int, denoising: DenoisingQueries | None
) -> dict[str, Tensor]:
    """Stack what the decoder layers predict, and keep denoising queries apart from matching queries.

    Args:
        layers: per name one tensor (B, Q + N, ...) per layer.
        num_queries: Q.
        denoising: what the other N queries are.

    Returns:
        Per name (layers, B, Q, ...); with denoising queries also ``denoising_<name>`` (layers, B, N, ...) and
        ``denoising_target`` (B, N), see :class:`fx_monai.models.denoising.DenoisingQueries`.
    """
    stacked = {name: torch.stack(list(tensors)) for name, tensors in layers.items()}
    predictions = {name: tensor[:, :, :num_queries] for name, tensor in stacked.items()}
    if denoising is not None:
        predictions |= {f"denoising_{name}": tensor[:, :, num_queries:] for name, tensor in stacked.items()}
        predictions["denoising_target"] = denoising.target
    return predictions
