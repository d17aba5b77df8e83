import math

import torch

from fx_monai.losses.dice_ce import dice_ce

BIG = 50.0


def test_by_hand():
    """Class 0 over two images: 3 pixels predicted, 2 true, 2 in common; smoothing 1. Class 1 is empty."""
    logits = torch.full((2, 2, 2, 2), -BIG)
    masks = torch.zeros(2, 2, 2, 2, dtype=torch.uint8)
    logits[0, 0, 0, :] = BIG
    logits[1, 0, 0, 0] = BIG
    masks[0, 0, 0, 0] = masks[1, 0, 0, 0] = 1
    logits[:, 1] = 0.0
    dice, cross_entropy = dice_ce(logits, masks, torch.ones(2, 2, dtype=torch.bool))
    assert math.isclose(dice.item(), 1 - (2 * 2 + 1) / (3 + 2 + 1), rel_tol=1e-5)
    # class 0: one wrong pixel of 8 costs 50, it is one of the 6 outside; class 1: every pixel costs log 2
    first = (BIG / 8 + (0 + BIG / 6) / 2) / 2
    assert math.isclose(cross_entropy.item(), (first + math.log(2)) / 2, rel_tol=1e-5)


def test_unannotated_channels_have_exactly_no_gradient():
    logits = torch.randn(2, 2, 4, 4, requires_grad=True)
    masks = torch.randint(0, 2, (2, 2, 4, 4), dtype=torch.uint8)
    sum(dice_ce(logits, masks, torch.tensor([[True, False], [False, False]]))).backward()
    touched = logits.grad.abs().sum(dim=(2, 3)) > 0
    assert torch.equal(touched, torch.tensor([[True, False], [False, False]]))


def test_nothing_annotated_is_zero_with_a_gradient_of_zeros():
    logits = torch.randn(1, 2, 4, 4, requires_grad=True)
    masks = torch.ones(1, 2, 4, 4, dtype=torch.uint8)
    loss = sum(dice_ce(logits, masks, torch.zeros(1, 2, dtype=torch.bool)))
    loss.backward()
    assert loss.item() == 0
    assert torch.equal(logits.grad, torch.zeros_like(logits))


def test_a_class_that_never_occurs_has_no_dice_term():
    logits = torch.zeros(1, 1, 4, 4)
    dice, cross_entropy = dice_ce(logits, torch.zeros(1, 1, 4, 4), torch.ones(1, 1, dtype=torch.bool))
    assert dice.item() == 0
    assert math.isclose(cross_entropy.item(), math.log(2), rel_tol=1e-6)
