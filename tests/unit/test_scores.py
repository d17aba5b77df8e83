"""Batches of every kind become scores; calibration fits and is applied."""

import numpy as np
import pytest
import torch

from fx_monai.keys import BOX_LABELS, BOXES, BOXES_ANNOTATED, LABELS, MASKS, MASKS_ANNOTATED, ROW
from fx_monai.metrics.classification import ClassificationScores, fit_calibration
from fx_monai.metrics.resampling import patient_counts
from fx_monai.metrics.scores import TaskScorer, primary_metric
from fx_monai.metrics.segmentation import SegmentationScores
from fx_monai.models.card import Calibration
from fx_monai.types import Kind, Task, TaskSpec

nan = float("nan")
SPECS = {kind: TaskSpec(Task("d", kind), ("a", "b")) for kind in Kind}


def test_classification_batches():
    scorer = TaskScorer(SPECS[Kind.CLASSIFICATION])
    for row, (logits, label) in enumerate([([2.0, -2.0], [1, nan]), ([-2.0, -1.0], [0, nan])]):
        scorer.add({"logits": torch.tensor([logits])}, {LABELS: torch.tensor([label]), ROW: torch.tensor([row])})
    values = scorer.scores().values()
    assert (values["auc_macro"], values["auc/a"], values["ap/a"]) == (1, 1, 1)
    assert values["brier_macro"] == pytest.approx(1 / (1 + np.exp(2)) ** 2)
    assert np.isnan(values["auc/b"])
    assert not any("calibrated" in name or "sensitivity" in name for name in values)
    alone = scorer.scores().select(np.array([True, False])).values()
    assert np.isnan(alone["auc/a"])
    assert alone["brier/a"] == pytest.approx(1 / (1 + np.exp(2)) ** 2)


def test_segmentation_batches():
    scorer = TaskScorer(SPECS[Kind.SEGMENTATION], distances=True)
    masks = torch.zeros(1, 2, 4, 4)
    masks[:, 0] = 1
    batch = {MASKS: masks, MASKS_ANNOTATED: torch.tensor([[True, False]]), ROW: torch.tensor([0])}
    scorer.add({"logits": torch.ones(1, 2, 4, 4)}, batch)
    values = scorer.scores().values()
    assert {name: values[name] for name in ("dice_all", "dice_positive", "iou_positive", "hd95_px_positive")} == {
        "dice_all": 1,
        "dice_positive": 1,
        "iou_positive": 1,
        "hd95_px_positive": 0,
    }
    assert np.isnan(values["dice_positive/b"])
    assert not any("mm" in name for name in values)


def test_distances_in_mm_only_where_the_spacing_is_known():
    yes = np.ones((3, 1), dtype=bool)
    spec = TaskSpec(Task("d", Kind.SEGMENTATION), ("a",))
    scores = SegmentationScores(
        spec, np.arange(3), np.ones((3, 1)), yes, yes, np.array([[2.0], [4.0], [9.0]]), np.array([0.5, 0.25, nan])
    )
    values = scores.values()
    assert values["hd95_px_positive"] == 5
    assert values["hd95_mm_positive"] == 1


def test_localization_batches():
    scorer = TaskScorer(SPECS[Kind.LOCALIZATION])
    output = {"scores": torch.tensor([[[0.9, 0.0]]]), "boxes_xyxy": torch.tensor([[[0.0, 0.0, 8.0, 8.0]]])}
    truth = {BOXES: [torch.tensor([[0.0, 0.0, 8.0, 8.0]])], BOX_LABELS: [torch.tensor([0])]}
    scorer.add(output, {**truth, BOXES_ANNOTATED: torch.tensor([[True, True]]), ROW: torch.tensor([0])})
    values = scorer.scores().values()
    assert [values[name] for name in ("ap40", "box_iou", "cpm", "froc_1_8")] == pytest.approx([1, 1, 1, 1])
    assert np.isnan(values["ap40/b"])
    assert [primary_metric(kind) for kind in Kind] == ["auc_macro", "ap40", "dice_positive"]


def random_classification(count=60, seed=0):
    generator = np.random.default_rng(seed)
    labels = generator.integers(0, 2, (count, 2)).astype(float)
    labels[:, 1] = nan
    labels[:4, 1] = [1, 0, 0, 1]
    logits = 4 * (labels == 1) + generator.normal(-2, 3, (count, 2))
    return ClassificationScores(SPECS[Kind.CLASSIFICATION], np.arange(count), logits, labels)


def test_values_of_a_resample_are_those_of_the_repeated_images():
    scores = random_classification()
    counts = next(patient_counts(np.arange(60) // 2, resamples=1, seed=0))
    measured = scores.measure(counts)
    repeated = scores.select(np.repeat(np.arange(60), counts[:, 0].astype(int))).values()
    alone = {name: value[0] for name, value in measured.items() if "/" in name}
    assert alone == pytest.approx({name: value for name, value in repeated.items() if "/" in name}, nan_ok=True)


def test_a_resample_without_a_rare_class_doesn_t_lose_it_from_the_mean():
    scores = random_classification()
    whole = scores.values()
    counts = np.ones((60, 2), dtype=np.float32)
    # the only positive images of the second class are 0 and 3
    counts[[0, 3], 1] = 0
    measured = scores.measure(counts)
    assert np.isnan(measured["auc/b"]).tolist() == [False, True]
    assert measured["auc_macro"][0] == pytest.approx(whole["auc_macro"])
    assert measured["auc_macro"][1] == pytest.approx((measured["auc/a"][1] + whole["auc/b"]) / 2)


def test_calibration_is_fitted_per_finding_and_lowers_the_error():
    scores = random_classification(400)
    fitted = fit_calibration(scores)
    assert fitted.images == 400
    assert fitted.temperatures[0] > 1
    # four known images of the second finding are too few
    assert (fitted.temperatures[1], fitted.thresholds[1]) == (None, None)
    other = random_classification(400, seed=1)
    values = ClassificationScores(other.spec, other.rows, other.logits, other.labels, fitted).values()
    assert values["ece_calibrated/a"] < values["ece/a"]
    present = other.logits[:, 0] / fitted.temperatures[0] >= np.log(fitted.thresholds[0] / (1 - fitted.thresholds[0]))
    assert values["sensitivity/a"] == pytest.approx(present[other.labels[:, 0] == 1].mean())
    assert values["specificity/a"] == pytest.approx(1 - present[other.labels[:, 0] == 0].mean())
    assert "sensitivity/b" not in values


def test_exclusive_classes_share_a_temperature():
    generator = np.random.default_rng(0)
    labels = np.eye(2)[generator.integers(0, 2, 80)]
    spec = TaskSpec(Task("d", Kind.CLASSIFICATION), ("a", "b"), exclusive=True)
    scores = ClassificationScores(spec, np.arange(80), labels * 3 + generator.normal(0, 3, (80, 2)), labels)
    fitted = fit_calibration(scores)
    assert fitted.temperatures[0] == fitted.temperatures[1]
    calibrated = ClassificationScores(spec, scores.rows, scores.logits, labels, fitted).calibrated
    assert calibrated.sum(axis=1) == pytest.approx(1)


def test_no_temperature_means_no_calibrated_scores():
    scores = random_classification()
    nothing = Calibration((None, None), (None, None), 3)
    values = ClassificationScores(scores.spec, scores.rows, scores.logits, scores.labels, nothing).values()
    assert not any("calibrated" in name for name in values)
