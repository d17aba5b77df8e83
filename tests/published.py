"""Files as other projects publish them, made from networks of ours or of timm."""

import re

import timm
import torch

SWIN = "swin_tiny_patch4_window7_224"


def swin(seed=0):
    """Return timm's Swin-T with classifier."""
    torch.manual_seed(seed)
    return timm.create_model(SWIN, num_classes=5, strict_img_size=False).eval()


def old_layout(state, prefix=""):
    """Rename timm's Swin keys to those of its authors: downsampling at the end of a stage, buffers stored."""
    renamed = {}
    for key, value in state.items():
        key = re.sub(r"layers\.(\d)\.downsample", lambda m: f"layers.{int(m[1]) - 1}.downsample", key)
        renamed[prefix + key.replace("head.fc.", "head.")] = value
    for stage in range(4):
        for block in range((2, 2, 6, 2)[stage]):
            start = f"{prefix}layers.{stage}.blocks.{block}."
            renamed[f"{start}attn.relative_position_index"] = torch.zeros(49, 49, dtype=torch.int64)
            if block % 2:
                renamed[f"{start}attn_mask"] = torch.zeros(1, 49, 49)
    return renamed
