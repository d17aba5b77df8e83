"""Dice and IoU per image and class, with a stated policy for empty masks."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor


def dice_per_image(predicted: Tensor, masks: Tensor) -> Tensor:
    """Return the Dice coefficient of every image and class.

    Source: Dice, Ecology 1945. An empty prediction of an empty mask is right: 1; with many negatives that makes a
    network that never finds anything look good, so always read it beside the mean over positive images.

    Args:
        predicted: (B, K, H, W), 0 or 1.
        masks: (B, K, H, W), 0 or 1.

    Returns:
        (B, K) float64.
    """
    predicted, masks = predicted.flatten(2).bool(), masks.flatten(2).bool()
    overlap = (predicted & masks).sum(-1).double()
    total = predicted.sum(-1) + masks.sum(-1)
    return torch.where(total == 0, 1.0, 2 * overlap / total.clamp(min=1))


def iou_of_dice(dice: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the intersection over union that belongs to a Dice coefficient (of one image, not of a mean)."""
    return dice / (2 - dice)


def mean_where(
    values: NDArray[np.float64], chosen: NDArray[np.bool_], counts: NDArray[np.float32] | None = None
) -> NDArray[np.float64]:
    """Return the mean over chosen images per class, NaN where none is chosen.

    Args:
        values: (N, K).
        chosen: (N, K).
        counts: (N, R), how often a resample holds an image; default: every image once.

    Returns:
        (K,) without counts, else (K, R).
    """
    weights = np.ones((len(values), 1)) if counts is None else counts
    total = chosen.T.astype(np.float64) @ weights
    mean = np.where(chosen, values, 0.0).T @ weights / np.where(total > 0, total, np.nan)
    return mean[:, 0] if counts is None else mean
