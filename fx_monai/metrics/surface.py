"""95th percentile of the Hausdorff distance per image and class, with a stated policy for empty masks."""

from __future__ import annotations

import math
import warnings

import torch
from monai.metrics.hausdorff_distance import compute_hausdorff_distance
from torch import Tensor


def hd95_per_image(predicted: Tensor, masks: Tensor) -> Tensor:
    """Return the 95th percentile of the distances between both outlines, the larger of both directions.

    MONAI's computation. It has no value where a mask is empty: an empty prediction of an empty mask is right, 0 pixels;
    if only one of both is empty, the distance is the image's diagonal, the largest there can be.

    Args:
        predicted: (B, K, H, W), 0 or 1.
        masks: (B, K, H, W), 0 or 1.

    Returns:
        (B, K) float64 in pixels of the masks.
    """
    found, true = predicted.flatten(2).any(-1).cpu(), masks.flatten(2).any(-1).cpu()
    diagonal = math.hypot(*masks.shape[-2:])
    result = torch.where(found == true, 0.0, diagonal).double()
    with warnings.catch_warnings():
        # MONAI 1.6 calls its own deprecated argument
        warnings.simplefilter("ignore", FutureWarning)
        for b, k in (found & true).nonzero().tolist():
            pair = (predicted[b : b + 1, k : k + 1], masks[b : b + 1, k : k + 1])
            result[b, k] = float(compute_hausdorff_distance(*pair, include_background=True, percentile=95))
    return result
