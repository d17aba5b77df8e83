"""The trunk: the parts that all tasks share, and that the EMA teacher has a copy of.

Source: Foundation X (Islam et al., WACV 2025), method figure.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

from timm.layers import LayerNorm2d
from torch import Tensor, nn

from fx_monai.models.backbone import Backbone
from fx_monai.models.config import ModelConfig
from fx_monai.models.layers import mlp
from fx_monai.models.localization import build_decoder, build_encoder
from fx_monai.models.localization_memory import Memory
from fx_monai.models.segmentation import SegmentationDecoder
from fx_monai.models.upernet import UPerNetDecoder
from fx_monai.types import Kind


@dataclass(frozen=True)
class TrunkOutput:
    """What the heads read: ``pooled`` (B, C), projected if there is a projector; what else was asked for."""

    pooled: Tensor
    memory: Memory | None = None
    fused: Tensor | None = None

    def features(self) -> dict[str, Tensor]:
        """Return the tensors that the consistency loss compares."""
        features = {"backbone": self.pooled}
        if self.memory is not None:
            features["loc_memory"] = self.memory.tokens
        if self.fused is not None:
            features["seg_fused"] = self.fused
        return features


class Trunk(nn.Module):
    """The shared parts; the teacher is a copy of it. Every child is one module group.

    Args:
        config: sizes.
        kinds: kinds of all tasks; a part that no task needs isn't built.
    """

    def __init__(self, config: ModelConfig, kinds: Collection[Kind]) -> None:
        super().__init__()
        self.backbone = Backbone(config.backbone, config.image_size)
        channels = self.backbone.channels
        self.width = channels[-1]
        if config.projector is not None:
            self.width = config.projector.width
            self.projector = mlp(channels[-1], self.width, self.width, config.projector.layers)
        if Kind.LOCALIZATION in kinds:
            encoder = build_encoder(channels[1:], config.localization)
            self.loc_encoder = NormedEncoder(encoder, channels[1:]) if config.backbone.stage_norm else encoder
            if config.localization.shared_decoder:
                self.loc_decoder = build_decoder(config.localization)
        if Kind.SEGMENTATION in kinds:
            upernet = config.segmentation.decoder == "upernet"
            self.seg_decoder = (UPerNetDecoder if upernet else SegmentationDecoder)(channels, config.segmentation)

    def forward(self, image: Tensor, kinds: Collection[Kind]) -> TrunkOutput:
        """Run the backbone once, and the parts that the given kinds need.

        Args:
            image: (B, 1 or 3, H, W) in [0, 1].
            kinds: what will be read from the output.
        """
        maps = self.backbone(image)
        pooled = self.backbone.pool(maps)
        return TrunkOutput(
            pooled=self.projector(pooled) if hasattr(self, "projector") else pooled,
            memory=self.loc_encoder(maps[1:]) if Kind.LOCALIZATION in kinds else None,
            fused=self.seg_decoder(maps) if Kind.SEGMENTATION in kinds else None,
        )

    def features(self, image: Tensor, kind: Kind) -> dict[str, Tensor]:
        """Return the features of one branch.

        Returns:
            ``backbone`` (B, C), the pooled feature; for localization also ``loc_memory`` (B, T, D), for
            segmentation ``seg_fused`` (B, D, S / 4, S / 4).
        """
        return self(image, (kind,)).features()


class NormedEncoder(nn.Module):
    """A localization encoder with a LayerNorm on every map it reads, for backbones that end without a norm.

    The norms belong to the encoder's module group, because no other branch reads what comes out of them.

    Args:
        encoder: reads the maps.
        channels: of the maps.
    """

    def __init__(self, encoder: nn.Module, channels: Sequence[int]) -> None:
        super().__init__()
        self.norms = nn.ModuleList(LayerNorm2d(c, eps=1e-5) for c in channels)
        self.encoder = encoder

    def forward(self, maps: Sequence[Tensor]) -> Memory:
        """Return the memory of the normed maps."""
        return self.encoder([norm(x) for norm, x in zip(self.norms, maps, strict=True)])
