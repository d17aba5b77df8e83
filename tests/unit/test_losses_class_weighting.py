import math

import numpy as np
import pytest
import torch

from fx_monai.losses.class_weighting import exclusive_weights, positive_weights
from fx_monai.losses.masked_bce import masked_bce
from fx_monai.losses.options import LossOptions
from fx_monai.losses.task_loss import class_weight_of, task_loss
from fx_monai.ops.label_counts import LabelCounts
from fx_monai.types import Kind, Task, TaskSpec

nan = float("nan")


def counts(positive, negative):
    return LabelCounts(np.array(positive, float), np.array(negative, float))


def test_unknown_labels_are_not_counted_and_smoothed_ones_are_shared():
    found = LabelCounts.of(np.array([[1, nan], [0, 0.75], [nan, 0]], np.float32))
    assert found.positive.tolist() == [1, 0.75]
    assert found.negative.tolist() == [1, 1.25]


def test_balanced_by_hand():
    assert positive_weights(counts([10, 50, 0, 7], [90, 50, 9, 0]), "balanced").tolist() == [9, 1, 1, 1]
    # images 60, 30, 10: every class counts 100 / 3 in all
    assert exclusive_weights(counts([60, 30, 10], [40, 70, 90]), "balanced").tolist() == pytest.approx(
        [100 / 180, 100 / 90, 100 / 30]
    )
    assert exclusive_weights(counts([60, 0], [0, 60]), "balanced").tolist() == [1, 1]


def test_effective_number_is_near_balanced_for_few_labels_and_bounded_for_many():
    few, many = positive_weights(counts([2, 10], [8, 1e6]), "effective_number").tolist()
    assert few == pytest.approx(4, rel=0.01)
    # 10 positives against the 1000 that a million negatives are worth
    assert many == pytest.approx(100, rel=0.01)
    assert many == pytest.approx((1 - 0.999**1e6) / (1 - 0.999**10), rel=1e-5)


def test_a_positive_counts_its_weight():
    loss = masked_bce(torch.zeros(1, 3), torch.tensor([[1.0, 0.0, nan]]), torch.tensor([9.0, 9.0, 9.0]))
    assert loss.item() == pytest.approx((9 + 1) / 2 * math.log(2))


@pytest.mark.parametrize("exclusive", [False, True])
def test_options_choose_the_rule(exclusive):
    spec = TaskSpec(Task("d", Kind.CLASSIFICATION), ("a", "b"), exclusive)
    labels = np.array([[1, 0]] * 3 + [[0, 1]], np.float32)
    output = type("Output", (), {"predictions": {"logits": torch.zeros(4, 2)}})
    batch = {"labels": torch.from_numpy(labels)}
    assert class_weight_of(spec, LossOptions(), LabelCounts.of(labels)) is None
    options = LossOptions(class_weighting="balanced")
    weight = class_weight_of(spec, options, LabelCounts.of(labels))
    assert weight.tolist() == pytest.approx([2 / 3, 2] if exclusive else [1 / 3, 3])
    weighted, plain = (task_loss(spec, output, batch, options, w)[0].item() for w in (weight, None))
    # either way the labels of both classes weigh the same in all; for exclusive classes the mean stays as it was
    assert weighted == pytest.approx(plain if exclusive else math.log(2) * (3 / 3 + 1 + 3 + 3) / 8)
