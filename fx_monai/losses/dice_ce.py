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
from torch import Tensor

from fx_monai.ops.global_sum import global_sum

_PIXELS = (0, 2, 3)
# in pixels: it only matters for masks of a few pixels
_SMOOTHING = 1.0


def dice_ce(logits: Tensor, masks: Tensor, annotated: Tensor) -> tuple[Tensor, Tensor]:
    """Return the Dice loss and the cross-entropy, () each; 0 with a gradient path of zeros if nothing is annotated.

    Both are computed per class over the pixels of the whole batch (of all processes), because small batches have many
    empty masks. The Dice loss is averaged over the classes that occur in it. The cross-entropy of a class is the mean
    of its plain mean over pixels and of its mean over inside and outside; it is averaged over the classes that are
    annotated.

    Args:
        logits: (B, K, H, W).
        masks: (B, K, H, W), 0 or 1.
        annotated: (B, K) bool, channels that were looked for.
    """
    counted = annotated[..., None, None].to(logits.dtype).expand_as(logits)
    target = masks.to(logits.dtype) * counted
    probability = logits.sigmoid() * counted
    losses = F.binary_cross_entropy_with_logits(logits, target, reduction="none") * counted
    own = [probability * target, probability, target, counted, losses, losses * target]
    images = [annotated.sum(dim=0).to(logits.dtype)]
    sums = global_sum(torch.stack([*(pixels.sum(dim=_PIXELS) for pixels in own), *images]))
    overlap, predicted, inside, area, loss, loss_inside, annotated_images = sums
    occurs = inside > 0
    dice = 1 - (2 * overlap + _SMOOTHING) / (predicted + inside + _SMOOTHING)
    outside = area - inside
    plain = loss / area.clamp(min=1)
    even = (loss_inside / inside.clamp(min=1) + (loss - loss_inside) / outside.clamp(min=1)) / 2
    cross_entropy = (plain + torch.where(occurs, even, plain)) / 2
    return (
        (dice * occurs).sum() / occurs.sum().clamp(min=1),
        cross_entropy.sum() / (annotated_images > 0).sum().clamp(min=1),
    )
