"""Soft Dice plus binary cross-entropy for overlapping masks.

Source: V-Net (Milletari et al., 3DV 2016) for soft Dice; the sum with cross-entropy as in nnU-Net (Nature Methods,
2021). Deviations: un-annotated channels count for nothing; a class that is empty in the whole batch has no
Dice term, because that term would be 1 for any prediction but exact zeros and drown the rare images with a finding;
half of the cross-entropy weighs pixels inside and outside alike, because with a few hundred images the plain mean
teaches small findings to vanish before Dice can pull them up.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from monai.losses import DiceLoss
from torch import Tensor

# smoothing is in pixels: it only matters for masks of a few pixels
_PIXELS = (0, 2, 3)
_DICE = DiceLoss(batch=True, reduction="none", smooth_nr=1.0, smooth_dr=1.0)


def dice_ce(logits: Tensor, masks: Tensor, annotated: Tensor) -> tuple[Tensor, Tensor]:
    """Return the Dice loss and the cross-entropy, () each; 0 with a gradient path of zeros if nothing is annotated.

    Both are computed per class over the pixels of the whole batch, because small batches have many empty masks. The
    Dice loss is averaged over the classes that occur in it. The cross-entropy of a class is the mean of its plain mean
    over pixels and of its mean over inside and outside; it is averaged over the classes that are annotated.

    Args:
        logits: (B, K, H, W).
        masks: (B, K, H, W), 0 or 1.
        annotated: (B, K) bool, channels that were looked for.
    """
    counted = annotated[..., None, None].to(logits.dtype).expand_as(logits)
    target = masks.to(logits.dtype) * counted
    per_class = _DICE(logits.sigmoid() * counted, target).flatten()
    occurs = target.sum(dim=_PIXELS) > 0
    dice = (per_class * occurs).sum() / occurs.sum().clamp(min=1)
    losses = F.binary_cross_entropy_with_logits(logits, target, reduction="none") * counted
    inside, outside = target.sum(dim=_PIXELS), (counted - target).sum(dim=_PIXELS)
    mean_inside = (losses * target).sum(dim=_PIXELS) / inside.clamp(min=1)
    mean_outside = (losses * (1 - target)).sum(dim=_PIXELS) / outside.clamp(min=1)
    plain = losses.sum(dim=_PIXELS) / (inside + outside).clamp(min=1)
    even = torch.where(occurs, (mean_inside + mean_outside) / 2, plain)
    return dice, ((plain + even) / 2).sum() / annotated.any(dim=0).sum().clamp(min=1)
