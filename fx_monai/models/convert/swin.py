"""Swin backbones of the original authors' layout, as Swin, Ark and Foundation X files hold them.

Source: key names of Swin Transformer (Liu et al., ICCV 2021); timm moved the downsampling from the end of a stage to
the start of the next one.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from torch import Tensor

from fx_monai.errors import CheckpointError
from fx_monai.models.convert.rules import Rule

_SIZES = {(96, 6): "tiny", (96, 18): "small", (128, 18): "base", (192, 18): "large"}
_WINDOWS = {7: 224, 12: 384}

COMPUTED = "computed from the window size"
CLASSIFIER = "classifier of the pretraining, not part of a backbone"


@dataclass(frozen=True)
class SwinShape:
    """Which Swin a file holds.

    Args:
        name: of the timm model.
        image_size: side that its window is made for.
    """

    name: str
    image_size: int


def swin_shape(state: Mapping[str, Tensor], prefix: str, *, where: str) -> SwinShape:
    """Tell which Swin the keys under a prefix belong to.

    Raises:
        CheckpointError: none of Swin-T, S, B, L with window 7 or 12.
    """
    width = state[f"{prefix}patch_embed.proj.weight"].shape[0]
    blocks = re.compile(rf"{re.escape(prefix)}layers\.2\.blocks\.\d+\.norm1\.weight")
    depth = sum(bool(blocks.fullmatch(key)) for key in state)
    rows = state[f"{prefix}layers.0.blocks.0.attn.relative_position_bias_table"].shape[0]
    window = (round(rows**0.5) + 1) // 2
    if (width, depth) not in _SIZES or window not in _WINDOWS:
        raise CheckpointError(
            where=where,
            problem=f"a Swin of width {width} with {depth} blocks in stage 3 and window {window}",
            expected="Swin-T, S, B or L with window 7 or 12",
            remedy="Take weights of one of these",
        )
    side = _WINDOWS[window]
    return SwinShape(f"swin_{_SIZES[width, depth]}_patch4_window{window}_{side}", side)


def backbone_rules(prefix: str, target: str, *, downsample_at_start: bool = False) -> list[Rule]:
    """Return the rules of one Swin.

    Args:
        prefix: of the foreign keys.
        target: prefix of the own keys of a :class:`fx_monai.models.backbone.Backbone`.
        downsample_at_start: the file has timm's layout.
    """
    start = re.escape(prefix)
    net = f"{target}net.model."

    def downsample(match: re.Match[str]) -> str:
        stage = int(match[1]) + (0 if downsample_at_start else 1)
        return f"{net}layers.{stage}.downsample.{match[2]}"

    return [
        Rule(rf"{start}layers\.\d+\.blocks\.\d+\.(attn\.relative_position_index|attn_mask)", None, COMPUTED),
        Rule(rf"{start}layers\.(\d+)\.downsample\.(.+)", downsample),
        Rule(rf"{start}(patch_embed\..+|layers\..+)", rf"{net}\1"),
        Rule(rf"{start}norm\.(weight|bias)", rf"{target}norm.\1"),
        Rule(rf"{start}head\..+", None, CLASSIFIER),
    ]
