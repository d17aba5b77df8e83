"""Soft Dice plus binary cross-entropy for overlapping masks.

Source: V-Net (Milletari et al., 3DV 2016) for soft Dice; the sum with cross-entropy as in nnU-Net (Nature Methods,
2021). Deviations: un-annotated channels count for nothing; a class that is empty in the whole batch has no
Dice term, because that term would be 1 for any prediction but exact zeros and drown the rare images with a finding.
"""

from __future__ import annotations

import torch.nn.functional as F
from monai.losses import DiceLoss
from torch import Tensor

# smoothing is in pixels: it only matters for masks of a few pixels
_DICE = DiceLoss(batch=True, reduction="none", smooth_nr=1.0, smooth_dr=1.0)


def dice_ce(logits: Tensor, masks: Tensor, annotated: Tensor) -> tuple[Tensor, Tensor]:
    """Return the Dice loss and the cross-entropy, () each; 0 with a gradient path of zeros if nothing is annotated.

    The Dice loss is computed per class over the pixels of the whole batch (small batches have many empty masks) and
    averaged over the classes that occur in it. The cross-entropy is the mean over the pixels of annotated channels.

    Args:
        logits: (B, K, H, W).
        masks: (B, K, H, W), 0 or 1.
        annotated: (B, K) bool, channels that were looked for.
    """
    counted = annotated[..., None, None].to(logits.dtype)
    target = masks.to(logits.dtype) * counted
    per_class = _DICE(logits.sigmoid() * counted, target).flatten()
    occurs = target.sum(dim=(0, 2, 3)) > 0
    dice = (per_class * occurs).sum() / occurs.sum().clamp(min=1)
    losses = F.binary_cross_entropy_with_logits(logits, target, reduction="none").mean(dim=(2, 3))
    return dice, (losses * annotated).sum() / annotated.sum().clamp(min=1)
