"""Average precision, FROC and IoU of boxes."""

import contextlib
import io

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from monai.metrics.froc import compute_froc_curve_data
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from fx_monai.metrics.box_matching import ImageBoxes, match_boxes
from fx_monai.metrics.froc import RATES, sensitivity_at_rates
from fx_monai.metrics.mean_ap import THRESHOLDS, average_precision, iou_of_best_box, precision_at_thresholds

ONCE = np.ones((2, 1), dtype=np.float32)


def boxes(*rows, scores=None, annotated=None):
    values = np.array(rows, dtype=float).reshape(-1, 5)
    flags = None if annotated is None else np.array(annotated, dtype=bool)
    return ImageBoxes(values[:, :4], values[:, 4].astype(int), None if scores is None else np.array(scores), flags)


def random_boxes(seed, images=12, classes=2):
    """Return predictions near and far from the truth, with tied scores, empty images and classes nobody looked for."""
    generator = np.random.default_rng(seed)
    found, truth = [], []
    for _ in range(images):
        corners = generator.integers(0, 60, (4, 2)).astype(float)
        true = np.hstack([corners, corners + generator.integers(8, 40, (4, 2))])[: generator.integers(0, 5)]
        wrong = generator.integers(0, 50, (3, 4)) + np.array([0, 0, 50, 50.0])
        near = true + generator.uniform(-3.5, 3.5, true.shape)
        moved = np.vstack([near, true, wrong])[generator.integers(0, 3) :]
        labels = generator.integers(0, classes, len(true))
        annotated = generator.uniform(size=classes) < 0.8
        # a true box is only known where its class was looked for
        known = annotated[labels]
        truth.append(ImageBoxes(true[known], labels[known], annotated=annotated))
        scores = generator.integers(0, 12, len(moved)) / 12
        found.append(ImageBoxes(moved, generator.integers(0, classes, len(moved)), scores))
    return found, truth


def coco_precision(found, truth, counts, k):
    """Return pycocotools' AP per threshold of one class over images repeated as often as counts say."""
    images, annotations, detections = [], [], []
    for i, repeats in enumerate(counts.astype(int)):
        for _ in range(repeats if truth[i].annotated[k] else 0):
            key = len(images) + 1
            images.append({"id": key})
            for box in truth[i].boxes_xyxy[truth[i].labels == k]:
                xywh = [*box[:2], *(box[2:] - box[:2])]
                annotations.append({"image_id": key, "category_id": 1, "bbox": xywh, "area": xywh[2] * xywh[3]})
                annotations[-1] |= {"iscrowd": 0, "id": len(annotations)}
            own = found[i].labels == k
            for box, score in zip(found[i].boxes_xyxy[own], found[i].scores[own], strict=True):
                xywh = [*box[:2], *(box[2:] - box[:2])]
                detections.append({"image_id": key, "category_id": 1, "bbox": xywh, "score": score})
    if not annotations:
        return None
    if not detections:
        return np.zeros(len(THRESHOLDS))
    with contextlib.redirect_stdout(io.StringIO()):
        true = COCO()
        true.dataset = {"images": images, "annotations": annotations, "categories": [{"id": 1}]}
        true.createIndex()
        true.dataset["info"] = {}
        evaluation = COCOeval(true, true.loadRes(detections), "bbox")
        evaluation.params.iouThrs = THRESHOLDS
        evaluation.evaluate()
        evaluation.accumulate()
    return evaluation.eval["precision"][:, :, 0, 0, -1].mean(axis=1)


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 10_000))
def test_ap_equals_pycocotools_on_all_images(seed):
    found, truth = random_boxes(seed)
    for k in range(2):
        theirs = coco_precision(found, truth, np.ones(12), k)
        matches = match_boxes(found, truth, class_index=k, thresholds=THRESHOLDS)
        ours = precision_at_thresholds(matches, np.ones((12, 1), dtype=np.float32))[:, 0]
        if theirs is None:
            assert np.isnan(ours).all()
        else:
            np.testing.assert_allclose(ours, theirs, atol=1e-9)


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 10_000))
def test_ap_of_a_resample_equals_pycocotools_on_repeated_images(seed):
    found, truth = random_boxes(seed)
    # without ties, which the order of repeated images would break
    found = [
        ImageBoxes(f.boxes_xyxy, f.labels, np.random.default_rng(i).uniform(size=len(f.labels)))
        for i, f in enumerate(found)
    ]
    counts = np.random.default_rng(seed).integers(0, 3, (12, 1)).astype(np.float32)
    matches = match_boxes(found, truth, class_index=0, thresholds=THRESHOLDS)
    theirs = coco_precision(found, truth, counts[:, 0], 0)
    if theirs is not None:
        np.testing.assert_allclose(precision_at_thresholds(matches, counts)[:, 0], theirs, atol=0.02)


