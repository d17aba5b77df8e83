"""Curves: what a classifier or a detector reaches at every threshold, over all images."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fx_monai.metrics.box_matching import ClassMatches
from fx_monai.metrics.calibration import BINS, bin_of

Values = NDArray[np.float64]


@dataclass(frozen=True)
class Curve:
    """Points of a curve, (P,) each, from the strictest threshold to the most lenient."""

    x: Values
    y: Values

    def thinned(self, resolution: int = 250) -> Curve:
        """Return the first, the last and every point that leaves the cell of a grid of so many cells a unit."""
        cells = np.floor(np.stack([self.x, self.y]) * resolution)
        moved = (np.diff(cells, axis=1) != 0).any(axis=0)
        keep = np.concatenate([[True], moved]) if len(self.x) else np.zeros(0, dtype=bool)
        keep[-1:] = True
        return Curve(self.x[keep], self.y[keep])


def roc_curve(scores: NDArray[np.floating], labels: NDArray[np.floating]) -> Curve | None:
    """Return 1 - specificity (x) and sensitivity (y) at every distinct score, beginning with (0, 0).

    Args:
        scores: (N,), higher = more likely.
        labels: (N,): 1 present, 0 absent, anything else left out.

    Returns:
        None where no image is positive, none is negative, or a score is NaN.
    """
    counted = _counted(scores, labels)
    if counted is None:
        return None
    true, false = counted
    return Curve(np.append(0, false / false[-1]), np.append(0, true / true[-1]))


def precision_recall_curve(scores: NDArray[np.floating], labels: NDArray[np.floating]) -> Curve | None:
    """Return recall (x) and precision (y) at every distinct score; arguments and None as for :func:`roc_curve`.

    Average precision is the area under the steps that hold each precision back to the recall before it.
    """
    counted = _counted(scores, labels)
    if counted is None:
        return None
    true, false = counted
    return Curve(true / true[-1], true / (true + false))


def reliability_curve(probs: NDArray[np.floating], labels: NDArray[np.floating], *, bins: int = BINS) -> Curve:
    """Return mean probability (x) and observed frequency (y) of every bin of equal width that holds an image.

    The bins are those of :func:`fx_monai.metrics.calibration.calibration_error`.

    Args:
        probs: (N,) in [0, 1].
        labels: (N,): 1 present, 0 absent, anything else left out.
        bins: number of bins.
    """
    known = (labels == 0) | (labels == 1)
    at = bin_of(probs[known], bins)
    total = np.bincount(at, minlength=bins)
    filled = total > 0
    sums = (np.bincount(at, weights=values, minlength=bins) for values in (probs[known], labels[known]))
    x, y = (own[filled] / total[filled] for own in sums)
    return Curve(x, y)


def froc_curve(matches: ClassMatches, *, threshold_index: int = 0) -> Curve | None:
    """Return false boxes per image (x) and sensitivity (y) at every distinct score, beginning with (0, 0).

    What counts is as for :func:`fx_monai.metrics.froc.sensitivity_at_rates`.

    Returns:
        None where no image has a true box.
    """
    total = float(matches.true_boxes.sum())
    if not total:
        return None
    found = matches.hit[threshold_index].cumsum()
    wrong = (~matches.near[threshold_index]).cumsum()
    last = _last_of_score(matches.score)
    images = int(matches.looked_for.sum())
    return Curve(np.append(0, wrong[last] / images), np.append(0, found[last] / total))


def _counted(scores: NDArray[np.floating], labels: NDArray[np.floating]) -> tuple[Values, Values] | None:
    """Return true and false positives at every distinct score, highest first."""
    known = (labels == 0) | (labels == 1)
    own, truth = scores[known], labels[known]
    if not (truth == 1).any() or not (truth == 0).any() or np.isnan(own).any():
        return None
    order = np.argsort(-own, kind="stable")
    last = _last_of_score(own[order])
    true = (truth[order] == 1).cumsum(dtype=np.float64)[last]
    return true, last + 1 - true


def _last_of_score(falling: NDArray[np.floating]) -> NDArray[np.int64]:
    """Return the last place of each distinct value of a falling sequence."""
    changes = np.flatnonzero(np.diff(falling))
    return np.append(changes, len(falling) - 1) if len(falling) else np.zeros(0, dtype=np.int64)
