"""Sizes of the network, checked when they are made."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal

from fx_monai.errors import ConfigError

_STRICT: dict[str, Any] = {"extra": "forbid"}


@dataclass(frozen=True)
class BackboneConfig:
    """The backbone, any timm model that gives features at strides 4, 8, 16 and 32.

    Args:
        name: timm's name.
        pretrained: ``auto`` (ImageNet weights of the CPU backbone from an installed package), ``none`` (random),
            ``timm:NAME`` (timm downloads these weights; only when asked for), or the path of weights: of timm, of the
            Swin authors, of Ark, of Foundation X, or ``model.pt`` of a run.
        drop_path: stochastic depth rate.
        stage_norm: LayerNorm before pooling, and on the maps that localization reads; for networks that end without a
            norm of their own (Swin, ConvNeXt).
        train_norm_statistics: let BatchNorm of the backbone collect running statistics. Off by default, because small
            batches of ever-changing datasets make them drift away from every single dataset.
        gradient_checkpointing: compute activations a second time in the backward pass instead of keeping them: a
            tenth of the memory, 1.4 times the time (Swin).
        shift_single_window: Swin shifts its windows also where one window covers the whole map, as Foundation X does.
    """

    __pydantic_config__: ClassVar[dict[str, Any]] = _STRICT

    name: str = "tf_efficientnet_lite0"
    pretrained: str = "auto"
    drop_path: float = 0.0
    stage_norm: bool = False
    train_norm_statistics: bool = False
    gradient_checkpointing: bool = False
    shift_single_window: bool = False

    def __post_init__(self) -> None:
        """Refuse rates that are none."""
        if not 0 <= self.drop_path < 1:
            raise ConfigError(
                where="model.backbone.drop_path",
                problem=f"{self.drop_path}",
                expected="a rate of at least 0 and below 1",
                remedy="Correct the value",
            )


@dataclass(frozen=True)
class ProjectorConfig:
    """The projector of Ark between the pooled feature and the classification heads; the consistency loss reads it too.

    Args:
        width: channels; Ark has 1376.
        layers: 1 = one linear layer; more have ReLU between them.
    """

    __pydantic_config__: ClassVar[dict[str, Any]] = _STRICT

    width: int = 1376
    layers: int = 1

    def __post_init__(self) -> None:
        """Refuse sizes that can't be built."""
        _positive("projector", self, ("width", "layers"))


@dataclass(frozen=True)
class LocalizationConfig:
    """The localization branch of size ``light`` (after RT-DETR, arXiv 2304.08069).

    Args:
        width: channels of memory and queries.
        num_queries: boxes per image; at most the number of memory tokens.
        decoder_layers: refinement steps.
        heads: attention heads; must divide ``width``.
        points: sampling points per head and level.
        feedforward: hidden width of the feed-forward layers.
    """

    __pydantic_config__: ClassVar[dict[str, Any]] = _STRICT

    width: int = 128
    num_queries: int = 100
    decoder_layers: int = 3
    heads: int = 8
    points: int = 4
    feedforward: int = 256

    def __post_init__(self) -> None:
        """Refuse sizes that can't be built."""
        _positive("localization", self, ("width", "num_queries", "decoder_layers", "heads", "points", "feedforward"))
        if self.width % self.heads or self.width % 8:
            raise ConfigError(
                where="model.localization.width",
                problem=f"{self.width} with {self.heads} heads",
                expected="a multiple of the number of heads and of 8",
                remedy="Change width or heads",
            )


@dataclass(frozen=True)
class SegmentationConfig:
    """The segmentation branch.

    Args:
        width: channels of the fused feature.
        decoder: ``light`` (levels are summed), or ``upernet`` (levels are concatenated, wide pyramid pooling: the
            paper's, 20.9 M parameters on Swin-B).
        norm: ``group``, or ``batch`` for imported Foundation X weights; the latter only with ``upernet``.
    """

    __pydantic_config__: ClassVar[dict[str, Any]] = _STRICT

    width: int = 64
    decoder: Literal["light", "upernet"] = "light"
    norm: Literal["group", "batch"] = "group"

    def __post_init__(self) -> None:
        """Refuse sizes that can't be built."""
        _positive("segmentation", self, ("width",))
        # a group of one channel has no variance where the map is pooled to one pixel
        if self.width % 16:
            raise ConfigError(
                where="model.segmentation.width",
                problem=f"{self.width}",
                expected="a multiple of 16",
                remedy="Change the width",
            )
        if self.norm == "batch" and self.decoder != "upernet":
            raise ConfigError(
                where="model.segmentation.norm",
                problem="'batch' with the decoder 'light'",
                expected="'group'; batch normalisation is there for imported weights",
                remedy="Set model.segmentation.norm to group",
            )


@dataclass(frozen=True)
class ModelConfig:
    """The whole network.

    Args:
        image_size: side of the square input in pixels, a multiple of 32.
        projector: between pooled feature and classification heads; absent = none.
    """

    __pydantic_config__: ClassVar[dict[str, Any]] = _STRICT

    backbone: BackboneConfig = field(default_factory=BackboneConfig)
    localization: LocalizationConfig = field(default_factory=LocalizationConfig)
    segmentation: SegmentationConfig = field(default_factory=SegmentationConfig)
    projector: ProjectorConfig | None = None
    image_size: int = 224

    def __post_init__(self) -> None:
        """Refuse sizes that can't be built."""
        if self.image_size < 64 or self.image_size % 32:
            raise ConfigError(
                where="model.image_size",
                problem=f"{self.image_size}",
                expected="a multiple of 32, at least 64",
                remedy="Take for example 224",
            )


def _positive(section: str, config: object, names: tuple[str, ...]) -> None:
    for name in names:
        if getattr(config, name) < 1:
            raise ConfigError(
                where=f"model.{section}.{name}",
                problem=f"{getattr(config, name)}",
                expected="at least 1",
                remedy="Correct the value",
            )
