"""How well single images were predicted, and which of them stand for the best, the median and the worst."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from fx_monai.metrics.classification import ClassificationScores
from fx_monai.metrics.localization import LocalizationScores
from fx_monai.metrics.segmentation import SegmentationScores
from fx_monai.metrics.task_scores import TaskScores

QUALITY = {
    ClassificationScores: "1 - Brier score of its labels",
    LocalizationScores: "IoU of the best-scored box, mean over its classes",
    SegmentationScores: "Dice, mean over its classes",
}
"""What :func:`quality_per_image` measures."""


def quality_per_image(scores: TaskScores) -> NDArray[np.float64]:
    """Return how well each image was predicted, higher is better: see :data:`QUALITY`.

    Returns:
        (N,), NaN for images that show no finding (box, mask): to predict nothing there is easy, and nothing is seen. A
        classification task none of whose images shows a finding ranks all that have a label.
    """
    if isinstance(scores, ClassificationScores):
        known = (scores.labels == 0) | (scores.labels == 1)
        shows = (scores.labels == 1).any(axis=1)
        ranked = shows if shows.any() else known.any(axis=1)
        return np.where(ranked, 1 - _row_means((scores.probs - scores.labels) ** 2, known), np.nan)
    if isinstance(scores, LocalizationScores):
        return _row_means(scores.best_iou, ~np.isnan(scores.best_iou))
    assert isinstance(scores, SegmentationScores)
    return _row_means(scores.dice, scores.annotated & scores.present)


def choose_cases(quality: NDArray[np.floating], names: Sequence[str]) -> dict[str, int]:
    """Return the index of the best, the median (the better of two) and the worst image, all different.

    Args:
        quality: (N,), NaN = not to be chosen.
        names: (N,) of the images; decide between equal ones, so that the choice is the same everywhere.
    """
    order = sorted(np.flatnonzero(~np.isnan(quality)).tolist(), key=lambda at: (-quality[at], names[at]))
    if not order:
        return {}
    places = {"best": 0, "median": (len(order) - 1) // 2, "worst": len(order) - 1}
    chosen: dict[str, int] = {}
    for name, place in places.items():
        if order[place] not in chosen.values():
            chosen[name] = order[place]
    return chosen


def _row_means(values: NDArray[np.floating], where: NDArray[np.bool_]) -> NDArray[np.float64]:
    counts = where.sum(axis=1)
    sums = np.where(where, values, 0).sum(axis=1)
    return np.asarray(sums / np.where(counts > 0, counts, np.nan))
