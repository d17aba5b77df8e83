import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from monai.metrics import DiceMetric
from sklearn.metrics import roc_auc_score

from fx_monai.keys import BOX_LABELS, BOXES, BOXES_ANNOTATED, LABELS, MASKS, MASKS_ANNOTATED, ROW
from fx_monai.metrics.auroc import auroc_per_class, macro
from fx_monai.metrics.dice import dice_per_image, mean_where
from fx_monai.metrics.mean_ap import ImageBoxes, average_precision, mean_box_iou
from fx_monai.metrics.scores import TaskScorer, primary_metric
from fx_monai.types import Kind, Task, TaskSpec

nan = float("nan")


def boxes(*rows, scores=None, annotated=None):
    values = np.array(rows, dtype=float).reshape(-1, 5)
    flags = None if annotated is None else np.array(annotated, dtype=bool)
    return ImageBoxes(values[:, :4], values[:, 4].astype(int), None if scores is None else np.array(scores), flags)


def test_auc_by_hand():
    scores = np.array([[0.1], [0.4], [0.35], [0.8]])
    assert auroc_per_class(scores, np.array([[0], [0], [1], [1]]))[0] == pytest.approx(0.75)


def test_auc_leaves_out_unknown_and_undefined():
    scores = np.array([[0.1, 0.2], [0.9, 0.3], [0.5, 0.1]])
    labels = np.array([[0, 1], [1, 1], [nan, 1]])
    values = auroc_per_class(scores, labels)
    assert values[0] == 1
    assert np.isnan(values[1])
    assert macro(values) == 1
    assert np.isnan(macro(values[1:]))


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 10_000), levels=st.integers(2, 40))
def test_auc_equals_scikit_learn_with_ties(seed, levels):
    generator = np.random.default_rng(seed)
    scores = generator.integers(0, levels, (30, 1)) / levels
    labels = generator.integers(0, 2, (30, 1)).astype(float)
    if 0 < labels.sum() < 30:
        assert auroc_per_class(scores, labels)[0] == pytest.approx(roc_auc_score(labels, scores))


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


def test_ap_equals_torchmetrics():
    torchmetrics = pytest.importorskip("torchmetrics.detection")
    generator = np.random.default_rng(0)
    found, truth, theirs = [], [], torchmetrics.MeanAveragePrecision(backend="faster_coco_eval")
    for _ in range(25):
        corners = generator.uniform(0, 60, (4, 2))
        true = np.hstack([corners, corners + generator.uniform(8, 40, (4, 2))])[: generator.integers(0, 5)]
        moved = np.vstack(
            [true + generator.normal(0, 4, true.shape), generator.uniform(0, 50, (3, 4)) + np.array([0, 0, 50, 50])]
        )
        labels, true_labels = generator.integers(0, 2, len(moved)), generator.integers(0, 2, len(true))
        labels[: len(true)] = true_labels
        scores = generator.uniform(size=len(moved))
        found.append(ImageBoxes(moved, labels, scores))
        truth.append(ImageBoxes(true, true_labels))
        tensors = {"boxes": torch.tensor(moved), "scores": torch.tensor(scores), "labels": torch.tensor(labels)}
        theirs.update([tensors], [{"boxes": torch.tensor(true).reshape(-1, 4), "labels": torch.tensor(true_labels)}])
    ours, reference = average_precision(found, truth, num_classes=2), theirs.compute()
    assert macro(ours.ap50) == pytest.approx(float(reference["map_50"]), abs=1e-6)
    assert macro(ours.ap50_95) == pytest.approx(float(reference["map"]), abs=1e-6)


def test_box_iou_takes_the_best_scored_box():
    truth = [boxes((0, 0, 10, 10, 0)), boxes((0, 0, 10, 10, 0))]
    found = [boxes((0, 0, 10, 10, 0), (0, 0, 10, 5, 0), scores=[0.2, 0.9]), boxes(scores=[])]
    assert mean_box_iou(found, truth, num_classes=2)[0] == pytest.approx(0.25)
    assert np.isnan(mean_box_iou(found, truth, num_classes=2)[1])


def test_dice_by_hand_and_policy_for_empty_masks():
    predicted = torch.zeros(3, 1, 4, 4)
    masks = torch.zeros(3, 1, 4, 4)
    masks[0, 0, 0, :4] = 1
    predicted[0, 0, 0, :2] = 1
    predicted[2, 0, 0, 0] = 1
    assert dice_per_image(predicted, masks).flatten().tolist() == pytest.approx([2 * 2 / 6, 1, 0])


def test_dice_equals_monai_where_there_is_a_mask():
    generator = torch.Generator().manual_seed(0)
    predicted, masks = (torch.rand(6, 3, 8, 8, generator=generator).round() for _ in range(2))
    theirs = DiceMetric(reduction="none", ignore_empty=True)(predicted, masks)
    torch.testing.assert_close(dice_per_image(predicted, masks).float(), theirs.float())


def test_mean_where():
    values = np.array([[1.0, 0.5], [0.0, 0.7]])
    chosen = np.array([[True, False], [True, False]])
    assert mean_where(values, chosen)[0] == 0.5
    assert np.isnan(mean_where(values, chosen)[1])


def test_scorer_of_every_kind():
    task = {kind: TaskSpec(Task("d", kind), ("a", "b")) for kind in Kind}
    scorer = TaskScorer(task[Kind.CLASSIFICATION])
    for row, (scores, label) in enumerate([([0.9, 0.1], [1, nan]), ([0.2, 0.3], [0, nan])]):
        scorer.add({"probs": torch.tensor([scores])}, {LABELS: torch.tensor([label]), ROW: torch.tensor([row])})
    result = scorer.scores()
    assert (result["auc_macro"], result["auc/a"]) == (1, 1)
    assert np.isnan(result["auc/b"])
    by_view = scorer.scores_by_group(["AP", "PA"])
    assert by_view["AP"]["auc/a"][1] == 1
    assert np.isnan(by_view["AP"]["auc/a"][0])

    scorer = TaskScorer(task[Kind.SEGMENTATION])
    masks = torch.zeros(1, 2, 4, 4)
    masks[:, 0] = 1
    annotated = torch.tensor([[True, False]])
    batch = {MASKS: masks, MASKS_ANNOTATED: annotated, ROW: torch.tensor([0])}
    scorer.add({"logits": torch.ones(1, 2, 4, 4)}, batch)
    assert scorer.scores() == pytest.approx(
        {"dice_all": 1, "dice_positive": 1, "dice_positive/a": 1, "dice_positive/b": nan}, nan_ok=True
    )

    scorer = TaskScorer(task[Kind.LOCALIZATION])
    output = {"scores": torch.tensor([[[0.9, 0.0]]]), "boxes_xyxy": torch.tensor([[[0.0, 0.0, 8.0, 8.0]]])}
    truth = {BOXES: [torch.tensor([[0.0, 0.0, 8.0, 8.0]])], BOX_LABELS: [torch.tensor([0])]}
    scorer.add(output, {**truth, BOXES_ANNOTATED: torch.tensor([[True, True]]), ROW: torch.tensor([0])})
    scores = scorer.scores()
    assert (scores["ap40"], scores["box_iou"]) == (pytest.approx(1), pytest.approx(1))
    assert [primary_metric(kind) for kind in Kind] == ["auc_macro", "ap40", "dice_positive"]
