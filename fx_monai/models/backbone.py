"""The backbone: a timm network that gives feature maps at strides 4, 8, 16 and 32, NCHW, for any input size."""

from __future__ import annotations

from typing import Any

import timm
import torch
import torch.nn.functional as F
from timm.layers import LayerNorm2d
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from fx_monai.errors import ConfigError, DataError
from fx_monai.models.backbone_weights import load_pretrained
from fx_monai.models.config import BackboneConfig

STRIDES = (4, 8, 16, 32)


class Backbone(nn.Module):
    """Feature pyramid of a timm network on grey or colour images.

    Args:
        config: which network, which weights.
        image_size: side of the usual input in pixels. Other sizes work too; Swin shifts the windows of its last stage
            only where the usual input needs more than one of them, as its authors do.

    Raises:
        ConfigError: unknown network, or no features at strides 4 to 32.
        CheckpointError: weights that don't fit.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, config: BackboneConfig, image_size: int = 224) -> None:
        super().__init__()
        # convolutions train a fifth faster on CPU with channels last (lite0, 192 px: 54 -> 44 ms an image)
        self.net = _create(config, image_size).to(memory_format=torch.channels_last)
        for module in self.net.modules():
            if type(module) is nn.Conv2d and module.kernel_size == (1, 1) and module.stride == (1, 1):
                module.__class__ = PointwiseConv2d
        info: Any = self.net.feature_info
        reductions = info.reduction()
        self.levels = [reductions.index(stride) for stride in STRIDES if stride in reductions]
        if len(self.levels) != len(STRIDES):
            raise ConfigError(
                where="model.backbone.name",
                problem=f"'{config.name}' has features at strides {reductions}",
                expected="strides 4, 8, 16 and 32",
                remedy="Take a Swin, ConvNeXt, ResNet or EfficientNet",
            )
        self.channels = tuple(info.channels()[level] for level in self.levels)
        source = timm.get_pretrained_cfg(config.name)
        self.register_buffer(
            "mean", torch.tensor(source.mean).view(1, 3, 1, 1) if source else torch.full((1, 3, 1, 1), 0.5)
        )
        self.register_buffer(
            "std", torch.tensor(source.std).view(1, 3, 1, 1) if source else torch.full((1, 3, 1, 1), 0.5)
        )
        # the accuracy of Swin's own norms, so that imported weights give the same numbers
        self.norm = LayerNorm2d(self.channels[-1], eps=1e-5) if config.stage_norm else nn.Identity()
        self.train_norm_statistics = config.train_norm_statistics
        self.weights = load_pretrained(self, config)
        """Where the weights come from, for logs."""

    def forward(self, image: Tensor) -> list[Tensor]:
        """Return the feature maps at strides 4, 8, 16, 32, without a norm behind the last block.

        Args:
            image: (B, 1, H, W) or (B, 3, H, W) in [0, 1]; sides that are no multiple of 32 are padded at the right and
                the bottom with the mean intensity.

        Raises:
            DataError: another number of channels.
        """
        if image.shape[1] not in (1, 3):
            raise DataError(
                where="image",
                problem=f"it has {image.shape[1]} channels",
                expected="one (grey) or three",
                remedy="Convert the image",
            )
        normalised = (image.expand(-1, 3, -1, -1) - self.mean) / self.std
        height, width = image.shape[-2:]
        normalised = F.pad(normalised, (0, padded(width) - width, 0, padded(height) - height))
        maps = self.net(normalised.contiguous(memory_format=torch.channels_last))
        return [maps[level] for level in self.levels]

    def pool(self, maps: list[Tensor]) -> Tensor:
        """Return the feature that stands for the whole image, (B, C): the mean of the last map, after its norm."""
        return self.norm(maps[-1]).mean(dim=(2, 3))

    def train(self, mode: bool = True) -> Backbone:
        """Switch the mode; BatchNorm keeps its statistics unless the configuration says otherwise."""
        super().train(mode)
        if not self.train_norm_statistics:
            for module in self.net.modules():
                if isinstance(module, _BatchNorm):
                    module.eval()
        return self


def padded(side: int) -> int:
    """Return the side that the backbone pads an image side to: the next multiple of 32."""
    return -(-side // STRIDES[-1]) * STRIDES[-1]


class PointwiseConv2d(nn.Conv2d):
    """A 1 x 1 convolution as a matrix product over the channels; the same parameters and results as ``nn.Conv2d``.

    With channels last the product needs no copy, and PyTorch's own 1 x 1 convolution is slow on CPUs (lite0, 160 px: 37
    -> 29 ms of training an image with one thread, 28 -> 17 ms with two).
    """

    def forward(self, x: Tensor) -> Tensor:
        """Convolve (B, C, H, W)."""
        if self.groups != 1:
            return super().forward(x)
        return F.linear(x.permute(0, 2, 3, 1), self.weight.flatten(1), self.bias).permute(0, 3, 1, 2)


def _create(config: BackboneConfig, image_size: int) -> nn.Module:
    if not timm.is_model(config.name):
        close = timm.list_models(f"*{config.name.split('_')[0]}*")[:3]
        raise ConfigError(
            where="model.backbone.name",
            problem=f"timm has no model '{config.name}'" + (f"; it has {', '.join(close)}" if close else ""),
            expected="the name of a timm model",
            remedy="Correct the name",
        )
    options: dict[str, Any] = {}
    if config.name.startswith("swin_"):
        # at the size the window is made for, one window covers the last map, and its authors don't shift it there
        source = timm.get_pretrained_cfg(config.name)
        native = source.input_size[-1] if source else image_size
        shifted = config.shift_single_window or image_size > native
        options = {"feature_cls": "getter", "strict_img_size": False, "always_partition": shifted}
    elif "swin" in config.name:
        options = {"feature_cls": "getter", "strict_img_size": False}
    net = timm.create_model(
        config.name, pretrained=False, features_only=True, drop_path_rate=config.drop_path, **options
    )
    if config.gradient_checkpointing:
        _checkpoint(net, config.name)
    return net


def _checkpoint(net: nn.Module, name: str) -> None:
    for module in (net, *net.children()):
        if hasattr(module, "set_grad_checkpointing"):
            # timm's networks carry no types
            module.set_grad_checkpointing(True)  # type: ignore[operator]
            return
    raise ConfigError(
        where="model.backbone.gradient_checkpointing",
        problem=f"timm's {name} can't do it",
        expected="false, or a Swin, ConvNeXt or ResNet",
        remedy="Turn it off",
    )
