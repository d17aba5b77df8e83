"""Binary cross-entropy over the labels that are known.

Source: the usual multi-label loss of Foundation X (Sec. 3) and Ark. Deviation: unknown labels (NaN) count for nothing.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from fx_monai.ops.global_sum import global_sum


def masked_bce(logits: Tensor, labels: Tensor, positive_weight: Tensor | None = None) -> Tensor:
    """Return the mean over all known labels, (); 0 with a gradient path of zeros if none is known.

    Args:
        logits: (B, K).
        labels: (B, K): 1 present, 0 absent, values between for smoothed labels, NaN unknown.
        positive_weight: (K,), what a positive counts against a negative; None = the same.
    """
    known = ~labels.isnan()
    losses = F.binary_cross_entropy_with_logits(
        logits, labels.nan_to_num(0.0), pos_weight=positive_weight, reduction="none"
    )
    return mean_of_known(losses, known)


def mean_of_known(losses: Tensor, known: Tensor) -> Tensor:
    """Return the mean of the losses that count, over all processes, (); 0 if none does.

    Args:
        losses: any shape.
        known: the same shape, bool.
    """
    total, count = global_sum(torch.stack([(losses * known).sum(), known.sum().to(losses.dtype)]))
    return total / count.clamp(min=1)
