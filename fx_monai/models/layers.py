"""Small layers that several branches use."""

from __future__ import annotations

from torch import nn


def conv_norm_act(in_channels: int, out_channels: int, kernel: int = 3) -> nn.Sequential:
    """Return convolution, GroupNorm (8 groups, so that a batch of 1 trains) and ReLU; the size stays."""
    return nn.Sequential(
        nn.Conv2d(in_channels, out_channels, kernel, padding=kernel // 2, bias=False),
        nn.GroupNorm(8, out_channels),
        nn.ReLU(inplace=True),
    )


def mlp(width_in: int, width: int, width_out: int, layers: int) -> nn.Sequential:
    """Return a perceptron of linear layers with ReLU between them."""
    widths = [width_in, *[width] * (layers - 1), width_out]
    modules: list[nn.Module] = []
    for index in range(layers):
        modules += [nn.Linear(widths[index], widths[index + 1]), nn.ReLU(inplace=True)]
    return nn.Sequential(*modules[:-1])
