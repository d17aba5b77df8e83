"""The localization branch, of the size that the configuration names."""

from __future__ import annotations

from collections.abc import Sequence

from torch import nn

from fx_monai.models.config import LocalizationConfig
from fx_monai.models.localization_dino import DinoDecoder, DinoEncoder, DinoHead
from fx_monai.models.localization_light import LightDecoder, LightHead
from fx_monai.models.localization_light_encoder import LightEncoder


def build_encoder(channels: Sequence[int], config: LocalizationConfig) -> nn.Module:
    """Return the shared encoder: maps at strides 8, 16 and 32 -> :class:`fx_monai.models.localization_memory.Memory`.

    Args:
        channels: of the three maps.
        config: sizes.
    """
    return DinoEncoder(channels, config) if config.size == "dino" else LightEncoder(channels, config)


def build_decoder(config: LocalizationConfig) -> nn.Module:
    """Return a decoder, called with the memory, the head of the dataset and, in training, the annotated boxes.

    It returns ``logits`` (layers, B, Q, K) and ``boxes`` (layers, B, Q, 4) cxcywh normalised (without gradients perhaps
    of the last layer only), ``proposal_logits`` (B, T, K), ``proposal_boxes`` (B, T, 4), and of the tokens
    ``proposal_centres`` (T, 2) and ``proposal_spacing`` (T,), see :class:`fx_monai.models.localization_memory.Memory`;
    with ``distribution_bins`` also ``edges`` (layers, B, Q, 4, bins + 1) and ``edge_boxes`` (layers, B, Q, 4), see
    :func:`fx_monai.models.edge_distribution.move_edges`; with denoising queries the same for them, see
    :func:`fx_monai.models.localization_layers.pack_predictions`.
    """
    return DinoDecoder(config) if config.size == "dino" else LightDecoder(config)


def build_head(config: LocalizationConfig, num_classes: int) -> nn.Module:
    """Return what belongs to one dataset beside its decoder: proposals, class and box outputs, denoising queries."""
    return DinoHead(config, num_classes) if config.size == "dino" else LightHead(config, num_classes)


def num_tokens(config: LocalizationConfig, image_size: int) -> int:
    """Return the number of memory tokens of a square input of that many pixels, a multiple of 32."""
    # the fourth level comes from a convolution of stride 2, which rounds up
    sides = [image_size // 8, image_size // 16, image_size // 32, (image_size // 32 + 1) // 2]
    return sum(side**2 for side in sides[: config.levels])
