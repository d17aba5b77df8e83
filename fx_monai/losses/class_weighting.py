"""Weights against class imbalance, from the numbers of training labels.

Source: "balanced" is the usual inverse frequency; the effective number of samples Cui et al. (CVPR 2019), Eq. 2, with
beta 0.999: further samples of a class that has thousands count ever less. Deviation: where several classes may hold,
the positives and the negatives of one class are weighed against each other.
"""

from __future__ import annotations

from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from fx_monai.ops.label_counts import LabelCounts

BETA = 0.999

Rule = Literal["balanced", "effective_number"]


def positive_weights(counts: LabelCounts, rule: Rule) -> Tensor:
    """Return what a positive label of each class counts when a negative one counts 1, (K,) float32.

    A class without positives or without negatives has nothing to weigh and keeps 1.
    """
    positive, negative = _mass(counts.positive, rule), _mass(counts.negative, rule)
    known = (positive > 0) & (negative > 0)
    return _tensor(np.where(known, negative / np.where(known, positive, 1), 1))


def exclusive_weights(counts: LabelCounts, rule: Rule) -> Tensor:
    """Return what an image of each class counts, (K,) float32, when exactly one class holds; 1 on average over images.

    A class without images keeps 1.
    """
    mass = _mass(counts.positive, rule)
    weights = np.where(mass > 0, 1 / np.where(mass > 0, mass, 1), 0)
    total = (counts.positive * weights).sum()
    return _tensor(np.where(mass > 0, weights * counts.positive.sum() / max(total, 1e-12), 1))


def _mass(number: NDArray[np.float64], rule: Rule) -> NDArray[np.float64]:
    return number if rule == "balanced" else (1 - BETA**number) / (1 - BETA)


def _tensor(weights: NDArray[np.float64]) -> Tensor:
    return torch.from_numpy(weights.astype(np.float32))