def test_ap_by_hand():
    truth = [boxes((0, 0, 10, 10, 0)), boxes((0, 0, 10, 10, 0))]
    # image 1: right; image 2: a better-scored wrong box, then one of IoU 0.45
    found = [boxes((0, 0, 10, 10, 0), scores=[0.9]), boxes((50, 50, 60, 60, 0), (0, 0, 10, 4.5, 0), scores=[0.8, 0.7])]
    result = average_precision(found, truth, num_classes=1)
    # recall 0.5 at precision 1, recall 1 at precision 2/3: 51 and 50 of 101 points
    assert result.ap40[0] == pytest.approx((51 + 50 * 2 / 3) / 101)
    assert result.ap50[0] == pytest.approx(51 / 101)


def test_ap_ignores_what_nobody_looked_for():
    truth = [boxes((0, 0, 10, 10, 0), annotated=[True, False]), boxes(annotated=[False, True])]
    found = [boxes((0, 0, 10, 10, 0), (0, 0, 10, 10, 1), scores=[0.9, 0.9]), boxes((0, 0, 5, 5, 0), scores=[0.99])]
    result = average_precision(found, truth, num_classes=2)
    assert result.ap40[0] == pytest.approx(1)
    assert np.isnan(result.ap40[1])


def test_ap_counts_false_boxes_on_images_without_any():
    truth = [boxes((0, 0, 10, 10, 0)), boxes(annotated=[True])]
    found = [boxes((0, 0, 10, 10, 0), scores=[0.5]), boxes((0, 0, 9, 9, 0), scores=[0.9])]
    assert average_precision(found, truth, num_classes=1).ap50[0] == pytest.approx(0.5)


def test_ap_without_predictions_or_truth():
    assert average_precision([boxes(scores=[])], [boxes((0, 0, 1, 1, 0))], num_classes=2).ap40[0] == 0
    nothing = average_precision([boxes((0, 0, 1, 1, 0), scores=[1.0])], [boxes()], num_classes=1)
    assert np.isnan(nothing.ap50_95[0])


def test_froc_by_hand():
    truth = [boxes((0, 0, 10, 10, 0)), boxes((0, 0, 10, 10, 0), (40, 40, 50, 50, 0))]
    found = [
        boxes((0, 0, 10, 10, 0), (70, 70, 80, 80, 0), scores=[0.9, 0.8]),
        boxes((0, 0, 10, 10, 0), (0, 0, 10, 9, 0), scores=[0.7, 0.85]),
    ]
    matches = match_boxes(found, truth, class_index=0, thresholds=np.array([0.2]))
    values = sensitivity_at_rates(matches, ONCE)[:, 0]
    # 1 of 3 before the false box; the second box on a found one is no false box; the third true box is never found
    assert values.tolist() == pytest.approx([2 / 3] * 7)
    found[1] = boxes((0, 0, 10, 10, 0), scores=[0.8])
    # the false box has the score of a hit, so both come together: half a false box per image
    matches = match_boxes(found, truth, class_index=0, thresholds=np.array([0.2]))
    assert sensitivity_at_rates(matches, ONCE)[:, 0].tolist() == pytest.approx([1 / 3] * 2 + [2 / 3] * 5)
    assert np.isnan(
        sensitivity_at_rates(match_boxes(found, truth, class_index=1, thresholds=np.array([0.2])), ONCE)
    ).all()


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 10_000))
def test_froc_equals_monai(seed):
    found, truth = random_boxes(seed)
    counts = np.random.default_rng(seed).integers(0, 3, (12, 1)).astype(np.float32)
    matches = match_boxes(found, truth, class_index=0, thresholds=np.array([0.2]))
    ours = sensitivity_at_rates(matches, counts)[:, 0]
    repeats = counts[matches.image, 0].astype(int)
    hits = np.repeat(matches.score[matches.hit[0]], repeats[matches.hit[0]])
    wrong = np.repeat(matches.score[~matches.near[0]], repeats[~matches.near[0]])
    total, images = float(matches.true_boxes @ counts[:, 0]), float(counts[matches.looked_for].sum())
    if not total:
        assert np.isnan(ours).all()
        return
    # MONAI leaves out the lowest score, so a lower one is added; a true box that isn't found has probability 0 there
    per_image, sensitivity = compute_froc_curve_data(np.append(wrong, -1.0), hits, total, images)
    for value, rate in zip(ours, RATES, strict=True):
        assert value == pytest.approx(sensitivity[per_image <= rate].max())


def test_iou_takes_the_best_scored_box():
    truth = [boxes((0, 0, 10, 10, 0)), boxes((0, 0, 10, 10, 0)), boxes()]
    found = [boxes((0, 0, 10, 10, 0), (0, 0, 10, 5, 0), scores=[0.2, 0.9]), boxes(scores=[]), boxes(scores=[])]
    np.testing.assert_allclose(
        iou_of_best_box(found, truth, num_classes=2), [[0.5, np.nan], [0, np.nan], [np.nan, np.nan]]
    )
