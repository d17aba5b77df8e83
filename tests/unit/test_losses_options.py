import math

import pytest
import torch

from fx_monai.losses.dice import flat_dice
from fx_monai.losses.options import LossOptions
from fx_monai.losses.task_loss import initial_loss, task_loss
from fx_monai.types import Kind, Task, TaskSpec

BIG = 50.0
PAPER = LossOptions(exclusive="binary", segmentation="dice")


class Output:
    def __init__(self, logits):
        self.predictions = {"logits": logits}


def classification(exclusive):
    return TaskSpec(Task("a", Kind.CLASSIFICATION), ("x", "y", "z"), exclusive)


def test_flat_dice_by_hand():
    """Both classes together: 3 pixels predicted, 3 true, 2 in common; smoothing 1; the second image isn't annotated."""
    logits = torch.full((2, 2, 2, 2), -BIG)
    masks = torch.zeros(2, 2, 2, 2, dtype=torch.uint8)
    logits[0, 0, 0, :] = logits[0, 1, 0, 0] = BIG
    masks[0, 0, 0, :] = masks[0, 1, 1, 1] = 1
    masks[1] = 1
    loss = flat_dice(logits, masks, torch.tensor([[True, True], [False, False]]))
    assert loss.item() == pytest.approx(1 - (2 * 2 + 1) / (3 + 3 + 1))


def test_flat_dice_of_nothing_annotated_is_zero_with_a_gradient_of_zeros():
    logits = torch.randn(1, 2, 4, 4, requires_grad=True)
    loss = flat_dice(logits, torch.ones(1, 2, 4, 4), torch.zeros(1, 2, dtype=torch.bool))
    loss.backward()
    assert loss.item() == 0
    assert not logits.grad.any()


def test_flat_dice_of_empty_masks_is_below_one_and_pulls_down():
    logits = torch.zeros(1, 1, 4, 4, requires_grad=True)
    loss = flat_dice(logits, torch.zeros(1, 1, 4, 4), torch.ones(1, 1, dtype=torch.bool))
    loss.backward()
    assert loss.item() == pytest.approx(1 - 1 / 9)
    assert (logits.grad > 0).all()


def test_exclusive_labels_by_choice():
    batch = {"labels": torch.tensor([[1.0, 0.0, 0.0]])}
    output = Output(torch.zeros(1, 3))
    assert task_loss(classification(True), output, batch)[0].item() == pytest.approx(math.log(3))
    assert task_loss(classification(True), output, batch, PAPER)[0].item() == pytest.approx(math.log(2))
    assert task_loss(classification(False), output, batch)[0].item() == pytest.approx(math.log(2))


@pytest.mark.parametrize("options", [LossOptions(), PAPER])
@pytest.mark.parametrize("spec", [classification(True), classification(False)])
def test_classification_begins_at_exactly_the_initial_loss(spec, options):
    batch = {"labels": torch.eye(3)}
    loss, _ = task_loss(spec, Output(torch.zeros(3, 3)), batch, options)
    assert loss.item() == pytest.approx(initial_loss(spec, options))


@pytest.mark.parametrize("options", [LossOptions(), PAPER])
def test_segmentation_begins_near_the_initial_loss(options):
    spec = TaskSpec(Task("a", Kind.SEGMENTATION), ("x", "y"))
    masks = torch.zeros(2, 2, 32, 32)
    masks[:, :, :5, :5] = 1
    batch = {"masks": masks, "masks_annotated": torch.ones(2, 2, dtype=torch.bool)}
    logits = 0.1 * torch.randn(2, 2, 32, 32, generator=torch.Generator().manual_seed(0))
    loss, parts = task_loss(spec, Output(logits), batch, options)
    assert loss.item() / initial_loss(spec, options) == pytest.approx(1, abs=0.1)
    assert set(parts) == ({"dice_loss"} if options is PAPER else {"dice_loss", "pixel_loss"})
