"""Area under the ROC curve per class; NaN where it isn't defined."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.stats import rankdata


def auroc_per_class(scores: NDArray[np.floating], labels: NDArray[np.floating]) -> NDArray[np.float64]:
    """Return the AUC of every class.

    Source: Hanley & McNeil, Radiology 1982 (the rank form of Mann and Whitney); ties count half.

    Args:
        scores: (N, K), higher = more likely.
        labels: (N, K): 1 present, 0 absent, anything else (NaN, uncertain) left out.

    Returns:
        (K,), NaN for a class without positives or without negatives.
    """
    result = np.full(scores.shape[1], np.nan)
    for k in range(scores.shape[1]):
        known = (labels[:, k] == 0) | (labels[:, k] == 1)
        positive = labels[known, k] == 1
        num_positive, num_negative = int(positive.sum()), int((~positive).sum())
        if num_positive and num_negative:
            ranks = rankdata(scores[known, k])
            above = ranks[positive].sum() - num_positive * (num_positive + 1) / 2
            result[k] = above / (num_positive * num_negative)
    return result


def macro(values: NDArray[np.float64]) -> float:
    """Return the mean of the defined values, NaN when none is."""
    defined = values[~np.isnan(values)]
    return float(defined.mean()) if len(defined) else float("nan")
