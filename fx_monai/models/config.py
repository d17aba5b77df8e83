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
            Swin authors, of Ark, of Foundation X, or ``model.pt`` of a run. In the card of weights: where the backbone
            began, in words.
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


# what a size means where the recipe doesn't say otherwise
_LOCALIZATION_SIZES: dict[str, dict[str, int]] = {
    "light": {
        "width": 128,
        "num_queries": 100,
        "encoder_layers": 1,
        "decoder_layers": 3,
        "heads": 8,
        "points": 4,
        "feedforward": 256,
        "denoising_queries": 0,
        "distribution_bins": 0,
    },
    "dino": {
        "width": 256,
        "num_queries": 900,
        "encoder_layers": 6,
        "decoder_layers": 6,
        "heads": 8,
        "points": 4,
        "feedforward": 2048,
        "denoising_queries": 100,
        "distribution_bins": 0,
    },
}


def _of_size() -> Any:
    """Return a field whose default is the one of the size."""
    return field(default=None)


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
    """The localization branch. A value that isn't given is that of the size.

    Args:
        size: ``light`` (after RT-DETR and D-FINE; for CPU and small data) or ``dino`` (the paper's four-scale DINO).
        width: channels of memory and queries.
        num_queries: boxes per image; at most the number of memory tokens.
        encoder_layers: ``light``: attention layers on the coarsest map; ``dino``: deformable layers over all levels.
        decoder_layers: refinement steps.
        heads: attention heads; must divide ``width``.
        points: sampling points per head and level.
        feedforward: hidden width of the feed-forward layers.
        shared_decoder: one decoder for all datasets, a part of the trunk (Foundation X+); queries and heads stay the
            datasets' own.
        denoising_queries: queries per image made of the annotated boxes, in training only; 0 = none.
        label_noise: probability that such a query is asked with a wrong class, times two.
        box_noise: how far the corners of such a query are moved, as a fraction of half its sides.
        distribution_bins: bins of the distribution that says where an edge lies (D-FINE); 0 = plain boxes. ``light``.
        own_refinement: between the layers, boxes are refined by a perceptron of its own, and not by the one that
            predicts boxes; published checkpoints have both. ``dino``.
    """

    __pydantic_config__: ClassVar[dict[str, Any]] = _STRICT

    size: Literal["light", "dino"] = "light"
    width: int = _of_size()
    num_queries: int = _of_size()
    encoder_layers: int = _of_size()
    decoder_layers: int = _of_size()
    heads: int = _of_size()
    points: int = _of_size()
    feedforward: int = _of_size()
    shared_decoder: bool = False
    denoising_queries: int = _of_size()
    label_noise: float = 0.5
    box_noise: float = 1.0
    distribution_bins: int = _of_size()
    own_refinement: bool = False

    @property
    def levels(self) -> int:
        """Number of feature levels."""
        return 4 if self.size == "dino" else 3

    def __post_init__(self) -> None:
        """Fill in the size's values; refuse what can't be built."""
        for name, value in _LOCALIZATION_SIZES[self.size].items():
            if getattr(self, name) is None:
                object.__setattr__(self, name, value)
        _positive(
            "localization",
            self,
            ("width", "num_queries", "encoder_layers", "decoder_layers", "heads", "points", "feedforward"),
        )
        # a group of one channel has no variance where the coarsest map is one pixel
        unit = 64 if self.size == "dino" else 8
        bins = self.distribution_bins
        self._refuse(
            bool(self.width % self.heads or self.width % unit),
            "width",
            f"{self.width} with {self.heads} heads",
            f"a multiple of the number of heads and of {unit}",
        )
        self._refuse(self.denoising_queries < 0, "denoising_queries", f"{self.denoising_queries}", "at least 0")
        self._refuse(not 0 <= self.label_noise <= 1, "label_noise", f"{self.label_noise}", "between 0 and 1")
        self._refuse(not 0 <= self.box_noise <= 1, "box_noise", f"{self.box_noise}", "between 0 and 1")
        self._refuse(
            bool(bins and (self.size == "dino" or bins < 4 or bins % 2)),
            "distribution_bins",
            f"{bins} in size {self.size}",
            "0, or an even number of at least 4 in size light",
        )
        self._refuse(
            self.own_refinement and (self.size == "light" or self.shared_decoder or self.decoder_layers < 2),
            "own_refinement",
            f"true in size {self.size} with {self.decoder_layers} decoder layers, shared: {self.shared_decoder}",
            "size dino with at least two layers and a decoder per dataset",
        )

    def _refuse(self, wrong: bool, name: str, problem: str, expected: str) -> None:
        if wrong:
            raise ConfigError(
                where=f"model.localization.{name}", problem=problem, expected=expected, remedy="Correct the value"
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
