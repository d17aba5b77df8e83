"""Cross-entropy for classes of which exactly one holds.

Source: the usual one. Deviation: images with an unknown label count for nothing.
"""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor

from fx_monai.losses.masked_bce import mean_of_known


def masked_cross_entropy(logits: Tensor, labels: Tensor, class_weight: Tensor | None = None) -> Tensor:
    """Return the mean over the images whose labels are all known, (); 0 with a gradient path of zeros if there is none.

    Args:
        logits: (B, K).
        labels: (B, K), one-hot (or a distribution); NaN unknown.
        class_weight: (K,), what an image of each class counts; None = the same.
    """
    known = ~labels.isnan().any(dim=1)
    losses = F.cross_entropy(logits, labels.nan_to_num(0.0), weight=class_weight, reduction="none")
    return mean_of_known(losses, known)
