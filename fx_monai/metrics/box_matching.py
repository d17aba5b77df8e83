"""Which predicted boxes hit which true boxes, decided once per image, class and IoU threshold."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from pycocotools.mask import iou as box_iou_xywh

MAX_DETECTIONS = 100


@dataclass(frozen=True)
class ImageBoxes:
    """Boxes of one image.

    Args:
        boxes_xyxy: (N, 4), pixels.
        labels: (N,) class indices.
        scores: (N,) of predictions; for the truth it isn't read.
        annotated: (K,) bool of the truth: classes that were looked for; None = all.
    """

    boxes_xyxy: NDArray[np.floating]
    labels: NDArray[np.int64]
    scores: NDArray[np.floating] | None = None
    annotated: NDArray[np.bool_] | None = None


@dataclass(frozen=True)
class ClassMatches:
    """Predicted boxes of one class in the images where it was looked for, best score first.

    Args:
        image: (D,) index of the image.
        score: (D,).
        hit: (T, D): at a threshold, the box is matched to a true box, each of which is matched once.
        near: (T, D): the box overlaps some true box enough, matched or not.
        true_boxes: (N,) number of true boxes per image, 0 where nobody looked.
        looked_for: (N,).
    """

    image: NDArray[np.int64]
    score: NDArray[np.float64]
    hit: NDArray[np.bool_]
    near: NDArray[np.bool_]
    true_boxes: NDArray[np.float32]
    looked_for: NDArray[np.bool_]


def match_boxes(
    predictions: Sequence[ImageBoxes],
    truth: Sequence[ImageBoxes],
    *,
    class_index: int,
    thresholds: NDArray[np.floating],
) -> ClassMatches:
    """Match the boxes of one class.

    COCO's rule (Lin et al., ECCV 2014): by falling score each box takes the free true box that it overlaps most, if by
    at least the threshold; at most 100 boxes per image.
    """
    count = len(thresholds)
    images, scores = [np.zeros(0, dtype=np.int64)], [np.zeros(0)]
    hits, nears = [np.zeros((count, 0), dtype=bool)], [np.zeros((count, 0), dtype=bool)]
    true_boxes, looked_for = np.zeros(len(truth), dtype=np.float32), np.zeros(len(truth), dtype=bool)
    for number, (found, true) in enumerate(zip(predictions, truth, strict=True)):
        if true.annotated is not None and not true.annotated[class_index]:
            continue
        looked_for[number] = True
        target = true.boxes_xyxy[true.labels == class_index]
        true_boxes[number] = len(target)
        assert found.scores is not None
        own = np.flatnonzero(found.labels == class_index)
        own = own[np.argsort(-found.scores[own], kind="stable")][:MAX_DETECTIONS]
        hit, near = _match(found.boxes_xyxy[own], target, thresholds)
        images.append(np.full(len(own), number))
        scores.append(found.scores[own].astype(np.float64))
        hits.append(hit)
        nears.append(near)
    score = np.concatenate(scores)
    order = np.argsort(-score, kind="stable")
    return ClassMatches(
        np.concatenate(images)[order],
        score[order],
        np.concatenate(hits, axis=1)[:, order],
        np.concatenate(nears, axis=1)[:, order],
        true_boxes,
        looked_for,
    )


def box_iou(a_xyxy: NDArray[np.floating], b_xyxy: NDArray[np.floating]) -> NDArray[np.float64]:
    """Return the intersection over union of all pairs, (A, 4) and (B, 4) -> (A, B)."""
    if not len(a_xyxy) or not len(b_xyxy):
        return np.zeros((len(a_xyxy), len(b_xyxy)))
    return np.asarray(box_iou_xywh(_xywh(a_xyxy), _xywh(b_xyxy), np.zeros(len(b_xyxy), dtype=np.uint8)))


def _match(
    boxes: NDArray[np.floating], target: NDArray[np.floating], thresholds: NDArray[np.floating]
) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    overlaps = box_iou(boxes, target)
    enough = overlaps[None] >= thresholds[:, None, None]
    near = np.asarray(enough.any(axis=2))
    hit = np.zeros_like(near)
    free = np.ones((len(thresholds), len(target)), dtype=bool)
    for number in np.flatnonzero(near.any(axis=0)):
        open_to = enough[:, number] & free
        hit[:, number] = open_to.any(axis=1)
        # of equal overlaps COCO takes the last
        best = len(target) - 1 - np.where(open_to, overlaps[number], -1.0)[:, ::-1].argmax(axis=1)
        at = np.flatnonzero(hit[:, number])
        free[at, best[at]] = False
    return hit, near


def _xywh(boxes_xyxy: NDArray[np.floating]) -> NDArray[np.float64]:
    boxes = np.asarray(boxes_xyxy, dtype=np.float64)
    return np.concatenate([boxes[:, :2], boxes[:, 2:] - boxes[:, :2]], axis=1)
