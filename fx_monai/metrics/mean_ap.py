"""Average precision of boxes, by the COCO protocol, over annotated (image, class) pairs only."""

from __future__ import annotations

import contextlib
import io
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from faster_coco_eval import COCO, COCOeval_faster
from numpy.typing import NDArray

THRESHOLDS = np.round(np.arange(0.40, 0.96, 0.05), 2)
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
    """Return the average precision of every class.

    Precision at 101 recalls, at most 100 boxes per image and class (COCO, Lin et al., ECCV 2014). Each annotated
    (image, class) pair is an image of its own, so a prediction of a class that nobody looked for counts neither way.
    """
    images, annotations, detections = [], [], []
    for i, (found, true) in enumerate(zip(predictions, truth, strict=True)):
        looked_for = np.ones(num_classes, bool) if true.annotated is None else true.annotated
        for k in np.flatnonzero(looked_for):
            key = i * num_classes + int(k) + 1
            images.append({"id": key, "width": 1, "height": 1})
            annotations += [
                {"image_id": key, "category_id": int(k), "bbox": _xywh(box), "area": _area(box), "iscrowd": 0}
                for box in true.boxes_xyxy[true.labels == k]
            ]
            chosen = found.labels == k
            assert found.scores is not None
            detections += [
                {"image_id": key, "category_id": int(k), "bbox": _xywh(box), "score": float(score)}
                for box, score in zip(found.boxes_xyxy[chosen], found.scores[chosen], strict=True)
            ]
    nothing = np.full(num_classes, np.nan)
    if not annotations:
        return BoxScores(nothing, nothing, nothing)
    if not detections:
        present = {a["category_id"] for a in annotations}
        zeros = np.array([0.0 if k in present else np.nan for k in range(num_classes)])
        return BoxScores(zeros, zeros, zeros)
    for number, annotation in enumerate(annotations, start=1):
        annotation["id"] = number
    precision = _evaluate(images, annotations, detections, num_classes)
    # (thresholds, recalls, classes); COCO writes -1 where a class has no true box
    per_threshold = np.where(precision < 0, np.nan, precision).mean(axis=1)
    return BoxScores(per_threshold[0], per_threshold[2], per_threshold[2:].mean(axis=0))


def _evaluate(
    images: list[dict[str, int]],
    annotations: list[dict[str, object]],
    detections: list[dict[str, object]],
    num_classes: int,
) -> NDArray[np.float64]:
    with contextlib.redirect_stdout(io.StringIO()):
        true = COCO()
        true.dataset = {
            "info": {},
            "images": images,
            "annotations": annotations,
            "categories": [{"id": k, "name": str(k)} for k in range(num_classes)],
        }
        true.createIndex()
        evaluation = COCOeval_faster(true, true.loadRes(detections), iouType="bbox")
        evaluation.params.iouThrs = THRESHOLDS
        evaluation.params.maxDets = [1, 10, MAX_DETECTIONS]
        evaluation.evaluate()
        evaluation.accumulate()
    return np.asarray(evaluation.eval["precision"])[:, :, :, 0, -1]


def mean_box_iou(
    predictions: Sequence[ImageBoxes], truth: Sequence[ImageBoxes], *, num_classes: int
) -> NDArray[np.float64]:
    """Return, per class, the mean IoU of the best-scored box with the true box.

    For anatomy that stands once in every image; a missing prediction counts 0; images without the true box are left
    out. (K,), NaN for a class without a true box.
    """
    values: list[list[float]] = [[] for _ in range(num_classes)]
    for found, true in zip(predictions, truth, strict=True):
        for k in set(true.labels.tolist()):
            target = true.boxes_xyxy[true.labels == k][0]
            own = np.flatnonzero(found.labels == k)
            assert found.scores is not None
            values[k].append(_iou(found.boxes_xyxy[own[found.scores[own].argmax()]], target) if len(own) else 0.0)
    return np.array([np.mean(v) if v else np.nan for v in values])


def _iou(a: NDArray[np.floating], b: NDArray[np.floating]) -> float:
    size = (np.minimum(a[2:], b[2:]) - np.maximum(a[:2], b[:2])).clip(0)
    overlap = float(size.prod())
    return overlap / max(1e-9, _area(a) + _area(b) - overlap)


def _xywh(box: NDArray[np.floating]) -> list[float]:
    return [float(box[0]), float(box[1]), float(box[2] - box[0]), float(box[3] - box[1])]


def _area(box: NDArray[np.floating]) -> float:
    return float((box[2] - box[0]) * (box[3] - box[1]))
