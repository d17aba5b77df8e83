"""AUC and average precision per class, of all images or of many resamples of them at once."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array


@dataclass(frozen=True)
class Ranking:
    """One class, sorted once; a resample is then a product with how often it holds each image.

    Args:
        positive: (G, N) sparse: which positive images have the g-th distinct score of a positive, ascending.
        negative: (2 G + 1, N) sparse: which negative images lie below the first such score (0), have it (1), lie
            between it and the next (2), have that (3), and so on.
    """

    positive: Any
    negative: Any

    def auc_and_ap(self, counts: NDArray[np.float32]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Return area under the ROC curve and average precision of every resample.

        Args:
            counts: (N, R), how often a resample holds an image.

        Returns:
            (R,) each, NaN where a resample has no positive or no negative image.
        """
        # sums of counts stay below 2 ** 24, so float32 is exact
        positive, negative = (np.asarray(part @ counts, dtype=np.float64) for part in (self.positive, self.negative))
        total_positive, total_negative = positive.sum(axis=0), negative.sum(axis=0)
        below = negative.cumsum(axis=0)[0::2][:-1]
        with np.errstate(invalid="ignore", divide="ignore"):
            above = (positive * (below + negative[1::2] / 2)).sum(axis=0)
            auc = above / (total_positive * total_negative)
            true_found = positive[::-1].cumsum(axis=0)[::-1]
            precision = true_found / (true_found + total_negative - below)
            ap = np.where(positive > 0, positive * precision, 0).sum(axis=0) / total_positive
        return auc, np.where(total_negative > 0, ap, np.nan)


def rank(scores: NDArray[np.floating], labels: NDArray[np.floating]) -> Ranking | None:
    """Sort one class.

    Sources: AUC as the rank statistic of Mann and Whitney, ties count half (Hanley & McNeil, Radiology 1982); average
    precision as the sum of precision times step of recall over distinct scores, without interpolation.

    Args:
        scores: (N,), higher = more likely.
        labels: (N,): 1 present, 0 absent, anything else (NaN, uncertain) left out.

    Returns:
        None when nothing can be ranked: no positive image, no negative image, or a score that is NaN.
    """
    positive, negative = np.flatnonzero(labels == 1), np.flatnonzero(labels == 0)
    if not len(positive) or not len(negative) or np.isnan(scores[positive]).any() or np.isnan(scores[negative]).any():
        return None
    levels, own = np.unique(scores[positive], return_inverse=True)
    at = np.searchsorted(levels, scores[negative])
    same = levels[np.minimum(at, len(levels) - 1)] == scores[negative]
    return Ranking(
        members(own, positive, (len(levels), len(scores))),
        members(2 * at + same, negative, (2 * len(levels) + 1, len(scores))),
    )


def members(
    group: NDArray[np.integer],
    image: NDArray[np.integer],
    shape: tuple[int, int],
    values: NDArray[np.floating] | None = None,
) -> Any:
    """Return the sparse (groups, images) matrix that sums counts of images by group.

    Args:
        group: (M,) row of each entry.
        image: (M,) column of each entry.
        shape: (groups, images).
        values: (M,) what each entry adds; default: 1.
    """
    entries = np.ones(len(image)) if values is None else values
    return csr_array((entries.astype(np.float32), (group, image)), shape=shape)


def auroc_per_class(scores: NDArray[np.floating], labels: NDArray[np.floating]) -> NDArray[np.float64]:
    """Return the AUC of every class of all images: (N, K) and (N, K) -> (K,), NaN where it isn't defined."""
    once = np.ones((len(scores), 1), dtype=np.float32)
    ranked = [rank(scores[:, k], labels[:, k]) for k in range(scores.shape[1])]
    return np.array([np.nan if item is None else item.auc_and_ap(once)[0][0] for item in ranked])


def macro(values: NDArray[np.float64]) -> float:
    """Return the mean of the defined values, NaN when none is."""
    defined = values[~np.isnan(values)]
    return float(defined.mean()) if len(defined) else float("nan")
