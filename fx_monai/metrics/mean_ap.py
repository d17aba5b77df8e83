"""Average precision of boxes, by the COCO protocol, over annotated (image, class) pairs only."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fx_monai.metrics.box_matching import ClassMatches, ImageBoxes, box_iou, match_boxes
from fx_monai.metrics.ranking import members

THRESHOLDS = np.round(np.arange(0.40, 0.96, 0.05), 2)
_RECALLS = np.linspace(0, 1, 101)


@dataclass(frozen=True)
class BoxScores:
    """Average precision per class, NaN for a class without a true box.

    Args:
        ap40: (K,) at IoU 0.40, the paper's "mAP40".
        ap50: (K,) at IoU 0.50.
        ap50_95: (K,), mean over IoU 0.50, 0.55, ..., 0.95.
    """

    ap40: NDArray[np.float64]
    ap50: NDArray[np.float64]
    ap50_95: NDArray[np.float64]


def average_precision(predictions: Sequence[ImageBoxes], truth: Sequence[ImageBoxes], *, num_classes: int) -> BoxScores:
    """Return the average precision of every class over all images; see :func:`precision_at_thresholds`."""
    once = np.ones((len(truth), 1), dtype=np.float32)
    values = [
        precision_at_thresholds(match_boxes(predictions, truth, class_index=k, thresholds=THRESHOLDS), once)[:, 0]
        for k in range(num_classes)
    ]
    return BoxScores(*(np.array(parts) for parts in zip(*(named_thresholds(value) for value in values), strict=True)))


def named_thresholds(per_threshold: NDArray[np.float64]) -> tuple[NDArray[np.float64], ...]:
    """Return AP at 0.40, at 0.50 and the mean over 0.50 to 0.95: (T, ...) -> three of (...)."""
    return per_threshold[0], per_threshold[2], per_threshold[2:].mean(axis=0)


def precision_at_thresholds(matches: ClassMatches, counts: NDArray[np.float32]) -> NDArray[np.float64]:
    """Return the average precision of one class at every threshold on every resample.

    Precision at 101 recalls (COCO, Lin et al., ECCV 2014). A prediction of a class that nobody looked for in an image
    counts neither way.

    Args:
        matches: of :func:`match_boxes`.
        counts: (N, R), how often a resample holds an image.

    Returns:
        (T, R), NaN where a resample has no true box.
    """
    total = matches.true_boxes @ counts
    result = np.zeros((len(matches.hit), counts.shape[1]))
    for number, hit in enumerate(matches.hit):
        at = np.flatnonzero(hit)
        if not len(at):
            continue
        found = counts[matches.image[at]].cumsum(axis=0, dtype=np.float64)
        wrong = wrong_before(matches.image, ~hit, np.searchsorted(at, np.arange(len(hit))), len(at), counts)
        with np.errstate(invalid="ignore", divide="ignore"):
            precision = np.nan_to_num(found / (found + wrong))
            recall = found / total
        best = np.maximum.accumulate(precision[::-1], axis=0)[::-1]
        # how many of the 101 recalls each hit is the first to reach
        reached = np.searchsorted(_RECALLS, recall, side="right")
        steps = np.diff(reached, axis=0, prepend=0)
        result[number] = (best * steps).sum(axis=0) / len(_RECALLS)
    return np.where(total > 0, result, np.nan)


def wrong_before(
    image: NDArray[np.int64],
    wrong: NDArray[np.bool_],
    before: NDArray[np.int64],
    hits: int,
    counts: NDArray[np.float32],
) -> NDArray[np.float64]:
    """Return how many wrong boxes stand before each hit on every resample.

    Args:
        image: (D,) of each box.
        wrong: (D,) which boxes count.
        before: (D,) the first hit that a box stands before; ``hits`` = none.
        hits: number of hits.
        counts: (N, R).

    Returns:
        (hits, R).
    """
    chosen = np.flatnonzero(wrong & (before < hits))
    summed = members(before[chosen], image[chosen], (hits, len(counts))) @ counts
    return np.asarray(summed, dtype=np.float64).cumsum(axis=0)


def iou_of_best_box(
    predictions: Sequence[ImageBoxes], truth: Sequence[ImageBoxes], *, num_classes: int
) -> NDArray[np.float64]:
    """Return the IoU of the best-scored box with the true box, per image and class.

    For anatomy that stands once in every image; a missing prediction counts 0.

    Returns:
        (N, K), NaN where the image has no true box, or nobody looked for the class.
    """
    values = np.full((len(truth), num_classes), np.nan)
    for number, (found, true) in enumerate(zip(predictions, truth, strict=True)):
        looked_for = np.ones(num_classes, bool) if true.annotated is None else true.annotated
        for k in set(true.labels[looked_for[true.labels]].tolist()):
            own = np.flatnonzero(found.labels == k)
            assert found.scores is not None
            best = own[found.scores[own].argmax()][None] if len(own) else own
            values[number, k] = box_iou(found.boxes_xyxy[best], true.boxes_xyxy[true.labels == k][:1]).sum()
    return values
