"""Free-response ROC: share of true boxes that are found, at so many false boxes per image."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from fx_monai.metrics.box_matching import ClassMatches
from fx_monai.metrics.mean_ap import wrong_before

RATES = (1 / 8, 1 / 4, 1 / 2, 1, 2, 4, 8)
RATE_NAMES = ("1_8", "1_4", "1_2", "1", "2", "4", "8")
MIN_IOU = 0.2


def sensitivity_at_rates(
    matches: ClassMatches, counts: NDArray[np.float32], *, threshold_index: int = 0
) -> NDArray[np.float64]:
    """Return the sensitivity of one class at 1/8, 1/4, 1/2, 1, 2, 4 and 8 false boxes per image, on every resample.

    Their mean is the competition performance metric (CPM; van Ginneken et al., Medical Image Analysis 2010). The
    sensitivity at a rate is the highest that a score threshold reaches with at most that rate, without interpolation
    (deviation from LUNA16, which interpolates). A box hits from IoU 0.2 on (NODE21); further boxes on a true box that
    is already found count neither way. The rate is over all images in which the class was looked for.

    Args:
        matches: of :func:`fx_monai.metrics.box_matching.match_boxes`.
        counts: (N, R), how often a resample holds an image.
        threshold_index: which of the matches' IoU thresholds is meant.

    Returns:
        (7, R), NaN where a resample has no true box.
    """
    total = matches.true_boxes @ counts
    images = counts[matches.looked_for].sum(axis=0)
    at = np.flatnonzero(matches.hit[threshold_index])
    result = np.zeros((len(RATES), counts.shape[1]))
    if len(at):
        found = counts[matches.image[at]].cumsum(axis=0, dtype=np.float64)
        # a threshold lets in every box of its score, so a wrong box stands before the first hit of its score
        before = np.searchsorted(-matches.score[at], -matches.score)
        wrong = wrong_before(matches.image, ~matches.near[threshold_index], before, len(at), counts)
        with np.errstate(invalid="ignore", divide="ignore"):
            for number, rate in enumerate(RATES):
                result[number] = np.where(wrong <= rate * images, found, 0).max(axis=0) / total
    return np.where(total > 0, result, np.nan)
