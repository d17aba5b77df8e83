"""The trunk: the parts that all tasks share, and that the EMA teacher has a copy of.

Source: Foundation X (Islam et al., WACV 2025), method figure.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

from torch import Tensor, nn

from fx_monai.models.backbone import Backbone
from fx_monai.models.config import ModelConfig
from fx_monai.models.localization_encoder import LocalizationEncoder, Memory
from fx_monai.models.segmentation import SegmentationDecoder
from fx_monai.types import Kind


@dataclass(frozen=True)
class TrunkOutput:
    """What the heads read: ``pooled`` (B, C), and memory and fused feature where asked for."""

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
    """The shared parts: backbone, localization encoder, segmentation decoder; the teacher is a copy of it.

    Args:
        config: sizes.
        kinds: kinds of all tasks; a part that no task needs isn't built.
    """

    def __init__(self, config: ModelConfig, kinds: Collection[Kind]) -> None:
        super().__init__()
        self.backbone = Backbone(config.backbone)
        channels = self.backbone.channels
        if Kind.LOCALIZATION in kinds:
            self.loc_encoder = LocalizationEncoder(channels[1:], config.localization)
        if Kind.SEGMENTATION in kinds:
            self.seg_decoder = SegmentationDecoder(channels, config.segmentation.width)

    def forward(self, image: Tensor, kinds: Collection[Kind]) -> TrunkOutput:
        """Run the backbone once, and the parts that the given kinds need.

        Args:
            image: (B, 1, S, S) in [0, 1].
            kinds: what will be read from the output.
        """
        maps = self.backbone(image)
        return TrunkOutput(
            pooled=maps[-1].mean(dim=(2, 3)),
            memory=self.loc_encoder(maps[1:]) if Kind.LOCALIZATION in kinds else None,
            fused=self.seg_decoder(maps) if Kind.SEGMENTATION in kinds else None,
        )

    def features(self, image: Tensor, kind: Kind) -> dict[str, Tensor]:
        """Return the features of one branch.

        Returns:
            ``backbone`` (B, C), the pooled last feature map; for localization also ``loc_memory`` (B, T, D), for
            segmentation ``seg_fused`` (B, D, S / 4, S / 4).
        """
        return self(image, (kind,)).features()
