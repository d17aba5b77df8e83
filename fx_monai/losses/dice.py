"""Soft Dice over all classes at once.

Source: the segmentation loss of Foundation X (WACV 2025, code). Deviation: un-annotated channels count for nothing.
Large findings outweigh small ones, and a batch of empty masks has a loss of nearly 1 with nearly no gradient, therefore
:func:`fx_monai.losses.dice_ce.dice_ce` is the default.
"""

from __future__ import annotations

import torch
from torch import Tensor

from fx_monai.ops.global_sum import global_sum

# in pixels, as the authors have it
_SMOOTHING = 1.0


def flat_dice(logits: Tensor, masks: Tensor, annotated: Tensor) -> Tensor:
    """Return the Dice loss over all annotated pixels of the batch (of all processes), (); 0 if nothing is annotated.

    Args:
        logits: (B, K, H, W).
        masks: (B, K, H, W), 0 or 1.
        annotated: (B, K) bool, channels that were looked for.
    """
    counted = annotated[..., None, None].to(logits.dtype)
    probability, target = logits.sigmoid() * counted, masks.to(logits.dtype) * counted
    sums = global_sum(torch.stack([(probability * target).sum(), probability.sum(), target.sum()]))
    overlap, predicted, inside = sums
    return 1 - (2 * overlap + _SMOOTHING) / (predicted + inside + _SMOOTHING)
